// "Why was this slow?": percentiles of stored requests by stage, beside the hour before.

import { get } from "./api.js";
import { card, el, empty, fill } from "./dom.js";
import { stacked } from "./charts.js";
import { duration } from "./format.js";
import { legend, stage, STAGES } from "./stages.js";

const NANO = 1e9;

/** Fill a place with the answer for a model, or with how to ask. */
export async function whySection(place, model, signal) {
  if (!model) {
    fill(place, card("Why was this slow?", empty("Choose a model above: its stored requests are split into stages and compared with the hour before.")));
    return;
  }
  try {
    const found = await get("/console/api/why", { model, minutes: 15 }, signal);
    fill(place, shown(found, model, () => whySection(place, model, signal)));
  } catch (error) {
    if (!signal.aborted) fill(place, card("Why was this slow?", empty(error.message)));
  }
}

function shown(found, model, again) {
  const whole = Math.max(...[found.now, found.before].flatMap((splits) => Object.values(splits).map((split) => split.total)), 1);
  const line = (when, name, split) => {
    const parts = STAGES.map(([key, label]) => ({ className: key, name: `${label} ${duration(stage(split.stages, key) / NANO)}`, value: stage(split.stages, key) }));
    return el("div", { className: "why-row" }, el("span", {}, name, el("small", {}, when)), stacked(`${name} ${when}: ${parts.map((part) => part.name).join(", ")}`, parts, whole, { height: 16 }), el("span", {}, duration(split.total / NANO)));
  };
  const rows = Object.entries(found.now).flatMap(([name, split]) => [line("now", name, split), found.before[name] ? line("the hour before", name, found.before[name]) : null]);
  return card(["Why was this slow?", el("button", { type: "button", className: "ghost small", onclick: again }, "Look again")],
    el("p", {}, found.verdict || `No request of ${model} was kept evenly in the last 15 minutes.`),
    ...rows, rows.length ? legend() : null,
    el("details", {}, el("summary", {}, "As text"), el("pre", {}, found.text)));
}
