// The models of this machine: versions, states, signature, arms, what they computed, and what somebody wrote about them.

import { get } from "./api.js";
import { badge, card, el, empty, fill, table, title } from "./dom.js";
import { count, duration, moment, share } from "./format.js";
import { signature } from "./signature.js";

const KINDS = { READY: "good", LOADING: "warn", UNLOADING: "warn", UNAVAILABLE: "bad" };

export async function modelsView(place, { signal }) {
  const sentence = "What can be asked, in which versions, and what it has computed since its workers started.";
  fill(place, title("Models", sentence), el("div", { className: "card loading" }, "Asking the workers…"));
  const [{ models }, traffic] = await Promise.all([get("/console/api/models", {}, signal), get("/admin/traffic", {}, signal).catch(() => ({ rules: {} }))]);
  const ruled = Object.keys(traffic.rules);
  const reports = Object.fromEntries(await Promise.all(ruled.map(async (name) => [name, await get(`/admin/traffic/${encodeURIComponent(name)}`, {}, signal).catch(() => null)])));
  fill(place, title("Models", sentence), el("div", { className: "stack" }, ...models.map((model) => modelCard(model, reports[model.name]))));
}

function modelCard(model, report) {
  const ready = model.versions.some((one) => one.state === "READY");
  const actions = el("div", { className: "actions" }, ready ? el("a", { className: "button", href: `#/try?model=${encodeURIComponent(model.name)}` }, "Try") : null, el("a", { className: "button", href: `#/live?model=${encodeURIComponent(model.name)}` }, "Live"));
  return card([model.name, actions], facts(model), versions(model), report ? arms(report) : null, model.metadata ? signature(model) : null, readme(model.name));
}

function facts(model) {
  if (!model.config) return null;
  const batch = Number(model.config.max_batch_size ?? 0);
  const instances = (model.config.instance_group ?? []).reduce((sum, group) => sum + Number(group.count ?? 0), 0);
  const shown = [["Platform", model.metadata?.platform || model.config.backend || "–"], ["Largest batch", batch ? count(batch) : "–"], ["Instances in a worker", instances ? count(instances) : "–"]];
  return el("dl", { className: "summary" }, ...shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function versions(model) {
  const rows = model.versions.map((one) => {
    const counted = one.statistics;
    const computed = counted?.inference_stats?.compute_infer;
    const each = computed && Number(computed.count) ? Number(computed.ns) / Number(computed.count) / 1e9 : null;
    const batches = Number(counted?.execution_count ?? 0);
    return [
      one.version,
      el("span", {}, badge(one.state.toLowerCase(), KINDS[one.state] ?? "quiet"), one.reason ? el("small", { className: "reason" }, one.reason) : null),
      one.slots.length ? one.slots.join(", ") : "–",
      counted ? count(Number(counted.inference_count)) : "–",
      counted ? count(batches) : "–",
      batches ? (Number(counted.inference_count) / batches).toFixed(1) : "–",
      duration(each),
      Number(counted?.last_inference) ? moment(Number(counted.last_inference) / 1000) : "–",
    ];
  });
  return table(`Versions of ${model.name}`, ["Version", "State", "Workers", "Rows", "Batches", "Rows a batch", "Compute, mean", "Last"], rows, ["", "", "", "number", "number", "number", "number", ""]);
}

function arms(report) {
  const rows = report.arms.map((arm) => [arm.arm, arm.version, share(arm.share), badge(arm.ready ? "ready" : "not ready", arm.ready ? "good" : "bad"), arm.seen_here ? `${count(arm.seen_here.requests)}, ${count(arm.seen_here.failed)} failed` : "–"]);
  const warnings = report.warnings.map((text) => el("p", { className: "failure" }, text));
  const shadow = report.rule.shadow ? el("p", {}, `Mirrored to ${report.rule.shadow.to}.`) : null;
  return el("div", {}, el("h3", {}, "Traffic"), ...warnings, table(`Arms of ${report.model}`, ["Arm", "Version", "Share", "State", "Requests seen by this process"], rows, ["", "", "number", "", "number"]), shadow);
}

function readme(name) {
  const body = el("div", {});
  const details = el("details", {
    ontoggle: async () => {
      if (!details.open || body.childNodes.length) return;
      const found = await get(`/console/api/models/${encodeURIComponent(name)}/card`).catch((error) => ({ error }));
      fill(body, found.error ? empty(found.error.message) : el("div", { className: "prose" }, ...paragraphs(found.text)));
    },
  }, el("summary", {}, "Card"), body);
  return details;
}

/** The plainest part of Markdown: headings and paragraphs; all else stays as it was written. */
function paragraphs(text) {
  return text.split(/\n{2,}/).map((part) => {
    const heading = part.match(/^#{1,6} +(.*)$/);
    if (heading) return el("h3", {}, heading[1]);
    if (/^(\||```| {4})/.test(part)) return el("pre", {}, part);
    return el("p", {}, part.replaceAll("**", "").replaceAll("`", ""));
  });
}
