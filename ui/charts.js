// The charts of a run. Steps go from the engine's words straight into typed arrays, one for each column; neither Go nor
// vugu ever sees them. Lines are drawn by uPlot, which is given no more points than there are pixels. What it has not is
// here: smoothing, one cursor for all charts that the keyboard moves too, marks, a table, pictures to take away.
"use strict";

globalThis.llamatabCharts = (() => {
  // --- the points ---
  const number = (v) => (v === undefined || v === null ? NaN : Number(v)); // the engine spells what is no number as text
  const fastest = (units) => (units ?? []).reduce((most, u) => (number(u.update_ratio) <= most ? most : number(u.update_ratio)), NaN);
  const columns = {
    step: (s) => s.step, loss: (s) => number(s.loss), eval: (s) => number(s.eval_loss), accuracy: (s) => number(s.eval_accuracy),
    lr: (s) => s.learning_rate, norm: (s) => number(s.grad_norm), speed: (s) => s.tokens_per_second,
    memory: (s) => s.gpu_bytes || NaN, ratio: (s) => fastest(s.units),
  };
  const names = Object.keys(columns);
  const sparse = new Set(["eval", "accuracy"]); // of few steps
  const pointsLimit = 1 << 18; // beyond, neighbours are merged: far more than a chart has pixels

  let capacity, count, stride, gathered, table, sums, counts;
  const make = (n) => Object.fromEntries(names.map((name) => [name, new Float64Array(n)]));
  const clear = () => {
    capacity = 1024; count = 0; stride = 1; gathered = 0;
    table = make(capacity); sums = new Float64Array(names.length); counts = new Float64Array(names.length);
    view = null;
    mean.reset();
  };
  const grow = () => {
    capacity *= 2;
    for (const name of names) { const next = new Float64Array(capacity); next.set(table[name]); table[name] = next; }
  };
  const thin = () => { // halves the points
    for (const name of names) {
      const values = table[name];
      for (let i = 0; i < count / 2; i++) {
        const a = values[2 * i], b = values[2 * i + 1];
        values[i] = name === "step" ? b : !sparse.has(name) ? (a + b) / 2 : Number.isNaN(b) ? a : b;
      }
    }
    count /= 2;
    stride *= 2;
    mean.reset();
  };
  const put = (s) => {
    if (count && table.step[count - 1] >= s.step) { // the run went back
      while (count && table.step[count - 1] >= s.step) count--;
      mean.reset();
    }
    names.forEach((name, c) => {
      const v = columns[name](s);
      if (sparse.has(name) && Number.isNaN(v)) return;
      sums[c] += v;
      counts[c]++;
    });
    if (++gathered < stride) return;
    if (count === capacity) grow();
    names.forEach((name, c) => { table[name][count] = name === "step" ? s.step : sums[c] / counts[c]; }); // 0/0, a gap, where there is none
    sums.fill(0);
    counts.fill(0);
    gathered = 0;
    if (++count === pointsLimit) thin();
  };

  // mean is the exponential mean of all losses, divided by its weight so that it starts unbiased. It goes on from where it
  // was; what is no number is left out.
  const mean = {
    keep: 0.9, done: 0, sum: 0, weight: 0, values: new Float64Array(0),
    reset() { this.done = this.sum = this.weight = 0; },
    smooth(keep) { this.keep = keep; this.reset(); },
    get() {
      if (this.values.length < capacity) {
        const next = new Float64Array(capacity);
        next.set(this.values);
        this.values = next;
      }
      for (; this.done < count; this.done++) {
        const v = table.loss[this.done];
        if (Number.isFinite(v)) {
          this.sum = this.keep * this.sum + (1 - this.keep) * v;
          this.weight = this.keep * this.weight + (1 - this.keep);
        }
        this.values[this.done] = this.sum / this.weight;
      }
      return this.values;
    },
  };
  const values = (name) => (name === "smooth" ? mean.get() : table[name]);
  const some = (name) => { // whether a column has a number
    for (let i = count; i-- > 0;) if (Number.isFinite(table[name][i])) return true;
    return false;
  };
  const best = () => { // place of the lowest held-out loss, -1 for none
    let at = -1;
    for (let i = 0; i < count; i++) if (table.eval[i] < (at < 0 ? Infinity : table.eval[at])) at = i;
    return at;
  };
  // nearest is the place of the step that is closest to x.
  const nearest = (x) => {
    let low = 0, high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (table.step[middle] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - table.step[low - 1] < table.step[low] - x ? low - 1 : low;
  };

  // --- what of them is seen ---
  let view = null; // [first, last] step that was dragged over, null for all
  let latest = 0; // how many of the newest points are shown, 0 for all
  let log = false, clip = false;
  clear();
  const span = () => { // places of the first and last point that are shown
    if (!view) return [latest ? Math.max(0, count - latest) : 0, count - 1];
    return [nearest(view[0]), Math.max(nearest(view[1]), nearest(view[0]) + 1)];
  };
  // seen cuts columns down to two points a pixel: the lowest and the highest of those that fall there, in their order.
  const seen = (shown, pixels, [from, to]) => {
    const n = to - from + 1, all = ["step", ...shown];
    const plain = (v) => (Number.isFinite(v) && !(log && v <= 0) ? v : null);
    if (n <= 2 * pixels) return all.map((name) => Array.from(values(name).subarray(from, to + 1), plain));
    const out = all.map(() => new Array(2 * pixels));
    for (let p = 0; p < pixels; p++) {
      const a = from + Math.floor((p * n) / pixels), b = from + Math.floor(((p + 1) * n) / pixels);
      out[0][2 * p] = table.step[a];
      out[0][2 * p + 1] = table.step[b - 1];
      shown.forEach((name, k) => {
        const v = values(name);
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
  // range is the least and the most of some columns as they are seen, with room around it. Without outliers the few losses
  // above all others, which would flatten the rest, are left out of it.
  const range = (shown, data) => {
    let low = Infinity, high = -Infinity;
    shown.forEach((name, k) => {
      let list = data[k + 1].filter((v) => v !== null);
      if (clip && name === "loss" && list.length > 20) list = list.sort((a, b) => a - b).slice(0, Math.ceil(0.98 * list.length));
      for (const v of list) { low = Math.min(low, v); high = Math.max(high, v); }
    });
    if (low > high) return [0, 1];
    if (log && shown[0] === "loss") return [low / 1.05, high * 1.05];
    const room = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.5 || 1; // what is constant lies in the middle
    return [low - room, high + room];
  };

  // --- drawing ---
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => () => style.getPropertyValue(name).trim();
  const rem = () => parseFloat(style.fontSize) / 16;
  const short = (v) => {
    if (v === null || v === undefined || Number.isNaN(v)) return "–";
    const a = Math.abs(v);
    return a !== 0 && (a < 1e-3 || a >= 1e7) ? v.toExponential(2) : a >= 1000 ? Math.round(v).toLocaleString(document.documentElement.lang) : String(+v.toPrecision(4));
  };
  const bytes = (v) => (!(v >= 0) ? "–" : v >= 1e9 ? +(v / 1e9).toPrecision(3) + " GB" : +(v / 1e6).toPrecision(3) + " MB");
  const percent = (v) => (!(v >= 0) ? "–" : +(100 * v).toPrecision(3) + " %");

  const kinds = {
    loss: { columns: ["loss", "smooth", "eval"], height: 280, format: short },
    accuracy: { columns: ["accuracy"], height: 130, format: percent },
    norm: { columns: ["norm"], height: 130, format: short },
    lr: { columns: ["lr"], height: 130, format: short },
    speed: { columns: ["speed"], height: 130, format: short },
    memory: { columns: ["memory"], height: 130, format: bytes },
    ratio: { columns: ["ratio"], height: 130, format: short },
  };
  const formatOf = { memory: bytes, accuracy: percent };
  const dots = (name) => ({ stroke: colour(name), width: 1, spanGaps: true, points: { show: true, size: 6 * rem(), fill: colour(name), space: 0 } });
  const series = {
    loss: () => ({ stroke: colour("--faint"), width: 1, points: { show: false } }),
    smooth: () => ({ stroke: colour("--accent"), width: 2, points: { show: false } }),
    eval: () => dots("--second"),
    accuracy: () => dots("--second"),
  };
  const line = () => ({ stroke: colour("--accent"), width: 1.5, points: { show: false } });

  let words = {}, root = null, charts = [];
  // marks shows where a loss was no number, and the best of the held-out losses.
  const marks = (u) => {
    const [from, to] = span(), size = 14 * rem() * devicePixelRatio;
    u.ctx.save();
    u.ctx.textAlign = "center";
    u.ctx.textBaseline = "middle";
    u.ctx.font = `${size}px system-ui`;
    u.ctx.fillStyle = colour("--bad")();
    let drawn = -Infinity;
    for (let i = from; i <= to; i++) {
      if (Number.isFinite(table.loss[i])) continue;
      const x = u.valToPos(table.step[i], "x", true);
      if (x - drawn < size / 2) continue; // beside one that is drawn
      u.ctx.fillText("✕", (drawn = x), u.bbox.top + size / 2);
    }
    const at = best();
    if (at >= from && at <= to) {
      const x = u.valToPos(table.step[at], "x", true), y = u.valToPos(table.eval[at], "y", true);
      u.ctx.font = `${1.5 * size}px system-ui`;
      u.ctx.lineWidth = 3 * devicePixelRatio;
      u.ctx.strokeStyle = colour("--panel")();
      u.ctx.fillStyle = colour("--second")();
      u.ctx.strokeText("★", x, y);
      u.ctx.fillText("★", x, y);
    }
    u.ctx.restore();
  };

  const element = (tag, attributes = {}, ...children) => {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in e) e[name] = value; else e.setAttribute(name, value);
    }
    e.append(...children);
    return e;
  };
  const plot = (c) => {
    const { columns: shown, height, format } = kinds[c.kind], main = c.kind === "loss";
    const font = `${12 * rem()}px system-ui`;
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font };
    return new uPlot({
      width: Math.max(c.target.clientWidth, 100), height: height * rem(), padding: [8, 16, main ? 0 : 8, 0].map((v) => v * rem()),
      legend: { show: false },
      cursor: { sync: { key: "run" }, y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      scales: { x: { time: false, range: () => c.x }, y: { range: () => c.y, distr: main && log ? 3 : 1 } },
      axes: [
        { ...axis, show: main, size: 30 * rem(), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] },
        { ...axis, size: 62 * rem(), values: (_, ticks) => ticks.map((v) => (v == null ? "" : format(v))) },
      ],
      series: [{}, ...shown.map((name) => (series[name] ?? line)())],
      hooks: {
        draw: main ? [marks] : [],
        setCursor: main ? [pointed] : [],
        setSelect: [(u) => {
          if (u.select.width < 4) return;
          zoom([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
      },
    }, [[], ...shown.map(() => [])], c.target);
  };
  const zoom = (to) => {
    view = to;
    whole.hidden = !view;
    redraw();
  };

  // --- the cursor: a place in the table, or null for the newest point ---
  let at = null, held = false; // held: put there by the keyboard, so it stays with its step
  const pointed = (u) => {
    if (held) return;
    at = u.cursor.left >= 0 && count ? nearest(u.posToVal(u.cursor.left, "x")) : null;
    readout();
  };
  const readout = () => {
    const i = Math.min(at ?? count - 1, count - 1);
    for (const c of charts) {
      if (c.figure.hidden) continue;
      const { columns: shown, format } = kinds[c.kind];
      const value = (name) => { // of few steps: the last one before
        if (i < 0) return NaN;
        let j = i;
        if (sparse.has(name)) while (j > 0 && Number.isNaN(table[name][j])) j--;
        return values(name)[j];
      };
      const parts = shown.map((name) => [name, value(name)]).filter(([name, v]) => !sparse.has(name) || !Number.isNaN(v));
      c.value.replaceChildren(...(i < 0 ? [] : parts.map(([name, v]) => element("span", { className: "key-" + name }, shown.length > 1 ? `${words[name]} ${format(v)}` : format(v)))));
    }
    const [main] = charts;
    if (i < 0 || !main) return;
    main.at.textContent = at === null ? "" : `${words.step} ${short(table.step[i])}`;
    if (!main.plot) return;
    const told = { "aria-valuemin": table.step[0], "aria-valuemax": table.step[count - 1], "aria-valuenow": table.step[i] };
    for (const [name, v] of Object.entries(told)) main.target.setAttribute(name, v);
    main.target.setAttribute("aria-valuetext", `${words.step} ${table.step[i]}: ` +
      charts.filter((c) => !c.figure.hidden).map((c) => (c === main ? "" : words[c.kind] + " ") + [...c.value.children].map((s) => s.textContent).join(", ")).join(", "));
  };
  const hold = (i) => {
    const { plot } = charts[0];
    at = i;
    held = true;
    plot.setCursor({ left: plot.valToPos(table.step[i], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
    readout();
  };
  const keys = (event) => {
    if (!charts[0].plot || !count) return;
    const [from, to] = span();
    const pixel = Math.max(1, Math.round((to - from) / charts[0].target.clientWidth)); // a step that is seen
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const i = by ? (at ?? to) + by * pixel * (event.shiftKey ? 10 : 1) : { Home: from, End: to }[event.key];
    if (i === undefined) return;
    event.preventDefault();
    hold(Math.min(Math.max(i, from), to));
  };
  const release = () => {
    held = false;
    at = null;
    charts[0].plot?.setCursor({ left: -10, top: -10 });
    readout();
  };

  const draw = () => {
    if (!root) return;
    const [from, to] = span();
    let made = false; // one plot a frame: all at a time would keep the page's thread too long
    for (const c of charts) {
      const { columns: shown } = kinds[c.kind];
      c.figure.hidden = !shown.some((name) => name !== "smooth" && some(name));
      if (c.figure.hidden) continue;
      if (!c.plot && c.target.clientWidth) {
        if (made) {
          redraw();
          continue;
        }
        made = true;
        c.x = c.y = [0, 1];
        c.plot = plot(c);
      }
      if (!c.plot) continue;
      const data = seen(shown, Math.ceil(c.plot.bbox.width / devicePixelRatio) || 100, [from, to]);
      c.x = to > from ? [table.step[from], table.step[to]] : [table.step[from] - 1, table.step[from] + 1];
      c.y = range(shown, data);
      c.plot.setData(data);
    }
    if (held) hold(Math.min(at, count - 1));
    readout();
    if (tableOpen()) fillTable();
  };
  let queued = false;
  const redraw = () => {
    if (queued || !root) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; draw(); });
  };
  const rebuild = () => {
    for (const c of charts) { c.plot?.destroy(); c.plot = null; }
    redraw();
  };

  // The table says in numbers what the charts show: at most so many rows, spread over what is seen.
  const tableRows = 40;
  const tableOpen = () => root?.querySelector("details")?.open;
  const fillTable = () => {
    const shown = names.filter((name) => name === "step" || some(name));
    const [from, to] = span(), rows = [];
    const every = Math.max(1, Math.ceil((to - from + 1) / tableRows));
    for (let i = from + ((to - from) % every); i <= to; i += every) rows.push(i);
    const cell = (name, i) => (formatOf[name] ?? short)(table[name][i]);
    root.querySelector("tbody").replaceChildren(...rows.map((i) => element("tr", {}, ...shown.map((name) => element("td", {}, cell(name, i))))));
    root.querySelector("thead").replaceChildren(element("tr", {}, ...shown.map((name) => element("th", { scope: "col" }, words[name]))));
  };

  const whole = element("button", { type: "button", className: "quiet", id: "chart-all", hidden: true, onclick: () => zoom(null) });
  const build = () => {
    const control = (label, ...inputs) => element("label", {}, ...inputs, " " + label);
    const check = (label, id, on, change) => control(label, element("input", { type: "checkbox", id, checked: on, onchange: (e) => { change(e.target.checked); rebuild(); } }));
    const smoothing = { min: 0, max: 0.999, step: "any", value: mean.keep };
    const slider = element("input", { type: "range", ...smoothing, max: 0.99, step: 0.01, "aria-label": words.smoothing });
    const typed = element("input", { type: "number", ...smoothing, id: "chart-smoothing" });
    const smooth = (from, other) => () => {
      const keep = Number(from.value);
      if (from.value === "" || !(keep >= 0 && keep < 1)) return;
      other.value = keep;
      mean.smooth(keep);
      redraw();
    };
    slider.oninput = smooth(slider, typed);
    typed.oninput = smooth(typed, slider);
    const windows = element("select", { id: "chart-window", "aria-label": words.window, onchange: (e) => { latest = +e.target.value; zoom(null); } },
      ...[0, 1000, 100].map((n) => element("option", { value: n, selected: n === latest }, n ? words.latest.replace("{n}", n) : words.all)));
    charts = Object.keys(kinds).map((kind) => {
      const main = kind === "loss";
      const value = element("span", { className: "readout" }), at = element("span", { className: "at" });
      const target = element("div", { className: "plot", role: main ? "slider" : "img", "aria-label": words[kind], ondblclick: () => zoom(null) });
      if (main) {
        target.id = "chart-cursor";
        target.tabIndex = 0;
        for (const bound of ["min", "max", "now"]) target.setAttribute("aria-value" + bound, 0);
        target.addEventListener("keydown", keys);
        target.addEventListener("blur", release);
        target.addEventListener("pointermove", () => { held = false; });
      }
      const figure = element("figure", { id: "chart-" + kind, hidden: true }, element("figcaption", {}, element("span", {}, words[kind], " ", at), value), target);
      return { kind, figure, target, value, at, plot: null };
    });
    const scrolls = element("div", { className: "scrolls", tabIndex: 0, role: "region", "aria-label": words.table },
      element("table", { "aria-label": words.table }, element("thead"), element("tbody")));
    whole.textContent = words.all;
    const take = (kind) => element("button", { type: "button", className: "quiet", id: "chart-" + kind, "aria-label": `${words.take} ${kind.toUpperCase()}`, onclick: () => llamatabPage.picture(kind, words.file) }, kind.toUpperCase());
    root.replaceChildren(
      charts[0].figure,
      element("div", { className: "chart-controls" },
        element("span", { className: "smoothing" }, element("label", { htmlFor: "chart-smoothing" }, words.smoothing), slider, typed), windows, whole,
        check(words.log, "chart-log", log, (on) => { log = on; }), check(words.clip, "chart-clip", clip, (on) => { clip = on; })),
      element("div", { className: "small-charts" }, ...charts.slice(1).map((c) => c.figure)),
      element("div", { className: "takes" }, element("span", {}, words.take), take("png"), take("svg"), take("csv")),
      element("details", { ontoggle: () => tableOpen() && fillTable() }, element("summary", { className: "disclose" }, words.table), scrolls));
    redraw();
  };
  const fit = new ResizeObserver(() => requestAnimationFrame(() => {
    for (const c of charts) {
      const w = c.target.clientWidth;
      if (w && c.plot && c.plot.width !== w) c.plot.setSize({ width: w, height: kinds[c.kind].height * rem() });
    }
    redraw();
  }));
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) matchMedia(query).addEventListener("change", rebuild);

  // --- to take away ---
  // svg is the loss as it is seen, as a drawing with axes of its own, on white.
  const svg = () => {
    const w = 960, h = 420, left = 70, right = 20, top = 40, bottom = 45;
    const shown = kinds.loss.columns, places = span(), data = seen(shown, w - left - right, places);
    const [x0, x1] = [table.step[places[0]] ?? 0, Math.max(table.step[places[1]] ?? 1, (table.step[places[0]] ?? 0) + 1)];
    const [y0, y1] = range(shown, data);
    const scale = log ? Math.log : (v) => v;
    const X = (v) => (left + ((v - x0) / (x1 - x0)) * (w - left - right)).toFixed(1);
    const Y = (v) => (h - bottom - ((scale(v) - scale(y0)) / (scale(y1) - scale(y0))) * (h - top - bottom)).toFixed(1);
    const text = (x, y, s, anchor = "middle", fill = "#333") => `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="${fill}">${s}</text>`;
    const parts = (f) => Array.from({ length: 5 }, (_, i) => f(i / 4));
    const path = (ys) => {
      let d = "", pen = "M";
      ys.forEach((y, i) => {
        if (y === null) { pen = "M"; return; }
        d += pen + X(data[0][i]) + " " + Y(y);
        pen = "L";
      });
      return d;
    };
    const inks = { loss: "#9cc5b9", smooth: "#17665a", eval: "#9a4a00" };
    const at = best();
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" font-family="system-ui, sans-serif" font-size="13">` +
      `<rect width="${w}" height="${h}" fill="#fff"/><clipPath id="c"><rect x="${left}" y="${top}" width="${w - left - right}" height="${h - top - bottom}"/></clipPath>` +
      parts((f) => (log ? Math.exp(scale(y0) + f * (scale(y1) - scale(y0))) : y0 + f * (y1 - y0)))
        .map((v) => `<path d="M${left} ${Y(v)}H${w - right}" stroke="#ddd"/>` + text(left - 8, +Y(v) + 4, short(v), "end")).join("") +
      parts((f) => x0 + f * (x1 - x0)).map((v) => text(X(v), h - bottom + 20, Math.round(v))).join("") +
      `<g clip-path="url(#c)"><path d="${path(data[1])}" fill="none" stroke="${inks.loss}"/><path d="${path(data[2])}" fill="none" stroke="${inks.smooth}" stroke-width="2"/>` +
      data[3].map((v, i) => (v === null ? "" : `<circle cx="${X(data[0][i])}" cy="${Y(v)}" r="3.5" fill="${inks.eval}"/>`)).join("") +
      (at >= places[0] && at <= places[1] ? `<text x="${X(table.step[at])}" y="${+Y(table.eval[at]) + 7}" text-anchor="middle" font-size="22" fill="${inks.eval}" stroke="#fff" paint-order="stroke" stroke-width="3">★</text>` : "") +
      "</g>" + text(w / 2, h - 8, words.step) + shown.map((name, i) => text(left + i * 150, 20, "● " + words[name], "start", inks[name])).join("") + "</svg>";
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
    const rows = [names.join(",")];
    for (let i = 0; i < count; i++) rows.push(names.map((name) => (Number.isFinite(table[name][i]) ? table[name][i] : "")).join(","));
    return rows.join("\n") + "\n";
  };

  return {
    // show puts the charts into an element that vugu leaves alone, in the language of the words.
    show(target, said) {
      if (root === target && JSON.stringify(words) === JSON.stringify(said)) return;
      fit.disconnect();
      for (const c of charts) c.plot?.destroy();
      [root, words, at, held] = [target, said, null, false];
      build();
      fit.observe(root);
    },
    clear() { clear(); at = null; held = false; whole.hidden = true; redraw(); },
    // add takes steps as metrics.jsonl has them.
    add(steps) { for (const s of steps) put(s); redraw(); },
    rebuild, svg, png, csv,
    points: () => count,
  };
})();
