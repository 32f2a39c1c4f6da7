// The run's charts as the page has them: the points, what of them is shown, and the charts' elements.

import { makePoints } from "./chart_points.js";
import { bytes, colour, dots, line, percent, rem, short } from "./chart_plot.js";
import { makeView } from "./chart_view.js";

export const points = makePoints();
export const view = makeView(points);

// kinds are the charts in their order. The first is the main one: it carries the cursor, the marks and the steps' axis.
export const kinds = {
  loss: { columns: ["loss", "smooth", "eval"], height: 280, format: short },
  accuracy: { columns: ["accuracy"], height: 130, format: percent },
  norm: { columns: ["norm"], height: 130, format: short },
  lr: { columns: ["lr"], height: 130, format: short },
  speed: { columns: ["speed"], height: 130, format: short },
  memory: { columns: ["memory"], height: 130, format: bytes },
  ratio: { columns: ["ratio"], height: 130, format: short },
};
export const isMain = (chart) => chart.kind === "loss";

// seriesOf is how a column is drawn.
const held = () => dots("--second", 6 * rem());
const special = { loss: () => line("--faint", 1), smooth: () => line("--accent", 2), eval: held, accuracy: held };
export const seriesOf = (column) => (special[column] ?? (() => line("--accent", 1.5)))();

// state is what the charts' parts share.
export const state = {
  root: null, // the element that the charts are in
  words: {}, // their texts
  charts: [], // {kind, figure, target, value, at, plot, x, y}: elements, the uPlot or null, and its ranges
  cursor: null, // a place among the points, null for the newest
  held: false, // the keyboard has put the cursor there, so it stays with its step
};

// marks shows where a loss was no number (✕), and the best of the held-out losses (★).
export const marks = (u) => {
  const [from, to] = view.span(), size = 14 * rem() * devicePixelRatio;
  const steps = points.values("step"), loss = points.values("loss"), best = points.best();
  u.ctx.save();
  u.ctx.textAlign = "center";
  u.ctx.textBaseline = "middle";
  u.ctx.font = `${size}px system-ui`;
  u.ctx.fillStyle = colour("--bad")();
  let drawn = -Infinity;
  for (let i = from; i <= to; i++) {
    if (Number.isFinite(loss[i])) continue;
    const x = u.valToPos(steps[i], "x", true);
    if (x - drawn < size / 2) continue; // beside one that is drawn
    u.ctx.fillText("✕", (drawn = x), u.bbox.top + size / 2);
  }
  if (best >= from && best <= to) {
    const x = u.valToPos(steps[best], "x", true), y = u.valToPos(points.values("eval")[best], "y", true);
    u.ctx.font = `${1.5 * size}px system-ui`;
    u.ctx.lineWidth = 3 * devicePixelRatio;
    u.ctx.strokeStyle = colour("--panel")();
    u.ctx.fillStyle = colour("--second")();
    u.ctx.strokeText("★", x, y);
    u.ctx.fillText("★", x, y);
  }
  u.ctx.restore();
};
