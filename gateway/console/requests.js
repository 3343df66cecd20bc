// Stored requests: the failed and the slowest, by id, model, status and duration.

import { get } from "./api.js";
import { badge, card, el, empty, fill, say, table, title } from "./dom.js";
import { stacked } from "./charts.js";
import { duration, moment, short } from "./format.js";
import { legend, stage, STAGES } from "./stages.js";

const HOURS = [["1", "the last hour"], ["6", "6 hours"], ["24", "a day"], ["72", "3 days"]];
const STATUSES = [["failed", "failed"], ["", "any status"], ...["200", "400", "404", "499", "500", "502", "503", "504"].map((status) => [status, status])];

export async function requestsView(place, { query, signal }) {
  const found = el("div");
  const chosen = { id: query.get("id") ?? "", model: query.get("model") ?? "", status: query.get("status") ?? "failed", slower: query.get("slower") ?? "", hours: query.get("hours") ?? "24", order: query.get("order") ?? "newest" };
  const inputs = fields(chosen);
  const ask = async () => {
    try {
      const answer = await get("/console/api/traces", values(inputs), signal);
      for (const name of answer.models) if (![...inputs.model.options].some((option) => option.value === name)) inputs.model.append(el("option", { value: name }, name));
      fill(found, result(answer.found));
    } catch (error) {
      if (!signal.aborted) fill(found, card("", empty(error.message)));
    }
  };
  const form = el("form", { className: "card filters", role: "search", onsubmit: (event) => { event.preventDefault(); ask(); }, onchange: ask },
    el("div", { className: "filter-id" }, field("Request or trace id", inputs.id), el("button", { type: "submit", className: "primary" }, "Search")),
    el("div", { className: "filter-row" }, field("Model", inputs.model), field("Status", inputs.status), field("Slower than, in ms", inputs.slower), field("Within", inputs.hours), field("Order", inputs.order)));
  const quick = el("div", { className: "actions" }, preset("Failed", inputs, ask, { status: "failed", order: "newest" }), preset("Slowest", inputs, ask, { status: "", order: "slowest" }));
  fill(place, title("Slow and failed", "Requests whose traces are stored. Each row opens its trace.", quick), form, found);
  await ask();
}

function fields(chosen) {
  const select = (options, value) => el("select", {}, ...options.map(([key, label]) => el("option", { value: key, selected: key === value }, label)));
  return {
    id: el("input", { type: "search", value: chosen.id, maxLength: 256, spellcheck: false, autocomplete: "off" }),
    model: select([["", "any model"], ...(chosen.model ? [[chosen.model, chosen.model]] : [])], chosen.model),
    status: select(STATUSES, chosen.status),
    slower: el("input", { type: "number", min: 0, step: "any", value: chosen.slower }),
    hours: select(HOURS, chosen.hours),
    order: select([["newest", "newest first"], ["slowest", "slowest first"]], chosen.order),
  };
}

function values(inputs) {
  const slower = inputs.slower.value === "" ? "" : Number(inputs.slower.value) / 1000;
  return { id: inputs.id.value.trim(), model: inputs.model.value, status: inputs.status.value, slower, hours: inputs.hours.value, order: inputs.order.value };
}

function field(name, input) {
  return el("label", { className: "field" }, el("span", {}, name), input);
}

function preset(name, inputs, ask, chosen) {
  return el("button", {
    type: "button",
    className: "ghost",
    onclick: () => {
      for (const [key, value] of Object.entries(chosen)) inputs[key].value = value;
      ask();
    },
  }, name);
}

function result(found) {
  say(`${found.length} requests found.`);
  if (found.length === 0) return card("", empty("Nothing that is stored matches. Failed requests have a status of 500 or more."));
  const slowest = Math.max(...found.map((one) => one.duration));
  const rows = found.map((one) => [
    el("a", { href: `#/trace/${one.trace_id}` }, moment(one.started)),
    badge(one.status, one.failed ? "bad" : Number(one.status) >= 400 ? "warn" : "good"),
    `${one.model} ${one.version}`.trim() || el("span", { className: "hint" }, one.name),
    duration(one.duration),
    bar(one, slowest),
    one.kept ? badge(one.kept) : "",
    el("a", { href: `#/trace/${one.trace_id}`, title: one.request_id }, el("code", {}, short(one.request_id || one.trace_id))),
  ]);
  return card([`${found.length} requests`, legend()], table("Found requests", ["Started", "Status", "Model", "Duration", "Stages", "Kept", "Request"], rows, ["", "", "", "number", "bar-cell", "", ""]));
}

function bar(one, slowest) {
  const parts = STAGES.map(([key, label]) => ({ className: key, name: `${label} ${duration(stage(one.stages, key))}`, value: stage(one.stages, key) }));
  return stacked(parts.map((part) => part.name).join(", "), parts, slowest, { height: 12 });
}
