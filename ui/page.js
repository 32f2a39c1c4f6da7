// The page's JavaScript: what is better done beside vugu than through it. Go calls these functions (main_js.go);
// what happens here goes to Go as a list of messages that it fetches when it is ready for them.
"use strict";

globalThis.llamatabPage = (() => {
  const byId = (id) => document.getElementById(id);

  // Messages to Go, as JSON texts.
  const inbox = [];
  let wake = () => {};
  const tell = (text) => { if (inbox.push(text) === 1) wake(); };
  const tellThat = (message) => tell(JSON.stringify(message));
  const drainedAtOnce = 256; // so that reading them never blocks the page for long

  // What the person chose: File objects stay here, Go gets paths and sizes.
  const chosen = { model: [], dataset: [] };
  const filesLimit = 4096; // a whole disk may be dropped by mistake
  const choose = (kind, files) => {
    chosen[kind] = files.slice(0, filesLimit);
    tellThat({ type: "files", kind, files: chosen[kind].map(({ file, path }) => ({ path, size: file.size })) });
  };
  const kinds = { "model-input": "model", "data-input": "dataset" };
  document.addEventListener("change", ({ target }) => {
    const kind = kinds[target.id];
    if (kind) choose(kind, [...target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
  });

  // The browser tells what is wrong with a value by pointing at it, which must be in sight the next time.
  document.addEventListener("invalid", () => tellThat({ type: "invalid" }), true);

  // A drop anywhere counts: a folder is a model, a file is data, unless it is dropped on one of the two places.
  const walk = async (entry, depth, found) => {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    } else if (depth < 3 && found.length < filesLimit) {
      const reader = entry.createReader();
      for (;;) { // it gives the entries in portions
        const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!entries.length) break;
        for (const e of entries) await walk(e, depth + 1, found);
      }
    }
    return found;
  };
  const place = (event) => event.target.closest?.("[data-drop]");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    const over = place(event);
    for (const p of document.querySelectorAll("[data-drop]")) p.toggleAttribute("data-over", p === over);
  });
  const left = () => { for (const p of document.querySelectorAll("[data-over]")) p.removeAttribute("data-over"); };
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) left(); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    left();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.length) return;
    const kind = place(event)?.dataset.drop ?? (entries.some((e) => e.isDirectory) ? "model" : "dataset");
    const found = [];
    for (const entry of entries) await walk(entry, 0, found);
    choose(kind, found);
  });

  // The engine's worker, and what it has written: path → list of Blobs.
  let worker = null;
  let result = new Map();
  let kept = true; // nothing would be lost with this page
  const hear = ({ data }) => {
    if (typeof data === "string") data = { type: "envelopes", json: `[${data}]` };
    switch (data.type) {
      case "envelopes":
        tell(`{"type":"envelopes","envelopes":${data.json}}`);
        break;
      case "file":
        result.set(data.path, [data.blob]);
        tellThat({ type: "file", path: data.path, size: data.blob.size });
        break;
      case "removed":
        result.delete(data.path);
        tellThat({ type: "removed", path: data.path });
        break;
      case "crashed":
        tellThat({ type: "crashed", text: data.text });
    }
  };
  addEventListener("beforeunload", (event) => { if (worker || !kept) event.preventDefault(); });

  // The chart's colours are the page's.
  const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let chart = null, chartNames = "";
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => chart?.redraw(false));
  const chartHeight = 260;
  const makeChart = (target, [step, loss, smooth]) => {
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const figures = (_, value) => (value == null ? "–" : value.toPrecision(4));
    return new uPlot({
      width: target.clientWidth, height: chartHeight,
      scales: { x: { time: false } },
      axes: [axis, { ...axis, size: 56 }],
      series: [
        { label: step },
        { label: loss, stroke: colour("--faint"), width: 1, points: { show: false }, value: figures },
        { label: smooth, stroke: colour("--accent"), width: 2, points: { show: false }, value: figures },
      ],
    }, [[], [], []], target);
  };
  const fit = new ResizeObserver(([{ contentRect: { width } }]) => {
    if (width) requestAnimationFrame(() => chart?.setSize({ width, height: chartHeight })); // not while it observes
  });
  const gaps = (values) => Array.from(values, (v) => (Number.isFinite(v) ? v : null));

  return {
    listen(f) { wake = f; if (inbox.length) f(); },
    drain() {
      const text = `[${inbox.splice(0, drainedAtOnce).join(",")}]`;
      if (inbox.length) queueMicrotask(wake); // Go waits for this answer
      return text;
    },
    form: () => JSON.stringify(Object.fromEntries([...byId("setup").elements].filter((e) => e.name).map((e) => [e.name, e.value]))),

    start(job, model, data) {
      this.end();
      result = new Map();
      kept = true;
      worker = llamatab.startWorker();
      const mine = worker;
      worker.addEventListener("message", (event) => { if (worker === mine) hear(event); });
      const pick = (kind, positions) => positions.map((i) => chosen[kind][i].file);
      worker.postMessage({ type: "job", job, files: { model: pick("model", model), dataset: pick("dataset", data) } });
    },
    control(control) { worker?.postMessage({ type: "control", control }); },
    end() {
      if (!worker) return;
      worker.terminate();
      worker = null;
      kept = result.size === 0;
    },

    put(path, bytes, add) {
      const blob = new Blob([bytes]);
      if (add && result.has(path)) result.get(path).push(blob);
      else result.set(path, [blob]);
    },
    async download(name) {
      try {
        const { downloadZip } = await import("/client-zip.js");
        const files = [...result].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, parts]) => ({ name: path, input: new Blob(parts), lastModified: new Date() }));
        const url = URL.createObjectURL(await downloadZip(files).blob());
        const link = Object.assign(document.createElement("a"), { href: url, download: name });
        link.click();
        setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
        kept = true;
        tellThat({ type: "packed" });
      } catch (error) {
        tellThat({ type: "packed", text: String(error) });
      }
    },

    status(text) { setTimeout(() => { byId("status").textContent = text; }); }, // after vugu has made it
    chart(step, loss, smooth, ...names) {
      const target = byId("chart");
      if (!target) return;
      if (chart && chartNames !== names.join()) {
        chart.destroy();
        chart = null;
      }
      if (!chart) {
        if (!step.length) return;
        chart = makeChart(target, names);
        chartNames = names.join();
        fit.observe(target);
      }
      chart.setData([step, gaps(loss), gaps(smooth)]);
    },
    focus(id) { setTimeout(() => byId(id)?.focus()); },

    language() {
      try { return localStorage.getItem("language") ?? navigator.language; } catch { return navigator.language; } // storage may be forbidden
    },
    speak(tag, chosen) {
      document.documentElement.lang = tag;
      if (chosen) try { localStorage.setItem("language", tag); } catch {}
    },
  };
})();
