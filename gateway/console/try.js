// Ask a model: by text, by a drawn digit, by numbers, or by the protocol's own JSON.

import { get, infer } from "./api.js";
import { badge, card, copyButton, el, empty, fill, say, title } from "./dom.js";
import { digitPad } from "./digit.js";
import { duration, share, short } from "./format.js";
import { signature } from "./signature.js";
import { shownTrace } from "./trace.js";

const SPANS_OF_A_REQUEST = 7;
const REQUEST_ID = /^[A-Za-z0-9._-]{0,64}$/;

export async function tryView(place, { query, signal }) {
  const answer = el("div", { className: "stack answer" });
  fill(place, title("Try a model", "Send one request and see the answer, what it cost, and where the time went."), el("div", { className: "card loading" }, "Asking which models there are…"));
  const { models, defaults } = await get("/console/api/models", {}, signal);
  const ready = models.filter((model) => model.metadata);
  if (ready.length === 0) {
    fill(place, title("Try a model", "Send one request and see the answer."), card("", empty("No model can be asked just now. The workers say why:", el("a", { className: "button", href: "#/workers" }, "Workers"))));
    return;
  }
  const first = ready.find((model) => model.name === query.get("model")) ?? ready.find((model) => isDigits(model)) ?? ready.find((model) => defaults.includes(model.name)) ?? ready[0];
  const form = el("div", { className: "card" });
  const picker = el("select", { id: "model", onchange: () => pick(ready.find((model) => model.name === picker.value)) },
    ...ready.map((model) => el("option", { value: model.name, selected: model === first }, model.name)));
  const pick = (model) => {
    fill(answer);
    fill(form, el("div", { className: "field" }, el("label", { for: "model" }, "Model"), picker, versionLine(model)), signature(model), asking(model, answer, signal));
  };
  fill(place, title("Try a model", "Send one request and see the answer, what it cost, and where the time went."), el("div", { className: "try-columns" }, form, answer));
  pick(first);
  fill(answer, waiting());
}

function waiting() {
  return card("Answer", empty("The answer, its confidence, and the request's waterfall appear here."));
}

function versionLine(model) {
  const states = model.versions.map((one) => badge(`version ${one.version} ${one.state.toLowerCase()}`, one.state === "READY" ? "good" : "warn"));
  return el("span", { className: "badges" }, ...states);
}

function isDigits(model) {
  const [input] = model.metadata?.inputs ?? [];
  return model.name.startsWith("digits") && Number(input?.shape.at(-1)) === 64;
}

/** The ways to fill in a request, the first being the one that suits the model. */
function asking(model, answer, signal) {
  const form = el("form", { className: "stack" });
  const send = el("button", { type: "submit", className: "primary" }, "Predict");
  const requestId = el("input", { id: "request-id", maxLength: 64, placeholder: "one is made", spellcheck: false, autocomplete: "off" });
  const version = el("select", { id: "version" }, el("option", { value: "" }, "whichever is served"), ...model.versions.filter((one) => one.state === "READY").map((one) => el("option", { value: one.version }, one.version)));
  const path = () => `/v2/models/${encodeURIComponent(model.name)}${version.value ? `/versions/${encodeURIComponent(version.value)}` : ""}/infer`;
  const ways = waysOf(model, () => { if (!send.disabled) form.requestSubmit(); });
  const body = el("div", { className: "way" });
  let way = ways[0];
  const raw = ways.at(-1);
  const choose = (chosen) => {
    if (chosen === raw && way !== raw) raw.set(way.body());
    way = chosen;
    fill(body, chosen.element);
  };
  const tabs = ways.map((one) => el("label", {}, el("input", { type: "radio", name: "way", checked: one === way, onchange: () => choose(one) }), el("span", {}, one.name)));
  fill(body, way.element);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!REQUEST_ID.test(requestId.value)) {
      fill(answer, card("Answer", empty("A request id has letters, digits, dots, underscores and hyphens, at most 64.")));
      return;
    }
    send.disabled = true;
    try {
      await predict(model, path(), way.body(), requestId.value, answer, signal);
    } catch (error) {
      if (!signal.aborted) fill(answer, card("Answer", empty(error.message)));
    } finally {
      send.disabled = false;
    }
  });
  fill(form, el("div", { className: "switch ways", role: "radiogroup", "aria-label": "Input" }, ...tabs), body,
    el("details", { className: "options" }, el("summary", {}, "Options"),
      el("div", { className: "field" }, el("label", { for: "version" }, "Version"), version),
      el("div", { className: "field" }, el("label", { for: "request-id" }, "Request id"), requestId)),
    el("div", { className: "actions" }, send));
  return form;
}

function waysOf(model, submit) {
  const ways = [];
  const [input, ...more] = model.metadata.inputs;
  if (input && more.length === 0) {
    if (isDigits(model)) ways.push(drawing(input, submit));
    if (input.datatype === "BYTES") ways.push(writing(input));
    if (input.datatype.startsWith("FP")) ways.push(numbers(input));
  }
  return [...ways, rawJson(model)];
}

function drawing(input, submit) {
  const pad = digitPad(submit);
  return { name: "Draw", element: pad.element, body: () => request(input, [1, 64], pad.values()) };
}

