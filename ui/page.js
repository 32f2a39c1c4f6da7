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
  const { arrive: arriveInRoom, curve, hand, ...rooms } = llamatabRooms(tellThat);
  const drainedAtOnce = 256; // so that reading them never blocks the page for long

  // What the person chose: File objects stay here, Go gets paths and sizes.
  const chosen = { model: [], dataset: [] };
  const filesLimit = 4096; // a whole disk may be dropped by mistake
  const choose = async (kind, files) => {
    files = files.slice(0, filesLimit);
    if (kind === "dataset") files = await Promise.all(files.map(legible));
    chosen[kind] = files;
    tellThat({ type: "files", kind, files: files.map(({ file, path, encoding }) => ({ path, size: file.size, encoding })) });
  };
  // legible is a text in UTF-8: one in GB18030 or UTF-16, as other systems write them, is decoded. What is neither stays as
  // it is, for the engine to name the place.
  const looked = 16 << 20; // bytes from which a larger file is judged
  const legible = async (chosen) => {
    const { file, path } = chosen;
    const decoded = (bytes, encoding, more) => { try { return new TextDecoder(encoding, { fatal: true }).decode(bytes, { stream: more }); } catch { return null; } };
    const start = new Uint8Array(await file.slice(0, looked).arrayBuffer());
    if (decoded(start, "utf-8", file.size > looked) !== null) return chosen;
    const encoding = { "255,254": "utf-16le", "254,255": "utf-16be" }[start.slice(0, 2)] ?? "gb18030";
    const text = decoded(await file.arrayBuffer(), encoding);
    return text === null ? chosen : { file: new File([text], file.name, { lastModified: file.lastModified }), path, encoding: encoding.toUpperCase() };
  };
  const kinds = { "model-input": "model", "data-input": "dataset" };
  document.addEventListener("change", async ({ target }) => {
    const kind = kinds[target.id];
    if (kind) choose(kind, [...target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    else if (target.id === "config-input" && target.files[0]) tellThat({ type: "config", text: await target.files[0].text() });
  });

  // A drop anywhere counts: a folder is a model, run.json is settings, another file is data, unless it is dropped on
  // one of the two places.
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
    const found = [];
    for (const entry of entries) await walk(entry, 0, found);
    bring(place(event)?.dataset.drop ?? (entries.some((e) => e.isDirectory) ? "model" : "dataset"), found);
  });
  const bring = async (kind, found) => {
    if (found.length === 1 && found[0].file.name === "run.json") tellThat({ type: "config", text: await found[0].file.text() });
    else choose(kind, found);
    if (location.hash !== "#studio") location.hash = "#studio";
  };
  // So does what is pasted outside of an input: a link or run.json is settings, all else is data.
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, textarea, select")) return;
    const text = event.clipboardData.getData("text").trim(), files = [...event.clipboardData.files];
    if (!text && !files.length) return;
    event.preventDefault();
    if (files.length) return bring("dataset", files.map((file) => ({ file, path: file.name })));
    if (text.startsWith(location.origin + "/#studio?")) { location.href = text; return; }
    let config = null;
    try { config = JSON.parse(text); } catch {}
    const name = ["training", "peft", "trainable", "dataset"].some((key) => Object.hasOwn(config ?? {}, key)) ? "run.json" : /^[[{]/.test(text) ? "pasted.jsonl" : "pasted.txt";
    bring("dataset", [{ file: new File([text], name), path: name }]);
  });

  // Two engines: one trains, the other answers what is asked while a run is put together or tried out.
  const engines = { run: null, side: null };
  const memory = new Map(); // results that found no room on disk: path → Blob
  let owned = ""; // the run that they belong to
  // telling are those of some steps that the page's texts need: the newest, the newest that was evaluated, and the best.
  // All others are for the charts alone.
  const telling = (steps) => {
    const newest = steps.at(-1), evaluated = steps.filter((s) => s.eval_loss !== undefined);
    const best = evaluated.reduce((a, s) => (a && +a.eval_loss <= +s.eval_loss ? a : s), null);
    return new Set([newest, evaluated.at(-1), best]);
  };
  const hear = (who) => ({ data }) => {
    if (typeof data === "string") data = { type: "envelopes", json: `[${data}]` };
    switch (data.type) {
      case "envelopes": {
        if (who !== "run") {
          tell(`{"type":"envelopes","from":"${who}","envelopes":${data.json}}`);
          break;
        }
        const all = JSON.parse(data.json), steps = all.flatMap((e) => e.step ?? []), told = telling(steps);
        if (steps.length) llamatabCharts.add(steps);
        tellThat({ type: "envelopes", from: who, envelopes: all.filter((e) => !e.step || told.has(e.step)) });
        break;
      }
      case "file":
        if (data.blob) memory.set(data.path, data.blob);
        tellThat({ type: "file", from: who, path: data.path, size: data.size, loose: !!data.blob });
        break;
      case "removed":
        memory.delete(data.path);
        tellThat({ type: "removed", from: who, path: data.path });
    }
  };
  const engine = (who) => {
    if (engines[who]) return engines[who];
    const worker = (engines[who] = llamatab.startWorker());
    const listen = hear(who);
    worker.addEventListener("message", (event) => { if (engines[who] === worker) listen(event); });
    return worker;
  };
  const end = (who) => {
    engines[who]?.terminate();
    engines[who] = null;
  };
  let unsaved = false; // a run is going on
  addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

  // resolve finds the files that a source means: chosen ones, the server's, those of a run, or copies of chosen ones.
  const resolve = async (source) => {
    switch (source.from) {
      case "chosen": return source.positions.map((i) => chosen[source.kind][i].file);
      case "server": return source.files;
      case "run": return (await llamatabStore.files(source.run, source.folder)).map((f) => f.file);
      case "memory": return [...memory].filter(([path]) => path.startsWith(source.folder + "/")).map(([path, blob]) => new File([blob], path.split("/").pop()));
      case "kept": {
        const files = await llamatabStore.inputs(source.key);
        if (files) return files.map((f) => f.file);
        throw new Error(source.key);
      }
    }
  };
  const resolveAll = async (sources) =>
    Object.fromEntries(await Promise.all(Object.entries(JSON.parse(sources)).map(async ([name, source]) => [name, await resolve(source)])));
  // keyOf names chosen files: the same files are kept once.
  const keyOf = (files) => {
    let h = 0xcbf29ce484222325n;
    for (const c of files.map((f) => `${f.name} ${f.size} ${f.lastModified}`).sort().join("\n")) {
      h = ((h ^ BigInt(c.codePointAt(0))) * 0x100000001b3n) & 0xffffffffffffffffn;
    }
    return h.toString(16);
  };

  let asking = Promise.resolve(); // what is asked is handed over in order, whatever its files take to be found

  const eventsShown = 500; // of a kept run; its file has all
  const save = (name, blob) => {
    const url = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
  };

  // What the browser remembers of the person's choices; storage may be forbidden.
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch {} };
  const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };

  const linkVersion = 1, linkLimit = 2048; // of what is in a link, and its length that every messenger takes
  // Screens are the address's fragment, so that the browser's buttons lead back. A run's config may be in it, too.
  const encode = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  const decode = (text) => new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0)));
  let shown;
  const arrive = () => {
    arriveInRoom();
    const [screen, query] = location.hash.slice(1).split("?"), given = new URLSearchParams(query ?? "");
    if (shown !== undefined && shown !== screen) scrollTo(0, 0); // another screen is read from its top
    shown = screen;
    tellThat({ type: "screen", name: screen, origin: location.origin });
    if (!given.has("config")) return;
    let text = "";
    try { text = decode(given.get("config")); } catch {} // "" is no config, which Go says
    tellThat({ type: "config", text, newer: Number(given.get("v") ?? 1) > linkVersion, lesson: given.has("lesson") });
    history.replaceState(null, "", "#" + screen);
  };
  addEventListener("hashchange", arrive);

  // Keys: off in inputs, and none of them destroys anything.
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (remembered("keys") === "off" && event.key.length === 1) return;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox],[type=radio]), textarea, select, [contenteditable]")) return;
    const press = (id) => {
      const button = byId(id);
      if (!button || button.disabled || !button.offsetParent) return;
      event.preventDefault();
      button.click();
    };
    if (event.key === "g") going = Date.now();
    else if (Date.now() - going < 1500 && { h: 1, s: 1, r: 1, t: 1, e: 1, c: 1 }[event.key]) {
      going = 0;
      location.hash = { h: "#home", s: "#studio", r: "#run", t: "#try", e: "#export", c: "#room" }[event.key];
    } else if (event.key === " " && !event.target.closest("button, a, summary, [type=checkbox], [type=radio], [role=button]")) press("pause");
    else if (event.key === ".") press("single");
    else if (event.key === "?") press("help");
    else if (event.key === "/") { event.preventDefault(); location.hash = "#try"; later("focus#prompt", (e) => e.focus(), (e) => e.offsetParent); }
  });

  // previewed spells rows of the dataset, a token at a time, with those that are trained marked.
  const previewed = (target, { rows }, words) => {
    const bare = rows.every((row) => row.tokens.every((token) => !token.text)); // tokens of nobody's tokenizer
    target.replaceChildren(...rows.map((row, n) => {
      const p = document.createElement("p");
      p.className = "tokens";
      p.dataset.row = n + 1;
      for (const token of row.tokens) {
        const t = document.createElement(token.trained ? "mark" : "span");
        t.title = `${token.id}${token.trained ? " · " + words.trained : ""}`;
        t.textContent = bare ? token.id + " " : token.text;
        p.append(t);
      }
      if (row.length > row.tokens.length) p.append(` … +${row.length - row.tokens.length}`);
      return p;
    }));
  };

  const theme = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
  };
  theme(remembered("theme") ?? "auto");

  const offers = async () => {
    const ask = (path) => fetch(path).then((r) => (r.ok ? r.json() : []), () => []);
    const [models, data, ready, recipes] = await Promise.all(["/api/models", "/api/data", "/api/runs", "/api/recipes"].map(ask));
    tellThat({ type: "offers", models, data, ready, recipes });
  };
  offers(); // so that they are there when Go is
  const adapter = async () => {
    const gpu = await navigator.gpu?.requestAdapter();
    if (!gpu) return;
    const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits;
    const { vendor, architecture, description, isFallbackAdapter } = gpu.info;
    const software = !!isFallbackAdapter || /swiftshader|llvmpipe/i.test(`${vendor} ${architecture} ${description}`);
    tellThat({ type: "gpu", name: [description || [vendor, architecture].filter(Boolean).join(" ")].join(" "), software, max_buffer: maxBufferSize, max_binding: maxStorageBufferBindingSize });
  };
  let looking = 0;
  const runs = async () => {
    let list = [], usage = 0, quota = 0;
    try {
      list = await llamatabStore.list();
      ({ usage = 0, quota = 0 } = await navigator.storage.estimate());
    } catch {} // a browser that keeps nothing has no runs
    tellThat({ type: "runs", runs: list, usage, quota });
    clearTimeout(looking);
    if (list.some((r) => r.live && r.id !== owned)) looking = setTimeout(runs, 2000); // another tab's, perhaps one that is closing
  };
  const failed = (what) => (error) => tellThat({ type: "problem", code: what, text: String(error?.message ?? error) });

  // offline has what this visit fetched before its service worker was there kept, too. Where the browser refuses one, as
  // under a certificate that was only clicked through, there is none.
  const offline = async () => {
    const had = navigator.serviceWorker?.controller;
    await navigator.serviceWorker?.register("/offline.js");
    if (had || !navigator.serviceWorker) return;
    const fetched = performance.getEntriesByType("resource").map((e) => new URL(e.name)).filter((url) => url.origin === location.origin).map((url) => url.pathname);
    await (await caches.open("llamatab")).addAll([...new Set(["/", "/client-zip.js", "/engine.wasm", "/worker.js", "/replay.js", ...fetched])].filter((path) => !path.startsWith("/api/rooms")));
  };

  const waiting = new Map(); // what is to be done with elements once they are there, by their ids
  const later = (id, act, ready = () => true) => waiting.set(id, { act, ready });

  return {
    ...rooms,
    listen(f) {
      wake = f;
      if (inbox.length) f();
      arrive();
      adapter().catch(() => {});
      runs();
      setTimeout(() => offline().catch(() => {}), 3000); // the first click comes first
    },
    drain() {
      const text = `[${inbox.splice(0, drainedAtOnce).join(",")}]`;
      if (inbox.length) queueMicrotask(wake); // Go waits for this answer
      return text;
    },

    // start gives a run to an engine of its own. The run's record says where its inputs are.
    start(job, sources, meta, step) {
      end("side"); // its memory is wanted
      end("run");
      memory.clear();
      const worker = engine("run");
      unsaved = true;
      const record = JSON.parse(meta);
      owned = record.id;
      resolveAll(sources).then((files) => {
        const keys = {};
        record.inputs = {};
        for (const [name, source] of Object.entries(JSON.parse(sources))) {
          if (source.from === "chosen") record.inputs[name] = { from: "kept", key: (keys[name] = keyOf(files[name])) };
          else if (name !== "resume") record.inputs[name] = source;
        }
        tellThat({ type: "inputs", inputs: record.inputs });
        if (engines.run === worker) {
          worker.postMessage({ type: "job", job, files, run: { id: record.id, meta: JSON.stringify(record), step, keys } });
        }
        navigator.storage.persist?.().catch(() => {}); // asked for, never waited for
      }, (error) => tellThat({ type: "envelopes", from: "run", envelopes: [{ type: "failed", failed: { code: "inputs_gone", message: String(error.message ?? error), next: "", exit: 1 } }] }));
    },
    ask(job, sources) {
      const worker = engine("side");
      asking = asking.then(() => resolveAll(sources)).then((files) => worker.postMessage({ type: "job", job, files, run: null }),
        (error) => worker.postMessage({ type: "job", gone: String(error.message ?? error) })); // it fails in its turn
    },
    handOver(sources, names) {
      resolveAll(sources).then((files) => hand(files, JSON.parse(names), keyOf),
        (error) => tellThat({ type: "room", what: "handed-refused", room: { code: "inputs_gone", reason: String(error.message ?? error) } }));
    },
    control(who, control) { engines[who]?.postMessage({ type: "control", control }); },
    end(who) {
      end(who);
      if (who === "run") {
        unsaved = false;
        runs();
      }
    },

    // open reads the record of a kept run again, up to a step; a long one a portion at a time.
    async open(id, upTo) {
      try {
        const file = async (name) => (await llamatabStore.get(`runs/${id}/${name}`).catch(() => null))?.text() ?? "";
        const [metrics, events, samples] = await Promise.all(["metrics.jsonl", "events.jsonl", "samples.jsonl"].map(file));
        const read = (lines) => lines.flatMap((line) => { try { return line && JSON.parse(line); } catch { return []; } }).filter(Boolean);
        const lines = metrics.split("\n"), portion = 500;
        let steps = new Set();
        llamatabCharts.clear();
        for (let at = 0; at < lines.length; at += portion) {
          const some = read(lines.slice(at, at + portion)).filter((s) => s.step <= upTo);
          llamatabCharts.add(some);
          steps = telling([...steps, ...some].filter(Boolean));
          await new Promise((done) => setTimeout(done));
        }
        const of = (type, list) => [...list].filter(Boolean).map((one) => ({ type, [type]: one }));
        const all = [...of("step", [...steps].filter(Boolean).sort((a, b) => a.step - b.step)),
          ...of("event", read(events.split("\n")).slice(-eventsShown)), ...of("sample", read(samples.split("\n")))];
        const config = await llamatabStore.json(`runs/${id}/run.json`);
        if (config) all.unshift({ type: "config", config });
        const files = (await llamatabStore.files(id, "")).map(({ path, file: { size } }) => ({ path, size }));
        tellThat({ type: "opened", id, envelopes: all, files });
      } catch (error) {
        failed("E-DISK")(error);
      }
    },
    remember,
    remembered: (key) => remembered(key) ?? "",
    reload: () => location.reload(),
    refresh: runs,
    async remove(id) {
      await llamatabStore.removeRun(id).catch(failed("E-DISK"));
      runs();
    },

    // download packs what a run has below some folders, with its record, as a zip.
    async download(id, folders, name, readme) {
      try {
        const { downloadZip } = await import("/client-zip.js");
        const wanted = (path) => JSON.parse(folders).some((f) => path === f || path.startsWith(f + "/"));
        const kept = id ? (await llamatabStore.files(id, "")).map(({ path, file }) => [path, file]) : [];
        const all = new Map([...kept, ...(id === owned || !id ? memory : [])].filter(([path]) => wanted(path)));
        const files = [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, input]) => ({ name: path, input, lastModified: new Date() }));
        if (readme) files.push({ name: "README.md", input: readme, lastModified: new Date() });
        save(name, await downloadZip(files).blob());
        tellThat({ type: "packed", text: "" });
      } catch (error) {
        tellThat({ type: "packed", text: String(error) });
      }
    },
    async picture(kind, name) {
      const { svg, png, csv } = llamatabCharts;
      const blob = { svg: () => new Blob([svg()], { type: "image/svg+xml" }), csv: () => new Blob([csv()], { type: "text/csv" }), png }[kind];
      save(`${name}.${kind}`, await blob());
    },
    save: (name, text) => save(name, new Blob([text], { type: "application/json" })),
    async copy(text) { await navigator.clipboard.writeText(text).catch(failed("E-COPY")); },
    async share(config, lesson) {
      const link = `${location.origin}/#studio?v=${linkVersion}${lesson ? "&lesson" : ""}&config=${encode(config)}`;
      if (link.length <= linkLimit) await navigator.clipboard.writeText(link).catch(() => {}); // it is shown, too
      tellThat({ type: "copied", text: link.length <= linkLimit ? link : "" });
    },

    // Islands: elements without content of vugu's. What is to be shown in one waits until vugu has made it.
    rendered() {
      llamatab.prepare();
      for (const [id, { ready, act }] of waiting) {
        const e = byId(id.split("#").at(-1));
        if (!e || !ready(e)) continue;
        waiting.delete(id);
        act(e);
      }
    },
    // What somebody is typing stays.
    text(id, text) { later(id, (e) => { if (e !== document.activeElement && ("value" in e ? e.value : e.textContent) !== text) e["value" in e ? "value" : "textContent"] = text; }); },
    append(id, text) {
      const before = waiting.get(id)?.act;
      if (before) later(id, (e) => { before(e); e.append(text); });
      else byId(id)?.append(text);
    },
    value: (id) => byId(id)?.value ?? "",
    preview(data, words) { later("preview-rows", (e) => previewed(e, JSON.parse(data), JSON.parse(words))); },
    showRoom(link) { later("qr", () => rooms.showRoom(link)); },
    chart(words) { later("charts", (e) => llamatabCharts.show(e, JSON.parse(words))); },
    clear: () => llamatabCharts.clear(),
    focus(id) { later("focus#" + id, (e) => e.focus(), (e) => e.offsetParent); },
    go(screen) { if (location.hash !== "#" + screen) location.hash = screen; },

    language: () => remembered("language") ?? navigator.languages?.[0] ?? navigator.language,
    speak(tag, chosen) {
      document.documentElement.lang = tag;
      if (chosen) remember("language", tag);
    },
    theme: () => remembered("theme") ?? "auto",
    paint(name) {
      theme(name);
      remember("theme", name);
      llamatabCharts.rebuild();
      curve.repaint();
    },
  };
})();
