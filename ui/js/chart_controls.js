// The elements of a run's charts: the figures, the controls above them, and the table.

import { takeCursor } from "./chart_cursor.js";
import { columnNames } from "./chart_points.js";
import { bytes, percent, short } from "./chart_plot.js";
import { kinds, points, state, view } from "./chart_state.js";

const element = (tag, attributes = {}, ...children) => {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in e) e[name] = value; else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
};

// The table has the numbers of the charts: at most so many rows, spread evenly over the steps that are shown.
const tableRows = 40;
const formats = { memory: bytes, accuracy: percent };

// rowsOf are the indices of the points that the table shows of a span, the last one always included.
export const rowsOf = ([from, to], rows = tableRows) => {
  const every = Math.max(1, Math.ceil((to - from + 1) / rows)), list = [];
  for (let i = from + ((to - from) % every); i <= to; i += every) list.push(i);
  return list;
};

const tableOpen = () => state.root?.querySelector("details")?.open;

// fillTable fills the table if it is open.
export const fillTable = () => {
  if (!tableOpen()) return;
  const shown = columnNames.filter((name) => name === "step" || points.has(name));
  const cell = (name, i) => element("td", {}, (formats[name] ?? short)(points.values(name)[i]));
  state.root.querySelector("tbody").replaceChildren(...rowsOf(view.span()).map((i) => element("tr", {}, ...shown.map((name) => cell(name, i)))));
  state.root.querySelector("thead").replaceChildren(element("tr", {}, ...shown.map((name) => element("th", { scope: "col" }, state.words[name]))));
};

// smoothingControls are a slider and a number for the same value.
const smoothingControls = (redraw) => {
  const bounds = { min: 0, max: 0.999, step: "any", value: points.smoothing() };
  const slider = element("input", { type: "range", ...bounds, max: 0.99, step: 0.01, "aria-label": state.words.smoothing });
  const typed = element("input", { type: "number", ...bounds, id: "chart-smoothing" });
  const smooth = (from, other) => () => {
    const keep = Number(from.value);
    if (from.value === "" || !(keep >= 0 && keep < 1)) return;
    other.value = keep;
    points.smooth(keep);
    redraw();
  };
  slider.oninput = smooth(slider, typed);
  typed.oninput = smooth(typed, slider);
  return element("span", { className: "smoothing" }, element("label", { htmlFor: "chart-smoothing" }, state.words.smoothing), slider, typed);
};

const figureOf = (kind, zoom) => {
  const main = kind === "loss", label = state.words[kind];
  const value = element("span", { className: "readout" }), at = element("span", { className: "at" });
  const target = element("div", { className: "plot", role: main ? "slider" : "img", "aria-label": label, ondblclick: () => zoom(null) });
  if (main) takeCursor(target);
  const figure = element("figure", { id: "chart-" + kind, hidden: true }, element("figcaption", {}, element("span", {}, label, " ", at), value), target);
  return { kind, figure, target, value, at, plot: null };
};

// buildCharts creates the content of the root, in the language of the words. actions are redraw, rebuild, zoom(steps) and
// take(kind).
export const buildCharts = ({ redraw, rebuild, zoom, take }) => {
  const { root, words } = state;
  const check = (label, id, property) => element("label", {},
    element("input", { type: "checkbox", id, checked: view[property], onchange: (e) => { view[property] = e.target.checked; rebuild(); } }), " " + label);
  const windows = element("select", { id: "chart-window", "aria-label": words.window, onchange: (e) => { view.latest = +e.target.value; zoom(null); } },
    ...[0, 1000, 100].map((n) => element("option", { value: n, selected: n === view.latest }, n ? words.latest.replace("{n}", n) : words.all)));
  const takeButton = (kind) => element("button", { type: "button", className: "quiet", id: "chart-" + kind, "aria-label": `${words.take} ${kind.toUpperCase()}`, onclick: () => take(kind) }, kind.toUpperCase());
  const scrolls = element("div", { className: "scrolls", tabIndex: 0, role: "region", "aria-label": words.table },
    element("table", { "aria-label": words.table }, element("thead"), element("tbody")));
  state.charts = Object.keys(kinds).map((kind) => figureOf(kind, zoom));
  const [main, ...others] = state.charts.map((c) => c.figure);
  root.replaceChildren(
    main,
    element("div", { className: "chart-controls" }, smoothingControls(redraw), windows,
      element("button", { type: "button", className: "quiet", id: "chart-all", hidden: !view.steps, onclick: () => zoom(null) }, words.all),
      check(words.log, "chart-log", "log"), check(words.clip, "chart-clip", "clip")),
    element("div", { className: "small-charts" }, ...others),
    element("div", { className: "takes" }, element("span", {}, words.take), takeButton("png"), takeButton("svg"), takeButton("csv")),
    element("details", { ontoggle: fillTable }, element("summary", { className: "disclose" }, words.table), scrolls));
};

// showWhole shows the button that ends a zoom, or hides it.
export const showWhole = (shown) => {
  const button = state.root?.querySelector("#chart-all");
  if (button) button.hidden = !shown;
};
