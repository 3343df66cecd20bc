// The workers' slots, the programs beside them, and how they ended.

import { get } from "./api.js";
import { badge, card, el, empty, fill, table, title } from "./dom.js";
import { count, memory, moment, uptime } from "./format.js";

const EVERY = 2000;
const KINDS = { ready: "good", connecting: "warn", draining: "warn", suspect: "warn", absent: "bad" };

export async function workersView(place, { signal }) {
  const head = title("Workers", "Each slot holds one worker process. A lost one comes back by itself; what happened to it stays here.");
  const body = el("div", { className: "stack" });
  fill(place, head, body);
  const cpu = new Map();
  const turn = async () => {
    const machine = await get("/console/api/workers", {}, signal);
    const at = performance.now() / 1000;
    const used = machine.programs.map(({ program }) => [program.program, program.pid, share(cpu, program, at)]);
    if (!body.contains(document.activeElement)) fill(body, slots(machine, used), programs(machine, used), exits(machine.exits));
  };
  await turn();
  const timer = setInterval(() => turn().catch((error) => { if (!signal.aborted) fill(body, card("", empty(error.message))); }), EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** Processor time since the last look; the first look has nothing to compare with. */
function share(cpu, program, at) {
  const last = cpu.get(program.pid);
  cpu.set(program.pid, [program.processor_seconds, at]);
  return last && at > last[1] ? `${Math.round(((program.processor_seconds - last[0]) / (at - last[1])) * 100)} %` : "–";
}

function slots(machine, used) {
  const tiles = machine.slots.map((slot) => {
    const program = slot.program;
    const cpu = used.find(([name]) => name === `inference-${slot.slot}`)?.[2] ?? "–";
    const facts = [["pid", program?.pid ?? "–"], ["memory", program ? memory(program.memory_bytes) : "–"], ["CPU", cpu], ["running for", program ? uptime(program.uptime) : "–"], ["restarts, last hour", count(slot.restarts.hour)], ["restarts, recorded", count(slot.restarts.recorded)], ["batches under way", count(slot.batches)], ["times suspected", count(slot.late)]];
    return el("article", { className: "card slot" },
      el("div", { className: "card-head" }, el("h2", {}, `Slot ${slot.slot}`), badge(slot.state, KINDS[slot.state] ?? "quiet")),
      el("dl", {}, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
      el("div", { className: "badges" }, ...Object.entries(slot.models).map(([name, versions]) => badge(`${name} ${versions.join(", ")}`))));
  });
  return el("div", { className: "slots" }, ...tiles);
}

function programs(machine, used) {
  if (machine.programs.length === 0) return card("Programs", empty("Nothing is known of supervisord's programs: these processes were not started by make up, or the controller is down."));
  const rows = machine.programs.map(({ program, restarts }, index) => [program.program, String(program.pid), memory(program.memory_bytes), used[index][2], uptime(program.uptime), count(restarts.hour), count(restarts.recorded)]);
  return card("Programs", table("Programs", ["Program", "pid", "Memory", "CPU", "Running for", "Restarts, last hour", "Restarts, recorded"], rows, ["", ...new Array(6).fill("number")]));
}

function exits(found) {
  if (found.length === 0) return card("Exits", empty("No program has ended since this run folder was made."));
  const rows = found.map((exit) => [
    moment(Date.parse(exit.at) / 1000),
    exit.process,
    badge(cause(exit), exit.asked ? "quiet" : exit.expected ? "warn" : "bad"),
    exit.uptime === null || exit.uptime === undefined ? "–" : uptime(exit.uptime),
    exit.pid ? String(exit.pid) : "–",
    exit.reason ?? "",
  ]);
  return card([found.length === 1 ? "Last exit" : `Last ${found.length} exits`, el("span", { className: "hint" }, "newest first")], table("Exits", ["When", "Program", "Cause", "After", "pid", "Reason"], rows, ["", "", "", "number", "number", ""]));
}

function cause(exit) {
  const how = exit.signal ?? (exit.code === null || exit.code === undefined ? "lost" : `exit status ${exit.code}`);
  return exit.asked ? `stopped (${how})` : how;
}
