// Shared by the run's charts and the room's curve: colours and lengths of the page's style, axes and lines for uPlot, and the
// formatting of numbers.

const style = () => getComputedStyle(document.documentElement);

// colour reads a property of the style each time uPlot draws, as themes change it.
export const colour = (name) => () => style().getPropertyValue(name).trim();

// rem is the size of the page's text divided by 16 pixels.
export const rem = () => parseFloat(style().fontSize) / 16;

export const axis = () => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } });

// line joins points. dots also marks each point, for a sparse column.
export const line = (name, width) => ({ stroke: colour(name), width, points: { show: false } });
export const dots = (name, size) => ({ stroke: colour(name), width: 1, spanGaps: true, points: { show: true, size, fill: colour(name), space: 0 } });

export const unknown = "–";
export const short = (v) => {
  if (v === null || v === undefined || Number.isNaN(v)) return unknown;
  const a = Math.abs(v);
  if (a !== 0 && (a < 1e-3 || a >= 1e7)) return v.toExponential(2);
  return a >= 1000 ? Math.round(v).toLocaleString(document.documentElement.lang) : String(+v.toPrecision(4));
};
export const bytes = (v) => (!(v >= 0) ? unknown : v >= 1e9 ? +(v / 1e9).toPrecision(3) + " GB" : +(v / 1e6).toPrecision(3) + " MB");
export const percent = (v) => (!(v >= 0) ? unknown : +(100 * v).toPrecision(3) + " %");
