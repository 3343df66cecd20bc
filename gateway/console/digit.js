// A place to draw a digit, and the same as 8 by 8 grey values from 0 to 16, as the data set behind `digits` was made:
// ink is counted in blocks of a 32 by 32 picture (E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits).

import { el, say } from "./dom.js";

const SIZE = 256;
const FINE = 32;
const SIDE = 8;
const INK = 16;
const SAMPLES = [
  "00aeb30004gd6e1004g20b7008g00a5008g00e4008g01g1004g1bf0000bgc300", "0000c5000002gc00001cgb0002cgga0006b5f6000001g9000002gb000003g800",
  "0005ec20007f8e4000623d100001d400001b900008gd000005egb2000006cd30", "009gd6000065gg000008f5000005e30000009f2000000bc00048bfc000bec800",
  "0009f100004gc00000fe2b3004g94ga009gbdg20009gge000008g6000009g200", "02dgggb005ga541006g7300009ggg6000384bf000001cf00004dg60002gf8000",
  "0005e200001db000005g2000006f500001fgfb1002de1c90004g7d900005gf30", "0009fc0000477e0000000d300498ad1004gfgg600000e3000009c000000b7000",
  "0077dg4000dd6c7000a4ab10008ga00003eg0000088b500004a9800001bg6000", "002d8000006gg600005fdb000007gf0000000e30000007b0000344g2002fded2",
];

/** Return {element, values}: what to show, and a function that returns the 64 values. */
export function digitPad(changed) {
  const canvas = el("canvas", { width: SIZE, height: SIZE, className: "pad" });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Drawing area for a pointer. With a keyboard, use the grid or a sample.");
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const cells = grid(() => changed());
  const clear = () => {
    pen.clearRect(0, 0, SIZE, SIZE);
    cells.set(new Array(SIDE * SIDE).fill(0));
  };
  follow(canvas, pen, () => cells.set(read(pen)), changed);
  const samples = SAMPLES.map((values, digit) => el("button", {
    type: "button",
    className: "chip",
    "aria-label": `Sample of a ${digit}`,
    onclick: () => {
      clear();
      cells.set(Array.from(values, (letter) => parseInt(letter, 17)));
      paint(pen, cells.values());
      changed();
    },
  }, String(digit)));
  const wipe = el("button", { type: "button", className: "ghost", onclick: () => { clear(); say("Cleared."); } }, "Clear");
  const element = el("div", { className: "digit" },
    el("div", { className: "draw" }, el("div", {}, canvas, el("p", { className: "hint" }, "Draw a digit")), el("div", {}, cells.element, el("p", { className: "hint" }, "What the model sees"))),
    el("div", { className: "chips" }, el("span", { className: "hint" }, "Samples"), ...samples, wipe));
  return { element, values: cells.values, clear };
}

function follow(canvas, pen, drawn, ended) {
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  };
  const stroke = (event) => {
    const [x, y] = place(event);
    Object.assign(pen, { lineWidth: 26, lineCap: "round", lineJoin: "round", strokeStyle: "#4F46E5" });
    pen.beginPath();
    pen.moveTo(...(last ?? [x, y]));
    pen.lineTo(x, y);
    pen.stroke();
    last = [x, y];
    drawn();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (last) stroke(event); });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (last) ended();
      last = null;
    });
  }
}

/** Count the ink: the drawing is moved and scaled so that it fills the height, as the digits of the data set do. */
function read(pen) {
  const ink = pen.getImageData(0, 0, SIZE, SIZE).data;
  const has = (x, y) => x >= 0 && y >= 0 && x < SIZE && y < SIZE && ink[(Math.floor(y) * SIZE + Math.floor(x)) * 4 + 3] > 127;
  const box = bounds(has);
  if (!box) return new Array(SIDE * SIDE).fill(0);
  const side = Math.max(box.bottom - box.top, box.right - box.left) + 1;
  const [left, top] = [(box.left + box.right - side) / 2, (box.top + box.bottom - side) / 2];
  const values = new Array(SIDE * SIDE).fill(0);
  for (let row = 0; row < FINE; row += 1) {
    for (let column = 0; column < FINE; column += 1) {
      if (has(left + ((column + 0.5) * side) / FINE, top + ((row + 0.5) * side) / FINE)) {
        values[Math.floor(row / 4) * SIDE + Math.floor(column / 4)] += 1;
      }
    }
  }
  return values;
}

function bounds(has) {
  const box = { left: SIZE, right: -1, top: SIZE, bottom: -1 };
  for (let y = 0; y < SIZE; y += 2) {
    for (let x = 0; x < SIZE; x += 2) {
      if (has(x, y)) {
        Object.assign(box, { left: Math.min(box.left, x), right: Math.max(box.right, x), top: Math.min(box.top, y), bottom: Math.max(box.bottom, y) });
      }
    }
  }
  return box.right < 0 ? null : box;
}

function paint(pen, values) {
  const step = SIZE / SIDE;
  values.forEach((value, index) => {
    pen.fillStyle = `rgb(79 70 229 / ${value / INK})`;
    if (value) pen.fillRect((index % SIDE) * step, Math.floor(index / SIDE) * step, step, step);
  });
}

/** The 64 values as cells that arrow keys walk through; Space or Enter inks one more and more, and then wipes it. */
function grid(changed) {
  const values = new Array(SIDE * SIDE).fill(0);
  const cells = values.map((_, index) => el("button", { type: "button", role: "gridcell", tabIndex: index ? -1 : 0 }));
  const show = (index) => {
    cells[index].dataset.ink = String(Math.ceil(values[index] / 2));
    cells[index].setAttribute("aria-label", `Row ${Math.floor(index / SIDE) + 1}, column ${(index % SIDE) + 1}: ${values[index]}`);
  };
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -SIDE, ArrowDown: SIDE };
  cells.forEach((cell, index) => {
    show(index);
    cell.addEventListener("click", () => {
      values[index] = values[index] >= INK ? 0 : Math.min(INK, values[index] + 8);
      show(index);
      changed();
    });
    cell.addEventListener("keydown", (event) => {
      const next = index + (moves[event.key] ?? 0);
      if (!(event.key in moves) || next < 0 || next >= cells.length) return;
      event.preventDefault();
      cell.tabIndex = -1;
      cells[next].tabIndex = 0;
      cells[next].focus();
    });
  });
  const rows = Array.from({ length: SIDE }, (_, row) => el("div", { role: "row" }, ...cells.slice(row * SIDE, row * SIDE + SIDE)));
  const element = el("div", { className: "cells", role: "grid", "aria-label": "8 by 8 grey values" }, ...rows);
  const set = (given) => given.forEach((value, index) => {
    values[index] = value;
    show(index);
  });
  return { element, set, values: () => [...values] };
}
