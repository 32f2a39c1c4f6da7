// The charts of a run. Points come in rows of numbers, are kept in typed arrays and never pass through vugu again.
// Lines are drawn by uPlot; what it has not is here: smoothing, keyboard cursor, table, pictures to take away.
"use strict";

globalThis.llamatabCharts = (() => {
  const columns = ["step", "loss", "eval", "lr", "norm", "speed", "memory", "ratio"];
  const pointsLimit = 65536; // beyond, neighbours are merged: far more than a chart has pixels
  const width = columns.length;

  // The table of points: one array for each column.
  let capacity = 1024, count = 0, stride = 1, gathered = 0;
  let table, sums, counts;
  const make = (n) => columns.map(() => new Float64Array(n));
  const clear = () => {
    capacity = 1024; count = 0; stride = 1; gathered = 0;
    table = make(capacity); sums = new Float64Array(width); counts = new Float64Array(width);
  };
  clear();
  const grow = () => {
    capacity *= 2;
    table = table.map((old) => { const next = new Float64Array(capacity); next.set(old); return next; });
  };
  const thin = () => { // halves the points
    for (let c = 0; c < width; c++) {
      for (let i = 0; i < count / 2; i++) {
        const [a, b] = [table[c][2 * i], table[c][2 * i + 1]];
        table[c][i] = c === 0 ? b : c !== 2 ? (a + b) / 2 : Number.isNaN(b) ? a : b;
      }
    }
    count /= 2;
    stride *= 2;
  };
  const put = (rows) => {
    for (let at = 0; at + width <= rows.length; at += width) {
      while (count && table[0][count - 1] >= rows[at]) count--; // the run went back
      for (let c = 1; c < width; c++) {
        const v = rows[at + c];
        if (c === 2 && Number.isNaN(v)) continue; // most steps are not evaluated
        sums[c] += v;
        counts[c]++;
      }
      if (++gathered < stride) continue;
      if (count === capacity) grow();
      table[0][count] = rows[at];
      for (let c = 1; c < width; c++) table[c][count] = sums[c] / counts[c]; // 0/0, a gap, where there is none
      sums.fill(0);
      counts.fill(0);
      gathered = 0;
      if (++count === pointsLimit) thin();
    }
  };

  // smoothed is the exponential mean, divided by its weight so that it starts unbiased. What is no number is left out.
  const smoothed = (values, keep) => {
    const out = new Float64Array(values.length);
    let mean = 0, weight = 0;
    for (let i = 0; i < values.length; i++) {
      if (Number.isFinite(values[i])) {
        mean = keep * mean + (1 - keep) * values[i];
        weight = keep * weight + (1 - keep);
      }
      out[i] = mean / weight;
    }
    return out;
  };
  const column = (name) => table[columns.indexOf(name)].subarray(0, count);
  // gaps makes what is no number a gap; a column without any stays as it is.
  const gaps = (values) => (values.every(Number.isFinite) ? values : Array.from(values, (v) => (Number.isFinite(v) ? v : null)));

  const style = getComputedStyle(document.documentElement);
  const colour = (name) => () => style.getPropertyValue(name).trim();
  const short = (v) => {
    if (v == null || Number.isNaN(v)) return "–";
    const a = Math.abs(v);
    return a !== 0 && (a < 1e-3 || a >= 1e7) ? v.toExponential(2) : a >= 1000 ? Math.round(v).toLocaleString() : String(+v.toPrecision(4));
  };
  const bytes = (v) => (v == null ? "–" : v >= 1e9 ? +(v / 1e9).toPrecision(3) + " GB" : +(v / 1e6).toPrecision(3) + " MB");

  let words = {}, root = null, charts = [], keep = 0.9, log = false, clip = false;
  const sync = uPlot.sync("run");
  const kinds = {
    loss: { columns: ["loss", "smooth", "eval"], height: 280, format: short },
    norm: { columns: ["norm"], height: 130, format: short },
    lr: { columns: ["lr"], height: 130, format: short },
    speed: { columns: ["speed"], height: 130, format: short },
    memory: { columns: ["memory"], height: 130, format: bytes },
    ratio: { columns: ["ratio"], height: 130, format: short },
  };
  const values = (name) => (name === "smooth" ? smoothed(column("loss"), keep) : column(name));
  const series = {
    loss: { stroke: colour("--faint"), width: 1, points: { show: false } },
    smooth: { stroke: colour("--accent"), width: 2, points: { show: false } },
    eval: { stroke: colour("--second"), width: 1, spanGaps: true, points: { show: true, size: 7, fill: colour("--second") } },
  };
  const line = { stroke: colour("--accent"), width: 1.5, points: { show: false } };

  // lossRange leaves out the few outliers that would flatten the rest.
  const lossRange = (_, low, high) => {
    if (low == null) return [0, 1];
    if (clip) {
      const sorted = Float64Array.from(column("loss").filter(Number.isFinite)).sort();
      high = Math.min(high, sorted[Math.floor(0.98 * (sorted.length - 1))] * 1.05);
    }
    if (log) return [low * 0.95, high * 1.05];
    const pad = (high - low || Math.abs(high) || 1) * 0.06;
    return [low - pad, high + pad];
  };
  // marks shows where a loss was no number.
  const marks = (u) => {
    const loss = column("loss");
    u.ctx.save();
    u.ctx.fillStyle = colour("--bad")();
    u.ctx.font = `${14 * devicePixelRatio}px system-ui`;
    u.ctx.textAlign = "center";
    for (let i = 0; i < count; i++) {
      if (!Number.isFinite(loss[i])) u.ctx.fillText("✕", u.valToPos(table[0][i], "x", true), u.bbox.top + 14 * devicePixelRatio);
    }
    u.ctx.restore();
  };

  const element = (tag, attributes = {}, ...children) => {
    const e = Object.assign(document.createElement(tag), attributes);
    e.append(...children);
    return e;
  };
  const plot = (kind, target) => {
    const { columns: shown, height, format } = kinds[kind];
    const axis = {
      stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
      font: "12px system-ui", labelFont: "12px system-ui",
    };
    const made = new uPlot({
      width: Math.max(target.clientWidth, 100), height,
      legend: { show: false },
      cursor: { sync: { key: sync.key }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: kind === "loss" ? { range: lossRange, distr: log ? 3 : 1 } : {} },
      axes: [{ ...axis, show: kind === "loss", size: 34 }, { ...axis, size: 62, values: (_, ticks) => ticks.map((v) => (v == null ? "" : format(v))) }],
      series: [{}, ...shown.map((name) => ({ ...(series[name] ?? line) }))],
      hooks: { draw: kind === "loss" ? [marks] : [], setCursor: [(u) => readout(kind, u)] },
    }, [[], ...shown.map(() => [])], target);
    return made;
  };
  const readout = (kind, u) => {
    const chart = charts.find((c) => c.kind === kind);
    if (!chart) return;
    const i = u.cursor.idx ?? u.data[0].length - 1;
    const { columns: shown, format } = kinds[kind];
    const parts = shown.map((name, k) => [name, u.data[k + 1]?.[i]]).filter(([name, v]) => v != null || name !== "eval");
    chart.value.replaceChildren(...(i < 0 ? [] : parts.map(([name, v]) =>
      element("span", { className: "key-" + name }, shown.length > 1 ? `${words[name]} ${format(v)}` : format(v)))));
  };
  const draw = () => {
    if (!root) return;
    for (const c of charts) {
      const own = kinds[c.kind].columns;
      c.figure.hidden = !own.some((name) => name !== "smooth" && column(name).some(Number.isFinite));
      if (c.figure.hidden) continue;
      if (!c.plot && c.target.clientWidth) c.plot = plot(c.kind, c.target);
      c.plot?.setData([column("step"), ...own.map((name) => gaps(values(name)))]);
      const all = column(own[0]).filter(Number.isFinite);
      c.target.setAttribute("aria-label", `${words[c.kind]}: ${short(all[0])} → ${short(all[all.length - 1])}`);
      if (c.plot) readout(c.kind, c.plot);
    }
    if (tableOpen()) fillTable();
  };
  let queued = false;
  const redraw = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; draw(); });
  };
  const rebuild = () => {
    for (const c of charts) { c.plot?.destroy(); c.plot = null; }
    redraw();
  };

  // The table says in numbers what the charts show: at most so many rows, spread over the run.
  const tableRows = 40;
  const tableOpen = () => root?.querySelector("details")?.open;
  const fillTable = () => {
    const shown = columns.filter((name) => name === "step" || column(name).some(Number.isFinite));
    const rows = [];
    const every = Math.max(1, Math.ceil(count / tableRows));
    for (let i = (count - 1) % every; i < count; i += every) rows.push(i);
    root.querySelector("tbody").replaceChildren(...rows.map((i) => element("tr", {}, ...shown.map((name) => element("td", {}, short(column(name)[i]))))));
    root.querySelector("thead").replaceChildren(element("tr", {}, ...shown.map((name) => element("th", { scope: "col" }, words[name]))));
  };

  const keys = (c, event) => {
    const u = c.plot;
    if (!u || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const last = u.data[0].length - 1;
    const at = u.cursor.idx ?? last;
    const i = { ArrowLeft: at - (event.shiftKey ? 10 : 1), ArrowRight: at + (event.shiftKey ? 10 : 1), Home: 0, End: last }[event.key];
    const next = Math.min(Math.max(i, 0), last);
    u.setCursor({ left: u.valToPos(u.data[0][next], "x"), top: u.bbox.height / devicePixelRatio / 2 });
    c.said.textContent = `${words.step} ${u.data[0][next]}: ${c.value.textContent}`;
  };
  const build = () => {
    const control = (label, input) => element("label", {}, input, " " + label);
    const smooth = element("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: keep, oninput: (e) => { keep = +e.target.value; redraw(); } });
    const check = (label, on) => control(label, element("input", { type: "checkbox", onchange: (e) => { on(e.target.checked); rebuild(); } }));
    charts = Object.keys(kinds).map((kind) => {
      const value = element("span", { className: "readout" });
      const target = element("div", { className: "plot", tabIndex: 0 });
      const said = element("span", { className: "unseen" });
      said.setAttribute("aria-live", "polite");
      target.setAttribute("role", "img");
      target.setAttribute("aria-label", words[kind]);
      const figure = element("figure", { id: "chart-" + kind, hidden: true }, element("figcaption", {}, element("span", {}, words[kind]), value), target, said);
      const chart = { kind, figure, target, value, said, plot: null };
      target.addEventListener("keydown", (event) => keys(chart, event));
      return chart;
    });
    const details = element("details", { ontoggle: () => tableOpen() && fillTable() }, element("summary", {}, words.table),
      element("div", { className: "scrolls", tabIndex: 0 }, element("table", {}, element("thead"), element("tbody"))));
    details.querySelector("table").setAttribute("aria-label", words.table);
    details.querySelector(".scrolls").setAttribute("role", "region");
    details.querySelector(".scrolls").setAttribute("aria-label", words.table);
    root.replaceChildren(
      charts[0].figure,
      element("div", { className: "chart-controls" }, control(words.smooth, smooth), check(words.log, (on) => { log = on; }), check(words.clip, (on) => { clip = on; })),
      element("div", { className: "small-charts" }, ...charts.slice(1).map((c) => c.figure)), details);
    redraw();
  };
  const fit = new ResizeObserver(() => requestAnimationFrame(() => {
    for (const c of charts) {
      const w = c.target.clientWidth;
      if (w && c.plot && c.plot.width !== w) c.plot.setSize({ width: w, height: kinds[c.kind].height });
      if (w && !c.plot) redraw();
    }
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);

  // svg is the loss chart as a drawing: the same numbers, with its own axes.
  const svg = () => {
    const w = 960, h = 420, left = 70, right = 20, top = 30, bottom = 45;
    const steps = column("step"), loss = column("loss"), smooth = smoothed(loss, keep), evals = column("eval");
    const finite = [...loss, ...evals].filter(Number.isFinite);
    const [x0, x1] = [steps[0] ?? 0, Math.max(steps[count - 1] ?? 1, (steps[0] ?? 0) + 1)];
    const [y0, y1] = finite.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    const span = y1 - y0 || 1;
    const X = (v) => (left + ((v - x0) / (x1 - x0)) * (w - left - right)).toFixed(1);
    const Y = (v) => (h - bottom - ((v - y0) / span) * (h - top - bottom)).toFixed(1);
    const path = (ys) => {
      let d = "", pen = "M";
      const every = Math.max(1, Math.floor(count / 2000));
      for (let i = 0; i < count; i += every) {
        if (!Number.isFinite(ys[i])) { pen = "M"; continue; }
        d += pen + X(steps[i]) + " " + Y(ys[i]);
        pen = "L";
      }
      return d;
    };
    const text = (x, y, s, anchor = "middle") => `<text x="${x}" y="${y}" text-anchor="${anchor}">${s}</text>`;
    const ticks = (a, b) => Array.from({ length: 5 }, (_, i) => a + ((b - a) * i) / 4);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" font-family="system-ui, sans-serif" font-size="13" fill="#333">` +
      `<rect width="${w}" height="${h}" fill="#fff"/>` +
      ticks(y0, y0 + span).map((v) => `<path d="M${left} ${Y(v)}H${w - right}" stroke="#ddd"/>` + text(left - 8, +Y(v) + 4, short(v), "end")).join("") +
      ticks(x0, x1).map((v) => text(X(v), h - bottom + 20, Math.round(v))).join("") +
      `<path d="${path(loss)}" fill="none" stroke="#9cc5b9"/><path d="${path(smooth)}" fill="none" stroke="#1f6f5c" stroke-width="2"/>` +
      Array.from(evals, (v, i) => (Number.isFinite(v) ? `<circle cx="${X(steps[i])}" cy="${Y(v)}" r="4" fill="#9a4a00"/>` : "")).join("") +
      text(w / 2, h - 8, words.step) + text(left, 18, `${words.loss} / ${words.smooth} / ${words.eval}`, "start") + "</svg>";
  };
  const png = async () => {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([svg()], { type: "image/svg+xml" }));
    await image.decode();
    const canvas = new OffscreenCanvas(image.width * 2, image.height * 2);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    return canvas.convertToBlob({ type: "image/png" });
  };
  const csv = () => {
    const rows = [columns.join(",")];
    for (let i = 0; i < count; i++) rows.push(columns.map((_, c) => (Number.isFinite(table[c][i]) ? table[c][i] : "")).join(","));
    return rows.join("\n") + "\n";
  };

  return {
    // show puts the charts into an element that vugu leaves alone, in the language of the words.
    show(target, said) {
      if (root === target && JSON.stringify(words) === JSON.stringify(said)) return;
      fit.disconnect();
      for (const c of charts) c.plot?.destroy();
      [root, words] = [target, said];
      build();
      fit.observe(root);
    },
    clear() { clear(); redraw(); },
    add(rows) { put(rows); redraw(); },
    rebuild, svg, png, csv,
    points: () => count,
  };
})();
