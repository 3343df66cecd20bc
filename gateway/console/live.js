// What the machine does now, told by the gateway once a second.

import { Refused, get } from "./api.js";
import { badge, card, el, empty, fill, table, title } from "./dom.js";
import { columns, lines, stacked } from "./charts.js";
import { count, duration, rate, share } from "./format.js";
import { legend, STAGES } from "./stages.js";
import { whySection } from "./why.js";

const SLOTS = 120;
const KEYS = STAGES.map(([key]) => key).filter((key) => key !== "rest");

export async function liveView(place, { query, signal }) {
  const history = [];
  let model = query.get("model") ?? "";
  const state = badge("connecting", "quiet");
  const picker = el("select", { onchange: () => { model = picker.value; draw(); tellWhy(); } }, el("option", { value: "" }, "All models"));
  picker.setAttribute("aria-label", "Model");
  const body = el("div", { className: "stack" }, card("", empty("The first numbers come in a second.")));
  const why = el("div");
  fill(place, title("Live", "What all gateway processes and workers of this machine do, once a second.", el("div", { className: "actions" }, state, picker)), body, why);
  const draw = () => { if (history.length) fill(body, ...sections(history, model)); };
  const tellWhy = () => whySection(why, model, signal);
  listen(signal, state, (moment) => {
    history.push(moment);
    if (history.length > SLOTS) history.shift();
    offer(picker, Object.keys(moment.models), model);
    // Somebody who reads a table by keyboard must not lose the place every second.
    if (!body.contains(document.activeElement)) draw();
  });
  tellWhy();
}

function listen(signal, state, told) {
  const source = new EventSource("/console/api/live");
  const set = (text, kind) => { state.textContent = text; state.className = `badge ${kind}`; };
  source.addEventListener("open", () => set("live", "good"));
  source.addEventListener("message", (event) => told(JSON.parse(event.data)));
  source.addEventListener("error", async () => {
    set("connecting again", "warn");
    if (source.readyState !== EventSource.CLOSED) return;
    // A refusal ends the stream for good, and the event does not say why.
    const reason = await get("/console/api/about").then(() => "too many listeners", (error) => (error instanceof Refused ? error.message : ""));
    set(reason, "bad");
  });
  signal.addEventListener("abort", () => source.close());
}

function offer(picker, models, chosen) {
  const known = new Set(Array.from(picker.options, (option) => option.value));
  for (const name of models) if (!known.has(name)) picker.append(el("option", { value: name, selected: name === chosen }, name));
}

function sections(history, model) {
  const flow = (moment) => (model ? moment.models[model] : moment.whole);
  const now = history.at(-1);
  const latest = flow(now);
  if (!latest) return [card("", empty(`Nothing was asked of ${model} yet.`))];
  return [
    tiles(latest),
    el("div", { className: "two" }, rates(history, flow), latency(history, flow)),
    stages(latest, now.window),
    el("div", { className: "two uneven" }, batches(latest, now.window), workers(now)),
  ];
}

function tiles(flow) {
  const tile = (name, value, note, kind = "") => el("div", { className: `tile ${kind}` }, el("span", {}, name), el("strong", {}, value), el("small", {}, note));
  return el("div", { className: "tiles" },
    tile("Requests", rate(flow.rate), "each second"),
    tile("p50", duration(flow.total.p50), "for half of them"),
    tile("p99", duration(flow.total.p99), "for 99 in 100"),
    tile("Failed", rate(flow.failed), "each second", flow.failed ? "bad" : ""),
    tile("Refused", rate(flow.refused), "each second", flow.refused ? "warn" : ""),
    tile("Waiting", count(flow.queue_rows), "rows in queues"));
}

function rates(history, flow) {
  const values = (key) => history.map((moment) => flow(moment)?.[key] ?? 0);
  const series = [{ name: "Requests", className: "compute", values: values("rate") }, { name: "Failed", className: "bad", values: values("failed") }, { name: "Refused", className: "queue", values: values("refused") }];
  return card("Requests each second", lines("Requests each second", series, { slots: SLOTS, unit: rate, area: true }), names(series));
}

function latency(history, flow) {
  const values = (key) => history.map((moment) => flow(moment)?.total[key] ?? null);
  const series = [{ name: "p99", className: "worker_queue", values: values("p99") }, { name: "p95", className: "hop", values: values("p95") }, { name: "p50", className: "compute", values: values("p50") }];
  return card("Latency", lines("Latency", series, { slots: SLOTS, unit: duration, decades: true }), names(series));
}

function names(series) {
  return el("ul", { className: "legend" }, ...series.map((one) => el("li", {}, el("i", { className: `dot ${one.className}` }), one.name)));
}

function stages(flow, window) {
  const parts = KEYS.map((key) => ({ key, value: flow.stages[key].mean }));
  const whole = parts.reduce((sum, part) => sum + part.value, 0);
  const label = parts.map((part) => `${label_of(part.key)} ${duration(part.value)}`).join(", ");
  const rows = [...KEYS.map((key) => [stageName(key), ...cells(flow.stages[key]), whole ? share(flow.stages[key].mean / whole) : "–"]), [el("strong", {}, "Whole request"), ...cells(flow.total), ""]];
  return card(["Where the time goes", el("span", { className: "hint" }, `last ${Math.round(window)} s`)],
    stacked(`Mean time of a request: ${label}`, parts.map((part) => ({ className: part.key, name: `${label_of(part.key)} ${duration(part.value)}`, value: part.value })), whole),
    legend(KEYS),
    table("Percentiles by stage", ["Stage", "p50", "p95", "p99", "mean", "share"], rows, ["", "number", "number", "number", "number", "number"]));
}

function cells(stage) {
  return [duration(stage.p50), duration(stage.p95), duration(stage.p99), duration(stage.mean)];
}

function label_of(key) {
  return STAGES.find(([name]) => name === key)[1];
}

function stageName(key) {
  return el("span", {}, el("i", { className: `dot ${key}` }), ` ${label_of(key)}`);
}

function batches(flow, window) {
  const bars = flow.batches.map(([bound, value], index) => ({ label: bound >= 1e9 ? "more" : `${index && bound - flow.batches[index - 1][0] > 1 ? "≤ " : ""}${bound}`, value }));
  const body = bars.some((bar) => bar.value) ? columns("Batches by rows", bars.slice(0, lastUsed(bars) + 1), { unit: count }) : empty("No batch was sent.");
  return card(["Batch sizes", el("span", { className: "hint" }, `rows, last ${Math.round(window)} s`)], body);
}

function lastUsed(bars) {
  return Math.max(5, bars.findLastIndex((bar) => bar.value));
}

function workers(moment) {
  const rows = moment.workers.map((one) => [one.place.replace("inference-", "Worker "), rate(one.batches), rate(one.rows), share(one.busy), duration(one.compute.p50), duration(one.queue.p95)]);
  const body = rows.length ? table("Workers", ["", "batches/s", "rows/s", "busy", "compute p50", "queue p95"], rows, ["", ...new Array(5).fill("number")]) : empty("No worker has counted anything yet.");
  return card(["Workers", el("span", { className: "hint" }, "all models")], body);
}
