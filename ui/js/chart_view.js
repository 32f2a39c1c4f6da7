// The view of a chart: which steps are shown, on which scale, reduced to at most two points a pixel.

import { sparse } from "./chart_points.js";

// makeView is a view of a table of points.
export const makeView = (points) => {
  const view = {
    steps: null, // [first, last] step of the zoom, null for all
    latest: 0, // how many of the newest points are shown, 0 for all
    log: false, // the loss is on a logarithmic scale
    clip: false, // the highest losses may lie beyond the chart
  };

  // span are the indices of the first and the last point that are shown.
  view.span = () => {
    const count = points.count();
    if (!view.steps) return [view.latest ? Math.max(0, count - view.latest) : 0, count - 1];
    const first = points.nearest(view.steps[0]);
    return [first, Math.max(points.nearest(view.steps[1]), first + 1)];
  };

  const plain = (v) => (Number.isFinite(v) && !(view.log && v <= 0) ? v : null);

  // reduced are the steps and some columns between two indices, with at most two points a pixel: the lowest and the highest of
  // the points that fall on it, in their order.
  view.reduced = (shown, pixels, [from, to]) => {
    const n = to - from + 1, all = ["step", ...shown];
    if (n <= 2 * pixels) return all.map((name) => Array.from(points.values(name).subarray(from, to + 1), plain));
    const steps = points.values("step"), out = all.map(() => new Array(2 * pixels));
    for (let p = 0; p < pixels; p++) {
      const a = from + Math.floor((p * n) / pixels), b = from + Math.floor(((p + 1) * n) / pixels);
      out[0][2 * p] = steps[a];
      out[0][2 * p + 1] = steps[b - 1];
      shown.forEach((name, k) => {
        const v = points.values(name);
        let low = -1, high = -1;
        for (let i = a; i < b; i++) {
          if (plain(v[i]) === null) continue;
          if (low < 0 || v[i] < v[low]) low = i;
          if (high < 0 || v[i] > v[high]) high = i;
        }
        out[k + 1][2 * p] = low < 0 ? null : v[Math.min(low, high)];
        out[k + 1][2 * p + 1] = low < 0 || low === high && sparse.has(name) ? null : v[Math.max(low, high)];
      });
    }
    return out;
  };

  // range is the lowest and the highest value of reduced columns, with a margin. Without outliers, the highest 2 % of the losses
  // are left out where they would flatten the rest. Memory is shown from 0 on: it hardly changes in a run, and the numbers of an
  // axis between two near values would all read the same.
  view.range = (shown, data) => {
    let low = Infinity, high = -Infinity;
    shown.forEach((name, k) => {
      let list = data[k + 1].filter((v) => v !== null);
      if (view.clip && name === "loss" && list.length > 20) list = list.sort((a, b) => a - b).slice(0, Math.ceil(0.98 * list.length));
      for (const v of list) { low = Math.min(low, v); high = Math.max(high, v); }
    });
    if (low > high) return [0, 1];
    if (view.log && shown[0] === "loss") return [low / 1.05, high * 1.05];
    if (shown[0] === "memory") return [0, high * 1.06 || 1];
    const room = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.5 || 1; // what is constant lies in the middle
    return [low - room, high + room];
  };
  return view;
};
