// The state of a run's charts: the points, which of them are shown, and the charts' elements.

import { makePoints } from "./chart_points.js";
import { bytes, colour, dots, line, percent, rem, short } from "./chart_plot.js";
import { makeView } from "./chart_view.js";

export const points = makePoints();
export const view = makeView(points);

// kinds are the charts in their order. The first is the main one: it has the cursor, the marks and the axis of steps.
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

// state is shared by the files chart_*.js.
export const state = {
  root: null, // the element that the charts are in
  words: {}, // their texts
  charts: [], // {kind, figure, target, value, at, plot, x, y}: elements, the uPlot or null, and its ranges
  cursor: null, // index of a point, null for the newest
  held: false, // the keyboard has moved the cursor, which stays at its step
};

// marks shows the steps whose loss was not a number (✕) and the lowest held-out loss (★).
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
    if (x - drawn < size / 2) continue; // too close to the last mark
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
