// The curve of a room: the loss over the slots of all tabs, and the loss on held-out rows where it was measured. The points are
// kept here; uPlot draws them.

import { axis, dots, line } from "./chart_plot.js";

const height = 220;
let table = [[], [], []], plot = null, box = null; // step, loss, held-out loss

// addPoints adds points to the columns of a table. A point replaces an earlier one of the same step.
export const addPoints = (columns, points) => {
  for (const { step, loss, eval: held } of points) {
    while (columns[0].length && columns[0].at(-1) >= step) columns.forEach((column) => column.pop());
    [step, loss, held ?? null].forEach((value, i) => columns[i].push(value));
  }
};

const draw = () => {
  if (!box?.isConnected) return;
  if (plot) {
    plot.setData(table);
    return;
  }
  const shared = { ...axis(), ticks: { show: false } };
  plot = new uPlot({
    width: box.clientWidth, height, legend: { show: false }, cursor: { show: false }, scales: { x: { time: false } }, axes: [shared, { ...shared, size: 56 }],
    series: [{}, line("--accent", 2), dots("--second", 8)],
  }, table, box);
  new ResizeObserver(() => { if (plot && box.clientWidth) plot.setSize({ width: box.clientWidth, height }); }).observe(box);
};

export const addLosses = (losses) => {
  addPoints(table, losses);
  draw();
};

export const clearLosses = () => {
  table = [[], [], []];
  plot?.setData(table);
};

// showRoomChart shows the curve in an element.
export const showRoomChart = (element) => {
  if (element !== box || !plot) {
    plot?.destroy();
    plot = null;
    box = element;
    box.replaceChildren();
  }
  draw();
};

export const repaintRoomChart = () => plot?.redraw();
