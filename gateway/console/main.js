// Shows one view at a time, by the part of the address behind "#/".

import { get } from "./api.js";
import { el, empty, fill } from "./dom.js";
import { liveView } from "./live.js";
import { modelsView } from "./models.js";
import { requestsView } from "./requests.js";
import { traceView } from "./trace.js";
import { tryView } from "./try.js";
import { workersView } from "./workers.js";

const VIEWS = {
  try: [tryView, "Try"],
  live: [liveView, "Live"],
  requests: [requestsView, "Slow and failed"],
  trace: [traceView, "Trace"],
  models: [modelsView, "Models"],
  workers: [workersView, "Workers"],
};
const main = document.getElementById("view");
let shown = new AbortController();

async function show(isFirst) {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decoded);
  const key = Object.hasOwn(VIEWS, name) ? name : "try";
  const [view, label] = VIEWS[key];
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  document.title = `${label} · InferenceHub`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === key) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const place = el("div", { className: `view ${key}-view` });
  fill(main, place);
  if (!isFirst) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  try {
    await view(place, { rest, query: new URLSearchParams(query ?? ""), signal });
  } catch (error) {
    if (!signal.aborted) fill(place, empty(error.message, el("button", { type: "button", onclick: () => show(false) }, "Try again")));
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function followTheme() {
  const root = document.documentElement;
  for (const input of document.querySelectorAll("input[name=theme]")) {
    input.checked = input.value === root.dataset.theme;
    input.addEventListener("change", () => {
      root.dataset.theme = input.value;
      localStorage.setItem("theme", input.value);
    });
  }
}

async function tellVersion() {
  const about = await get("/console/api/about").catch(() => null);
  if (about) document.getElementById("version").textContent = `Version ${about.version}`;
}

// A fragment that is no view is where the skip link leads.
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#/")) show(false);
  else main.focus();
});
followTheme();
tellVersion();
show(true);