function writing(input) {
  const text = el("textarea", { id: "prompt", rows: 4, value: "What a lovely, well made little machine!", maxLength: 20000 });
  return { name: "Text", element: el("div", { className: "field tall" }, el("label", { for: "prompt" }, "Text"), text), body: () => request(input, [1], [text.value]) };
}

function numbers(input) {
  const size = Number(input.shape.at(-1));
  const start = size > 0 ? new Array(size).fill(0) : [5.1, 3.5, 1.4, 0.2];
  const text = el("textarea", { id: "features", rows: 4, spellcheck: false, value: start.join(", ") });
  const parsed = () => {
    const values = text.value.split(/[\s,;[\]]+/).filter(Boolean).map(Number);
    if (values.length === 0 || values.some((value) => !Number.isFinite(value))) throw new Error("Features are numbers with commas or spaces between them.");
    if (size > 0 && values.length !== size) throw new Error(`This model takes ${size} numbers; there are ${values.length}.`);
    return values;
  };
  const element = el("div", { className: "field tall" }, el("label", { for: "features" }, size > 0 ? `${size} numbers` : "Numbers"), text);
  return { name: "Numbers", element, body: () => { const values = parsed(); return request(input, [1, values.length], values); } };
}

function rawJson(model) {
  const example = { inputs: model.metadata.inputs.map((one) => ({ name: one.name, datatype: one.datatype, shape: one.shape.map((size) => (Number(size) < 0 ? 1 : Number(size))), data: [] })) };
  const text = el("textarea", { id: "json", rows: 14, spellcheck: false, className: "code", value: JSON.stringify(example, null, 1) });
  const element = el("div", { className: "field tall" }, el("label", { for: "json" }, "Body in the Open Inference Protocol"), text);
  return { name: "JSON", element, body: () => text.value, set: (body) => { text.value = JSON.stringify(JSON.parse(body), null, 1); } };
}

function request(input, shape, data) {
  return JSON.stringify({ inputs: [{ name: input.name, datatype: input.datatype, shape, data }] });
}

async function predict(model, path, body, requestId, answer, signal) {
  const result = await infer(path, body, requestId);
  if (signal.aborted) return;
  const trace = el("div", {}, card("Waterfall", el("p", { className: "loading" }, "Waiting for the trace…")));
  fill(answer, answerCard(model, result, path, body), trace);
  try {
    fill(trace, await shownTrace(result.traceId, signal, result.status === 200 ? SPANS_OF_A_REQUEST : 1));
  } catch (error) {
    if (!signal.aborted) fill(trace, card("Waterfall", empty(error.status === 404 ? "The trace has not arrived. Is the program tracestore running?" : error.message)));
  }
}

function answerCard(model, result, path, body) {
  const ok = result.status === 200;
  const status = el("span", { className: "badges" }, badge(String(result.status), ok ? "good" : "bad"), badge(duration(result.seconds)));
  const outputs = ok ? Object.fromEntries((result.body?.outputs ?? []).map((one) => [one.name, one])) : {};
  const verdict = ok ? told(outputs) : el("p", { className: "failure" }, result.body?.error ?? result.text.slice(0, 500));
  say(ok ? `Answer: ${outputs.label?.data?.[0] ?? "received"}.` : `Failed with ${result.status}.`);
  const curl = `curl -s ${location.origin}${path} \\\n  -H 'Content-Type: application/json' \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
  const id = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, el("a", { href: `#/trace/${encodeURIComponent(value)}`, title: value }, el("code", {}, short(value)))));
  return card(["Answer", status], verdict,
    el("dl", { className: "summary" }, id("Request id", result.requestId), id("Trace id", result.traceId), el("div", {}, el("dt", {}, "Model"), el("dd", {}, `${model.name} ${result.body?.model_version ?? ""}`))),
    block("The same with curl", curl), block("Raw answer", pretty(result)));
}

/** A label with its confidence, bars where the model gives probabilities, and what else it said. */
function told(outputs) {
  const label = outputs.label?.data?.[0] ?? outputs.class_id?.data?.[0];
  const confidence = outputs.confidence?.data?.[0];
  const head = label === undefined ? null : el("p", { className: "verdict" }, el("strong", {}, String(label)), confidence === undefined ? null : el("span", {}, `confidence ${share(confidence)}`));
  return el("div", {}, head, bars(outputs, label, confidence));
}

function bars(outputs, label, confidence) {
  const chances = outputs.probabilities?.data ?? (confidence === undefined ? [] : [confidence]);
  const best = Math.max(...chances);
  const shown = chances.slice(0, 20).map((value, index) => {
    const name = chances.length > 1 ? String(index) : String(label);
    const meter = el("progress", { max: 1, value, className: value === best ? "best" : "" });
    meter.setAttribute("aria-label", `${name}: ${share(value)}`);
    return el("div", { className: "chance" }, el("span", {}, name), meter, el("span", {}, share(value)));
  });
  return el("div", { className: chances.length > 1 ? "chances many" : "chances" }, ...shown);
}

function block(name, text) {
  return el("details", {}, el("summary", {}, name), el("div", { className: "code-block" }, el("pre", {}, text), copyButton(() => text, `Copy: ${name}`)));
}

function pretty(result) {
  return result.body === null ? result.text.slice(0, 20000) : JSON.stringify(result.body, null, 1).slice(0, 20000);
}
