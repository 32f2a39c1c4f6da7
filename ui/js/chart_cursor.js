// One cursor for all charts of a run. The pointer or the keyboard moves it, and each chart shows its values there.

import { sparse } from "./chart_points.js";
import { short } from "./chart_plot.js";
import { isMain, kinds, points, state, view } from "./chart_state.js";

// valueAt is a column's value at a point. In a sparse column it is the last value at or before the point.
export const valueAt = (values, name, i) => {
  if (sparse.has(name)) while (i > 0 && Number.isNaN(values[i])) i--;
  return values[i];
};

const span = (name, text) => Object.assign(document.createElement("span"), { className: "key-" + name, textContent: text });

// readout writes the values at the cursor beside each chart, and into the main chart's attributes for screen readers.
export const readout = () => {
  const { charts, words, cursor } = state, count = points.count();
  const i = Math.min(cursor ?? count - 1, count - 1);
  for (const chart of charts) {
    if (chart.figure.hidden) continue;
    const { columns, format } = kinds[chart.kind];
    const parts = i < 0 ? [] : columns.map((name) => [name, valueAt(points.values(name), name, i)]).filter(([name, v]) => !sparse.has(name) || !Number.isNaN(v));
    chart.value.replaceChildren(...parts.map(([name, v]) => span(name, columns.length > 1 ? `${words[name]} ${format(v)}` : format(v))));
  }
  const [main] = charts;
  if (i < 0 || !main) return;
  const steps = points.values("step");
  main.at.textContent = cursor === null ? "" : `${words.step} ${short(steps[i])}`;
  if (!main.plot) return;
  const range = { "aria-valuemin": steps[0], "aria-valuemax": steps[count - 1], "aria-valuenow": steps[i] };
  for (const [name, v] of Object.entries(range)) main.target.setAttribute(name, v);
  const texts = charts.filter((c) => !c.figure.hidden).map((c) => (isMain(c) ? "" : words[c.kind] + " ") + [...c.value.children].map((s) => s.textContent).join(", "));
  main.target.setAttribute("aria-valuetext", `${words.step} ${steps[i]}: ` + texts.join(", "));
};

// pointed follows the pointer over a plot.
export const pointed = (u) => {
  if (state.held) return;
  state.cursor = u.cursor.left >= 0 && points.count() ? points.nearest(u.posToVal(u.cursor.left, "x")) : null;
  readout();
};

// hold fixes the cursor at a point.
export const hold = (i) => {
  const { plot } = state.charts[0];
  state.cursor = i;
  state.held = true;
  plot.setCursor({ left: plot.valToPos(points.values("step")[i], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
  readout();
};

// placeAfterKey is the point to which a key moves the cursor, between the points from and to, or undefined for other keys. An
// arrow key moves it by the points of one pixel, so that each press is visible; the page keys and Shift move it by ten times that.
export const placeAfterKey = ({ key, shiftKey }, cursor, [from, to], pixel) => {
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[key];
  const i = by ? (cursor ?? to) + by * pixel * (shiftKey ? 10 : 1) : { Home: from, End: to }[key];
  return i === undefined ? i : Math.min(Math.max(i, from), to);
};

const pressed = (event) => {
  const { charts: [main], cursor } = state;
  if (!main.plot || !points.count()) return;
  const [from, to] = view.span();
  const i = placeAfterKey(event, cursor, [from, to], Math.max(1, Math.round((to - from) / main.target.clientWidth)));
  if (i === undefined) return;
  event.preventDefault();
  hold(i);
};

const release = () => {
  state.held = false;
  state.cursor = null;
  state.charts[0].plot?.setCursor({ left: -10, top: -10 });
  readout();
};

// takeCursor has the keyboard move the cursor while the main chart's element has the focus.
export const takeCursor = (target) => {
  target.id = "chart-cursor";
  target.tabIndex = 0;
  for (const bound of ["min", "max", "now"]) target.setAttribute("aria-value" + bound, 0);
  target.addEventListener("keydown", pressed);
  target.addEventListener("blur", release);
  target.addEventListener("pointermove", () => { state.held = false; });
};
