// Makes elements. Text from anywhere becomes text nodes; nothing here takes markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element: properties by name, "on…" for listeners, "data-…" and "aria-…" as attributes. */
export function el(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** Return an SVG element; every property is an attribute. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...wanted(children));
  return made;
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...wanted(children));
  return element;
}

/** Say something to those who hear the page; the same sentence is not said twice in a row. */
export function say(sentence) {
  const told = document.getElementById("told");
  if (told.textContent !== sentence) told.textContent = sentence;
}

/** Return a card with a heading and, at its right end, whatever else belongs there. */
export function card(title, ...children) {
  const [heading, aside] = Array.isArray(title) ? title : [title];
  const head = heading ? el("div", { className: "card-head" }, el("h2", {}, heading), aside) : null;
  return el("section", { className: "card" }, head, ...children);
}

/** Return a page's title and the sentence below it. */
export function title(text, sentence, ...aside) {
  return el("div", { className: "title" }, el("div", {}, el("h1", {}, text), el("p", {}, sentence)), ...aside);
}

/** Return a table: head cells are texts, cells are texts or elements; "number" in `kinds` aligns a column to the right. */
export function table(caption, head, rows, kinds = []) {
  const cell = (name, column) => (content) => el(name, { className: kinds[column] ?? "" }, content);
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("caption", { className: "visually-hidden" }, caption),
      el("thead", {}, el("tr", {}, ...head.map((text, column) => el("th", { scope: "col", className: kinds[column] ?? "" }, text)))),
      el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((content, column) => cell("td", column)(content)))))));
}

/** Return a small labelled word; kinds: good, bad, warn, quiet. */
export function badge(text, kind = "quiet") {
  return el("span", { className: `badge ${kind}` }, text);
}

/** Return what stands where there is nothing to show. */
export function empty(sentence, ...more) {
  return el("div", { className: "empty" }, el("p", {}, sentence), ...more);
}

/** Return a button that copies a text. */
export function copyButton(text, label) {
  const button = el("button", { type: "button", className: "ghost small" }, "Copy");
  button.setAttribute("aria-label", label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    say("Copied.");
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

function filled(made, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (/^(data|aria)-|^(role|for|scope|list)$/.test(key)) made.setAttribute(key, String(value));
    else made[key] = value;
  }
  made.append(...wanted(children));
  return made;
}

function wanted(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false);
}
