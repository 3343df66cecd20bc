// The trace of one request, found by its trace id or its request id.

import { get } from "./api.js";
import { badge, card, copyButton, el, empty, fill, say, title } from "./dom.js";
import { duration, moment, short } from "./format.js";
import { legend } from "./stages.js";
import { waterfall } from "./waterfall.js";

const TRIES = 25;
const PAUSE = 400;
const SETTLED = 4;

export async function traceView(place, { rest, query, signal }) {
  const [id = ""] = rest;
  const wanted = id || query.get("id") || "";
  const found = el("div", { className: "stack" });
  fill(place,
    title("Trace", "Where the time of one request went, from its arrival to its answer."),
    finder(wanted), found);
  if (!wanted) {
    fill(found, card("", empty("Enter a request id or a trace id. Both are on every answer, as X-Request-Id and X-Trace-Id.",
      el("a", { className: "button", href: "#/requests" }, "Look for one"))));
    return;
  }
  const ids = await traceIds(wanted, signal);
  if (ids.length === 0) {
    fill(found, card("", empty(`Nothing is stored under ${wanted}. Traces are kept up to a rate; a request with a sampled traceparent always is.`)));
    return;
  }
  const above = ids.length > 1 ? others(ids) : null;
  await follow(ids[0].trace_id, signal, (trace) => fill(found, above, trace));
}

/** Show a trace that is stored, and again when more of it comes; what is shown stays if asking again fails. */
async function follow(traceId, signal, show) {
  const port = await jaeger();
  let trace = await stored(traceId, signal);
  show(traceCard(trace, port));
  for (let tries = 1; isHalf(trace) && tries < TRIES; tries += 1) {
    await pause(signal);
    const before = trace.spans.length;
    trace = await stored(traceId, signal).catch(() => trace);
    if (trace.spans.length !== before) show(traceCard(trace, port));
  }
}

/** A worker's half may be stored a second before its gateway's, which has the request's own span. */
function isHalf(trace) {
  const known = new Set(trace.spans.map((span) => span.id));
  const begun = trace.spans.some((span) => span.service === "gateway" && span.kind === "server");
  return !begun && trace.spans.some((span) => span.parent && !known.has(span.parent));
}

async function stored(traceId, signal) {
  return get(`/console/api/traces/${encodeURIComponent(traceId)}`, {}, signal);
}

async function pause(signal) {
  await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  signal.throwIfAborted();
}

/** Return the waterfall of a trace that may not be stored yet, within a card; `least` spans are waited for. */
export async function shownTrace(traceId, signal, least) {
  await untilStored(traceId, signal, least);
  return traceCard(await stored(traceId, signal), await jaeger());
}

/** Spans arrive from two programs: wait for as many as there should be, or until no more come. */
async function untilStored(traceId, signal, least) {
  const counts = [];
  for (let tries = 0; tries < TRIES; tries += 1) {
    const { found } = await get("/console/api/traces", { id: traceId }, signal);
    const spans = found[0]?.spans ?? 0;
    counts.push(spans);
    if (spans >= least && (least > 1 || counts.at(-SETTLED) === spans)) return;
    await pause(signal);
  }
}

async function traceIds(wanted, signal) {
  const { found } = await get("/console/api/traces", { id: wanted, hours: 24 * 366 }, signal);
  if (found.length === 0 && /^[0-9a-f]{32}$/i.test(wanted)) {
    // A batch has a trace of its own, which is no request.
    const trace = await stored(wanted, signal).catch(() => null);
    return trace ? [{ trace_id: trace.trace_id }] : [];
  }
  return found;
}

function finder(wanted) {
  const input = el("input", { type: "search", name: "id", value: wanted, placeholder: "Request id or trace id", spellcheck: false, autocomplete: "off", maxLength: 256 });
  input.setAttribute("aria-label", "Request id or trace id");
  return el("form", {
    className: "finder",
    role: "search",
    onsubmit: (event) => {
      event.preventDefault();
      if (input.value.trim()) location.hash = `#/trace/${encodeURIComponent(input.value.trim())}`;
    },
  }, input, el("button", { type: "submit", className: "primary" }, "Show"));
}

function others(found) {
  return card("", el("p", {}, `${found.length} requests had this id; the newest is shown. `,
    ...found.slice(1, 10).map((one) => el("a", { className: "chip", href: `#/trace/${one.trace_id}` }, moment(one.started)))));
}

function traceCard(trace, jaegerPort) {
  const entry = trace.spans.find((span) => span.kind === "server") ?? trace.spans[0];
  const about = entry.attributes;
  const status = String(about["http.response.status_code"] ?? about["rpc.response.status_code"] ?? "");
  const failed = trace.spans.some((span) => span.error);
  say(`Trace with ${trace.spans.length} spans, ${duration(entry.duration)}.`);
  const facts = [
    ["Status", status ? badge(status, failed ? "bad" : "good") : badge(failed ? "failed" : "ok", failed ? "bad" : "good")],
    ["Duration", duration(entry.duration)],
    ["Model", [about["app.model.name"], about["app.model.version"]].filter(Boolean).join(" ") || "–"],
    ["Started", moment(trace.started)],
    ["Kept because", String(about["app.kept"] ?? "–")],
    ["Request id", mono(String(about["app.request.id"] ?? "–"))],
    ["Trace id", mono(trace.trace_id)],
  ];
  const open = jaegerPort ? el("a", { className: "button", target: "_blank", rel: "noopener noreferrer", href: `${location.protocol}//${location.hostname}:${jaegerPort}/trace/${trace.trace_id}` }, "Open in Jaeger") : null;
  const actions = el("div", { className: "actions" }, copyButton(() => trace.trace_id, "Copy the trace id"), open);
  return card([entry.name, actions],
    el("dl", { className: "summary" }, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    legend(),
    waterfall(trace));
}

function mono(text) {
  return el("code", { title: text }, short(text));
}

async function jaeger() {
  const about = await get("/console/api/about").catch(() => null);
  return about?.jaeger_port ?? null;
}
