// What a model takes and gives.

import { el, table } from "./dom.js";

/** Return a model's signature, closed at first. */
export function signature(model) {
  const tensor = (kind) => (one) => [kind, el("code", {}, one.name), one.datatype, `[${one.shape.map((size) => (Number(size) < 0 ? "any" : size)).join(", ")}]`];
  const rows = [...model.metadata.inputs.map(tensor("in")), ...model.metadata.outputs.map(tensor("out"))];
  return el("details", {}, el("summary", {}, "Signature"), table(`Signature of ${model.name}`, ["", "Tensor", "Type", "Shape"], rows));
}
