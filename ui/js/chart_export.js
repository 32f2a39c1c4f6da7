// A run's charts as files: the loss as a drawing, and all points as a table.

import { columnNames } from "./chart_points.js";
import { short } from "./chart_plot.js";

const size = { width: 960, height: 420, left: 70, right: 20, top: 40, bottom: 45 };
const colours = { loss: "#9cc5b9", smooth: "#17665a", eval: "#9a4a00" }; // on white
const columns = Object.keys(colours);
const labels = 5; // on each axis

// pathOf is the SVG path through points given by their coordinates. A null interrupts the line.
const pathOf = (xs, ys) => {
  let path = "", pen = "M";
  ys.forEach((y, i) => {
    if (y === null) { pen = "M"; return; }
    path += pen + xs[i] + " " + y;
    pen = "L";
  });
  return path;
};

// svg is a drawing of the loss as the view shows it, on white, with axes.
export const svg = (points, view, words) => {
  const { width, height, left, right, top, bottom } = size, w = width - left - right, h = height - top - bottom;
  const [first, last] = view.span(), data = view.reduced(columns, w, [first, last]), steps = points.values("step");
  const x0 = steps[first] ?? 0, x1 = Math.max(steps[last] ?? 1, x0 + 1), [y0, y1] = view.range(columns, data);
  const scale = view.log ? Math.log : (v) => v, unscale = view.log ? Math.exp : (v) => v;
  const x = (v) => (left + ((v - x0) / (x1 - x0)) * w).toFixed(1);
  const y = (v) => (height - bottom - ((scale(v) - scale(y0)) / (scale(y1) - scale(y0))) * h).toFixed(1);
  const text = (at, s, { anchor = "middle", fill = "#333" } = {}) => `<text x="${at[0]}" y="${at[1]}" text-anchor="${anchor}" fill="${fill}">${s}</text>`;
  const parts = (f) => Array.from({ length: labels }, (_, i) => f(i / (labels - 1)));
  const [xs, loss, smooth, held] = [data[0].map((v) => (v === null ? null : x(v))), ...data.slice(1).map((ys) => ys.map((v) => (v === null ? null : y(v))))];
  const best = points.best();
  const star = () => `<text x="${x(steps[best])}" y="${+y(points.values("eval")[best]) + 7}" text-anchor="middle" font-size="22" fill="${colours.eval}" stroke="#fff" paint-order="stroke" stroke-width="3">★</text>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13">`,
    `<rect width="${width}" height="${height}" fill="#fff"/><clipPath id="c"><rect x="${left}" y="${top}" width="${w}" height="${h}"/></clipPath>`,
    ...parts((f) => unscale(scale(y0) + f * (scale(y1) - scale(y0))))
      .map((v) => `<path d="M${left} ${y(v)}H${width - right}" stroke="#ddd"/>` + text([left - 8, +y(v) + 4], short(v), { anchor: "end" })),
    ...parts((f) => x0 + f * (x1 - x0)).map((v) => text([x(v), height - bottom + 20], Math.round(v))),
    `<g clip-path="url(#c)"><path d="${pathOf(xs, loss)}" fill="none" stroke="${colours.loss}"/><path d="${pathOf(xs, smooth)}" fill="none" stroke="${colours.smooth}" stroke-width="2"/>`,
    ...held.map((v, i) => (v === null ? "" : `<circle cx="${xs[i]}" cy="${v}" r="3.5" fill="${colours.eval}"/>`)),
    best >= first && best <= last ? star() : "",
    "</g>", text([width / 2, height - 8], words.step),
    ...columns.map((name, i) => text([left + i * 150, 20], "● " + words[name], { anchor: "start", fill: colours[name] })), "</svg>",
  ].join("");
};

// png is that drawing as a picture of twice the size.
export const png = async (drawing) => {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([drawing], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = new OffscreenCanvas(image.width * 2, image.height * 2);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return canvas.convertToBlob({ type: "image/png" });
};

// csv is a table of all points. A value that is not a number is an empty cell.
export const csv = (points) => {
  const rows = [columnNames.join(",")];
  for (let i = 0; i < points.count(); i++) {
    rows.push(columnNames.map((name) => { const v = points.values(name)[i]; return Number.isFinite(v) ? v : ""; }).join(","));
  }
  return rows.join("\n") + "\n";
};
