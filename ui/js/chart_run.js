// The charts of a run, drawn by uPlot with at most two points a pixel. The other files chart_*.js have what uPlot lacks: smoothing,
// one cursor for all charts that also follows the keyboard, marks, a table, pictures.

import { buildCharts, fillTable, showWhole } from "./chart_controls.js";
import { hold, pointed, readout } from "./chart_cursor.js";
import { csv, png, svg } from "./chart_export.js";
import { axis, rem } from "./chart_plot.js";
import { isMain, kinds, marks, points, seriesOf, state, view } from "./chart_state.js";
import { saveBlob } from "./downloads.js";
import { whenThere } from "./elements.js";

const zoomLeast = 4; // pixels: less is a click

const zoom = (steps) => {
  view.steps = steps;
  showWhole(!!steps);
  redraw();
};

const plot = (chart) => {
  const { columns, height, format } = kinds[chart.kind], main = isMain(chart);
  const shared = { ...axis(), font: `${12 * rem()}px system-ui` };
  return new uPlot({
    width: Math.max(chart.target.clientWidth, 100), height: height * rem(), padding: [8, 16, main ? 0 : 8, 0].map((v) => v * rem()),
    legend: { show: false },
    cursor: { sync: { key: "run" }, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
    scales: { x: { time: false, range: () => chart.x }, y: { range: () => chart.y, distr: main && view.log ? 3 : 1 } },
    axes: [
      { ...shared, show: main, size: 30 * rem(), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] },
      { ...shared, size: 62 * rem(), values: (_, ticks) => ticks.map((v) => (v == null ? "" : format(v))) },
    ],
    series: [{}, ...columns.map(seriesOf)],
    hooks: {
      draw: main ? [marks] : [],
      setCursor: main ? [pointed] : [],
      setSelect: [(u) => {
        if (u.select.width < zoomLeast) return;
        zoom([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
        u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
    },
  }, [[], ...columns.map(() => [])], chart.target);
};

const draw = () => {
  if (!state.root) return;
  const [from, to] = view.span(), steps = points.values("step");
  let made = false; // one plot a frame: creating all of them in one would block the page
  for (const chart of state.charts) {
    const { columns } = kinds[chart.kind];
    chart.figure.hidden = !columns.some((name) => name !== "smooth" && points.has(name));
    if (chart.figure.hidden) continue;
    if (!chart.plot && chart.target.clientWidth) {
      if (made) {
        redraw();
        continue;
      }
      made = true;
      chart.x = chart.y = [0, 1];
      chart.plot = plot(chart);
    }
    if (!chart.plot) continue;
    const data = view.reduced(columns, Math.ceil(chart.plot.bbox.width / devicePixelRatio) || 100, [from, to]);
    chart.x = to > from ? [steps[from], steps[to]] : [steps[from] - 1, steps[from] + 1];
    chart.y = view.range(columns, data);
    chart.plot.setData(data);
  }
  if (state.held) hold(Math.min(state.cursor, points.count() - 1));
  readout();
  fillTable();
};

let queued = false;
const redraw = () => {
  if (queued || !state.root) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; draw(); });
};

const destroyPlots = () => { for (const chart of state.charts) { chart.plot?.destroy(); chart.plot = null; } };

// rebuildChart creates the plots again, after a change of their colours or scales.
export const rebuildChart = () => {
  destroyPlots();
  redraw();
};

let sizes; // watches the root's size
const fit = () => requestAnimationFrame(() => {
  for (const { target, plot, kind } of state.charts) {
    const width = target.clientWidth;
    if (width && plot && plot.width !== width) plot.setSize({ width, height: kinds[kind].height * rem() });
  }
  redraw();
});

const build = (root, words) => {
  if (state.root === root && JSON.stringify(state.words) === JSON.stringify(words)) return;
  if (!sizes) {
    sizes = new ResizeObserver(fit);
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) matchMedia(query).addEventListener("change", rebuildChart);
  }
  sizes.disconnect();
  destroyPlots();
  Object.assign(state, { root, words, cursor: null, held: false });
  buildCharts({ redraw, rebuild: rebuildChart, zoom, take: (kind) => savePicture(kind, words.file) });
  redraw();
  sizes.observe(root);
};

// showRunChart shows the charts in their element, in the language of the words.
export const showRunChart = (words) => {
  const texts = JSON.parse(words);
  whenThere("charts", (root) => build(root, texts));
};

// addSteps adds steps, which have the form of metrics.jsonl.
export const addSteps = (steps) => {
  for (const s of steps) points.add(s);
  redraw();
};

// clearChart forgets all points.
export const clearChart = () => {
  points.clear();
  Object.assign(state, { cursor: null, held: false });
  zoom(null);
};

// savePicture has the browser save the charts as "svg", "png" or "csv".
export const savePicture = async (kind, name) => {
  const drawing = () => svg(points, view, state.words);
  const blob = { svg: () => new Blob([drawing()], { type: "image/svg+xml" }), csv: () => new Blob([csv(points)], { type: "text/csv" }), png: () => png(drawing()) }[kind];
  saveBlob(`${name}.${kind}`, await blob());
};

export const pointCount = () => points.count();
