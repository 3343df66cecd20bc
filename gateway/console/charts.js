// Charts as small SVG, with their numbers said in a label.

import { svg } from "./dom.js";

const WIDTH = 460;

/**
 * Return lines over time. `series` is [{name, className, values}] with numbers or null, oldest first, all of one length;
 * `slots` is how many places the time axis has, `unit` formats a value, `decades` makes each power of ten as tall.
 */
export function lines(label, series, { height = 168, slots = 120, unit = String, area = false, decades = false } = {}) {
  const floor = height - 22;
  const { ticks, part } = (decades ? byDecades : evenly)(series.flatMap((one) => one.values.filter((value) => value !== null)));
  const x = (index, length) => 50 + ((WIDTH - 58) * (slots - length + index)) / (slots - 1);
  const y = (value) => floor - part(value) * (floor - 12);
  const chart = frame(`${label}: ${series.map((one) => `${one.name} ${unit(one.values.at(-1) ?? null)}`).join(", ")}`, height);
  for (const tick of ticks) {
    chart.append(svg("line", { class: "grid", x1: 50, x2: WIDTH - 8, y1: y(tick), y2: y(tick) }), text(43, y(tick) + 4, unit(tick).replace(/\.0+(?=\s|$)/, ""), "end"));
  }
  chart.append(text(50, height - 4, "2 minutes ago", "start"), text(WIDTH - 8, height - 4, "now", "end"));
  for (const one of series) chart.append(...drawn(one, one.values.map((value, index) => (value === null ? null : [x(index, one.values.length), y(value)])), area && floor));
  return chart;
}

function drawn(one, points, floor) {
  const found = [];
  for (const run of runs(points)) {
    const path = run.map(([px, py], index) => `${index ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
    if (floor) found.push(svg("path", { class: `area ${one.className}`, d: `${path}L${run.at(-1)[0].toFixed(1)} ${floor}L${run[0][0].toFixed(1)} ${floor}Z` }));
    found.push(svg("path", { class: `line ${one.className}`, d: path }));
  }
  const last = points.at(-1);
  if (last) found.push(svg("circle", { class: `now ${one.className}`, cx: last[0].toFixed(1), cy: last[1].toFixed(1), r: 4 }));
  return found;
}

function evenly(values) {
  const highest = nice(Math.max(...values, 0));
  return { ticks: [0, highest / 2, highest], part: (value) => value / highest };
}

function byDecades(values) {
  const positive = values.filter((value) => value > 0);
  const lowest = Math.floor(Math.log10(Math.min(...positive, 1e-3)));
  const highest = Math.max(Math.ceil(Math.log10(Math.max(...positive, 1e-3))), lowest + 2);
  const ticks = Array.from({ length: highest - lowest + 1 }, (_, index) => 10 ** (lowest + index));
  return { ticks, part: (value) => Math.max(0, (Math.log10(Math.max(value, 1e-9)) - lowest) / (highest - lowest)) };
}

/** Return one bar of parts that add up to it: [{className, name, value}]; `whole` is what the full width stands for. */
export function stacked(label, parts, whole, { height = 14 } = {}) {
  const chart = frame(label, height, 100);
  chart.setAttribute("preserveAspectRatio", "none");
  chart.classList.add("stacked");
  let at = 0;
  for (const part of parts) {
    const width = whole > 0 ? (part.value / whole) * 100 : 0;
    if (width > 0) chart.append(svg("rect", { class: part.className, x: at.toFixed(3), y: 0, width: width.toFixed(3), height }, svg("title", {}, part.name)));
    at += width;
  }
  return chart;
}

/** Return columns: [{label, value}]; `unit` formats a value. */
export function columns(label, bars, { height = 168, unit = String } = {}) {
  const highest = Math.max(...bars.map((bar) => bar.value), 1e-9);
  const chart = frame(`${label}: ${bars.filter((bar) => bar.value).map((bar) => `${bar.label}: ${unit(bar.value)}`).join(", ") || "none"}`, height);
  const step = WIDTH / bars.length;
  const floor = height - 22;
  chart.append(svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: floor, y2: floor }));
  bars.forEach((bar, index) => {
    const tall = (bar.value / highest) * (floor - 24);
    const middle = step * (index + 0.5);
    if (bar.value) {
      const size = { x: middle - Math.min(step * 0.32, 22), width: Math.min(step * 0.64, 44) };
      chart.append(svg("rect", { class: "column", ...size, y: floor - tall, height: tall, rx: Math.min(5, tall / 2) }));
      chart.append(text(middle, floor - tall - 7, unit(bar.value), "middle", "strong"));
    }
    chart.append(text(middle, height - 4, bar.label, "middle"));
  });
  return chart;
}

function frame(label, height, width = WIDTH) {
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function text(x, y, content, anchor, kind = "") {
  return svg("text", { class: kind, x, y, "text-anchor": anchor }, content);
}

function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point) found.at(-1).push(point);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((run) => run.length);
}

function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
