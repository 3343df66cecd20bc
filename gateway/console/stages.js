// The stages of a request, and what is left: their names and colours are the same everywhere.

import { el } from "./dom.js";

export const STAGES = [
  ["receive", "Receive"],
  ["queue", "Queue"],
  ["hop", "Hop"],
  ["worker_queue", "Worker queue"],
  ["compute", "Compute"],
  ["respond", "Respond"],
  ["rest", "Rest"],
];

/** Return a legend of the stages that are named. */
export function legend(names = STAGES.map(([key]) => key)) {
  const shown = STAGES.filter(([key]) => names.includes(key));
  return el("ul", { className: "legend" }, ...shown.map(([key, label]) => el("li", {}, el("i", { className: `dot ${key}` }), label)));
}

/** The trace store writes "worker queue". */
export function stage(stages, key) {
  return stages[key] ?? stages[key.replace("_", " ")] ?? 0;
}
