// One trace as bars along its time; each bar's facts are a list below it that opens on a click or Enter.

import { svg, el, badge } from "./dom.js";
import { duration, short } from "./format.js";

/** Return the waterfall of a stored trace. */
export function waterfall(trace) {
  const spans = ordered(trace.spans.map((span) => ({ ...span, resource: trace.resources[span.resource] })));
  const total = Math.max(...trace.spans.map((span) => span.start + span.duration), 1e-9);
  const rows = spans.map(({ span, depth }) => row(span, depth, total));
  return el("div", { className: "waterfall" },
    el("div", { className: "axis", "aria-hidden": "true" }, el("span"), el("span", { className: "ticks" }, ...[0, 0.5, 1].map((part) => el("span", {}, duration(total * part)))), el("span")),
    el("ol", {}, ...rows),
    trace.left_out ? el("p", { className: "hint" }, `${trace.left_out} more spans are stored.`) : null);
}

/** Return which stage a span belongs to, for its colour. */
export function stageOf(span) {
  if (span.name === "compute") return "compute";
  if (span.service === "gateway" && (span.name === "receive" || span.name === "respond")) return span.name;
  if (span.name === "queue") return span.service === "gateway" ? "queue" : "worker_queue";
  if (span.kind === "client" || span.kind === "server") return span.service === "gateway" && span.kind === "server" ? "whole" : "hop";
  return "rest";
}

function row(span, depth, total) {
  const facts = el("div", { className: "facts", hidden: true }, attributes(span), links(span));
  const bar = svg("svg", { class: "bar", viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" });
  const width = Math.max((span.duration / total) * 1000, 2);
  const x = Math.min((span.start / total) * 1000, 1000 - width);
  bar.append(svg("rect", { class: "track", x: 0, y: 6.5, width: 1000, height: 1 }), svg("rect", { class: `${stageOf(span)}${span.error ? " error" : ""}`, x, y: 1, width, height: 12 }));
  const name = el("span", { className: `span-name depth-${Math.min(depth, 6)}` }, el("strong", {}, told(span)), el("small", {}, place(span)));
  const head = el("button", {
    type: "button",
    className: "span-head",
    "aria-expanded": "false",
    onclick: () => {
      facts.hidden = !facts.hidden;
      head.setAttribute("aria-expanded", String(!facts.hidden));
    },
  }, name, bar, el("span", { className: span.error ? "span-time error" : "span-time" }, duration(span.duration)));
  head.setAttribute("aria-label", `${told(span)}, ${place(span)}: ${duration(span.duration)}, begins after ${duration(span.start)}${span.error ? ", failed" : ""}`);
  return el("li", {}, head, facts);
}

function told(span) {
  const method = span.name.match(/^[\w.]+\/(\w+)$/)?.[1];
  if (!method) return span.name;
  return span.kind === "client" ? `Call ${method}` : `Serve ${method}`;
}

function place(span) {
  const slot = span.resource["app.worker.slot"];
  return slot === undefined ? span.service : `${span.service} ${slot}`;
}

function attributes(span) {
  const shown = { ...span.attributes, ...(span.message ? { message: span.message } : {}) };
  const pairs = Object.entries(shown).sort(([one], [other]) => one.localeCompare(other));
  return el("dl", {}, ...pairs.map(([key, value]) => el("div", {}, el("dt", {}, key), el("dd", {}, String(value)))));
}

function links(span) {
  if (!span.links.length) return null;
  const shown = span.links.map((link) => el("li", {},
    el("a", { href: `#/trace/${link.trace_id}` }, `Trace ${short(link.trace_id)}`),
    ` span ${link.span_id} `,
    ...Object.entries(link.attributes).map(([key, value]) => badge(`${key}: ${value}`))));
  return el("div", {}, el("h3", {}, `Linked with ${span.links.length} ${span.links.length === 1 ? "span" : "spans"}`), el("ul", {}, ...shown));
}

/** Parents before their children, which are in the order of their start; what has no stored parent is a root. */
function ordered(spans) {
  const known = new Set(spans.map((span) => span.id));
  const below = new Map();
  for (const span of spans) {
    const parent = known.has(span.parent) && span.parent !== span.id ? span.parent : "";
    below.set(parent, [...(below.get(parent) ?? []), span]);
  }
  const found = [];
  const seen = new Set();
  const visit = (span, depth) => {
    if (seen.has(span.id)) return;
    seen.add(span.id);
    found.push({ span, depth });
    for (const child of below.get(span.id) ?? []) visit(child, depth + 1);
  };
  for (const root of below.get("") ?? []) visit(root, 0);
  for (const span of spans) visit(span, 0);
  return found;
}
