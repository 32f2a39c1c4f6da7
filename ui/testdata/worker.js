// A stand-in for the engine's worker: it answers the page's jobs, and sends the messages of a run. The name of the data file
// decides how the run ends: "fails…" and "crashes…" fail after some steps, all others succeed.
"use strict";

importScripts("/store.js");

let cancelled = false;
let paused = false, stopping = false, single = false, back = false, kept = null;
// While a run is paused, each turn of its loop is told here, so that a test can wait for some of them.
const pausedTurns = new BroadcastChannel("paused turns");
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const say = (...envelopes) => {
  for (const e of envelopes) if (kept && e.step) kept.lines.add(new TextEncoder().encode(JSON.stringify(e.step) + "\n"));
  postMessage({ type: "envelopes", json: JSON.stringify(envelopes) });
};
const progress = (phase, done, total, unit) => say({ type: "progress", progress: { phase, done, total, unit } });
const file = async (path, content) => {
  const bytes = new Blob([content]);
  if (kept) {
    const root = "runs/" + kept.id + "/";
    await llamatabStore.put(root + path, bytes);
    await llamatabStore.commit(root + path.split("/")[0]);
  }
  postMessage({ type: "file", path, size: bytes.size, blob: kept ? undefined : bytes });
};

let turn = Promise.resolve();
onmessage = ({ data }) => {
  switch (data.type) {
    case "job": {
      const job = JSON.parse(data.job);
      turn = turn.then(() => ({ plan, preview, generate, export: merge, train, template, chat })[job.command](job, data));
      break;
    }
    case "ask":
      turn = turn.then(() => converse(JSON.parse(data.ask)));
      break;
    case "control":
      if (data.control === "pause") paused = true;
      if (data.control === "resume") paused = false;
      if (data.control === "single") single = true;
      if (data.control === "back") back = true;
      stopping ||= data.control === "stop";
      cancelled = data.control.startsWith("cancel ");
  }
};

const answer = (result) => say({ type: "result", result }, { type: "done", done: {} });

function compare() {
  const lora = { peft_type: "LORA", r: 16, target_modules: "all-linear" };
  const row = (name, settings, total) => ({ name, settings, forecast: { trainable_parameters: 10, planned_bytes: { total }, result_bytes: 4096, fits: total < 1e9 } });
  answer([
    row("full", [{ path: "trainable", value: ["all"] }], 9e9), row("lora-all-r16", [{ path: "peft", value: lora }], 2e6),
    { name: "new", settings: [], refused: "is not available in this version" },
  ]);
}

function plan({ config, plan }) {
  if (plan?.compare) return compare();
  const batch = config.training.per_device_train_batch_size ?? 4;
  if (batch < 1) {
    say({ type: "failed", failed: { code: "config", path: "training.per_device_train_batch_size", kind: "range", about: { value: batch, least: 1, most: 65536 }, message: "run.json: training.per_device_train_batch_size: is 0, wants 1 to 65536", next: "", exit: 2 } });
    return;
  }
  const activations = batch * 1e6, fits = batch <= 64;
  answer({
    trainable_parameters: 1000, total_parameters: 260_000, steps: config.training.max_steps,
    planned_bytes: { weights: 1e6, gradients: 1e5, optimizer: 2e5, activations, staging: 1e4, total: 1.31e6 + activations },
    fits, misfit: fits ? undefined : { code: "buffer_misfit", message: "one buffer (logits) needs 128 MiB and 64 MiB is the limit: 64 MiB too much", data: { buffer: "logits", need_bytes: 134217728, limit_bytes: 67108864, excess_bytes: 67108864 } },
    remarks: [...remarks, { code: "tokenizer_larger", message: "tokenizer.json has ids up to 511, the model's vocabulary has 370", data: { id: 511, vocabulary: 370 } }],
    choices: fits ? [] : [{ code: "micro_batch", changes: [{ path: "training.per_device_train_batch_size", value: 8 }], planned_bytes: 9_310_000, fits: true, text: "" }],
    units: [{ name: "embed", trainable_parameters: 0, planned_bytes: { total: 1e6 } }],
  });
}

const remarks = [{ code: "rows_cut", message: "2 of 50 rows cut to 256 tokens", data: { file: "rows.jsonl", n: 2, rows: 50, length: 256, lost: 31, share: 4.8 } }];

// The name of the data file decides what is in it: conversations ("chats…"), columns that no format has ("odd…"), a malformed row
// ("broken…"), else texts.
function preview({ config: { dataset } }, { files }) {
  const name = files.dataset[0].name, told = { total_rows: 50, tokens: 600, trained_tokens: 400, remarks };
  const row = (cause) => ({ type: "failed", failed: { code: "data", kind: "row", about: { line: 3, cause }, message: "line 3: " + cause.message, next: "", exit: 2 } });
  if (name.startsWith("chats")) return answer(chats(dataset, told));
  if (name.startsWith("odd")) return odd(dataset, told, row);
  const columns = [{ name: "text", kind: "text", example: "One day" }], keys = [{ key: "text", column: "text" }];
  const cause = { code: "row_null", message: '"text" is null', data: { key: '"text"' } };
  if (name.startsWith("broken") && dataset.on_bad_row !== "skip") return say({ type: "result", result: { columns, keys, rows: [] } }, row(cause));
  const tokens = [{ id: 1, text: "<s>" }, { id: 5, text: "One" }, { id: 6, text: " day", trained: true }];
  answer({ format: "text", rows: [{ tokens, length: 12, line: 1 }], columns, keys, bad_rows: name.startsWith("broken") ? [{ line: 3, cause }] : undefined, ...told });
}

function chats({ template }, told) {
  const special = (id, text, trained) => ({ id, text, trained, special: true });
  const words = (text, trained) => text.split(/(?= )/).map((word, i) => ({ id: 300 + i, text: word, trained }));
  const rows = [["Be brief.", "Where does the tide go?", "Out to sea, and back.\nTwice a day."], ["Be brief.", "那边有什么？", "有一座灯塔。"]].map((texts, n) => {
    const tokens = [], turns = [];
    ["system", "user", "assistant"].forEach((role, i) => {
      const trained = role === "assistant";
      turns.push({ role, from: tokens.length });
      tokens.push(special(1, "<|im_start|>"), { id: 20 + i, text: role }, { id: 10, text: "\n" }, ...words(texts[i], trained), special(2, "<|im_end|>", trained), { id: 10, text: "\n" });
    });
    return { tokens, turns, length: tokens.length + 40 * n, line: n + 1 };
  });
  const own = ["default", "rag"], named = template?.startsWith("model:") ? template.slice(6) : "default";
  return { format: "sharegpt", rows, columns: [{ name: "id", kind: "text", example: "c-1" }, { name: "conversations", kind: "sharegpt", example: '[{"from": "system", "value": "Be brief."}, …' }],
    keys: [{ key: "conversations", column: "conversations" }, { key: "system", optional: true }, { key: "tools", optional: true }],
    template: template && !template.startsWith("model") ? { name: template } : { name: named, source: "tokenizer_config.json", own }, ...told };
}

function odd({ format, columns: renamed = {} }, told, row) {
  const columns = [{ name: "nr", kind: "text", example: "1" }, { name: "frage", kind: "text", example: "Wohin geht die Flut?" }, { name: "antwort", kind: "text", example: "Aufs Meer hinaus." }];
  const keys = format === "prompt_completion" ? ["prompt", "completion"].map((key) => ({ key, column: renamed[key] })) : undefined;
  const file = { layout: "table", header: true, separator: ";" };
  if (keys?.every(({ column }) => column)) {
    const tokens = [{ id: 1, text: "<s>", special: true }, { id: 5, text: "Wohin" }, { id: 6, text: "Aufs", trained: true }, { id: 2, text: "</s>", trained: true, special: true }];
    answer({ format, file, rows: [{ tokens, turns: [{ role: "prompt", from: 0 }, { role: "completion", from: 2 }], length: 4, line: 2 }], columns, keys, ...told });
    return;
  }
  const cause = keys ? { code: "row_key_missing", message: "", data: { key: '"' + keys.find(({ column }) => !column).key + '"' } } : { code: "row_no_format", message: "", data: { keys: "nr, frage, antwort" } };
  say({ type: "result", result: { columns, keys, file, rows: [] } }, row(cause));
}

async function generate({ generate: g }, { files }) {
  const words = files.adapter ? ["Arr", ",", " 好", "!"] : [" there", " was", " a", " cat"];
  for (const text of words) {
    await wait(10);
    say({ type: "token", token: { id: 7, text } });
  }
  answer({ prompt: g.prompt, text: g.prompt + words.join("") });
}

// A run on data with "chats" in its name has a model with a chat template.
function template({ config }) {
  answer({ name: "chatml", own: JSON.stringify(config.dataset ?? {}).includes("chats"), trained: false });
}

function chat() {
  progress("load", 500_000, 1_000_000, "bytes");
  progress("ready", 0, 0);
}

// converse answers with the number of the messages before, and with the last one. "long" is answered at length, "king" refused.
async function converse({ base, conversation: { messages } }) {
  cancelled = false;
  const last = messages.at(-1).content;
  if (last === "king") return say({ type: "reply", reply: { failed: { code: "turns_refused", message: "roles must alternate", next: "", exit: 2 } } });
  const words = base ? ["You", " said", " “" + last + "”", ", message ", String(messages.length)] : ["Arr", ", ", last, "! ", "好的", String(messages.length)];
  let text = "";
  for (const word of last === "long" ? Array(2000).fill(base ? "la " : "yo-ho ") : words) {
    await wait(10);
    if (cancelled) break;
    text += word;
    say({ type: "token", token: { id: 7, text: word } });
  }
  say({ type: "reply", reply: { text, finish: cancelled ? "cancelled" : "stop", prompt_tokens: 9, cached_tokens: 0, tokens: words.length } });
}

async function merge() {
  await file("config.json", "{}");
  say({ type: "done", done: {} });
}

async function train({ config, samples }, { files, run }) {
  const name = files.dataset[0].name;
  paused = stopping = single = false;
  if (run) {
    const root = "runs/" + run.id + "/";
    await llamatabStore.lock(run.id);
    await llamatabStore.remove(root + "state.json");
    await llamatabStore.put(root + "meta.json", run.meta);
    for (const [name, key] of Object.entries(run.keys)) await llamatabStore.keepInputs(key, files[name]);
    kept = { id: run.id, lines: await llamatabStore.lines(root + "metrics.jsonl", (line) => line.step <= run.step) };
  }
  say({ type: "config", config: { ...config, kernels: { matmul: "a" } } });
  if (run) await llamatabStore.put("runs/" + run.id + "/run.json", JSON.stringify({ ...config, kernels: { matmul: "a" } }));
  progress("open", 0, 0);
  await wait(20);
  for (let i = 0; i <= 4; i++) {
    progress("load", i * 250_000, 1_000_000, "bytes");
    await wait(20);
  }
  say({ type: "summary", summary: { allocated_bytes: { weights: 1e6, activations: 2e6 } } });
  const steps = config.training.max_steps;
  let step = files.resume ? Number(JSON.parse(await files.resume[0].text()).step) : 0;
  if (step) say({ type: "event", event: { time: "", level: "info", code: "resumed", step, message: "resumed" } });
  progress("train", step, steps, "steps");
  while (step < steps && !stopping) {
    await wait(paused ? 20 : 4);
    if (paused && !single) {
      pausedTurns.postMessage(step);
      continue;
    }
    single = false;
    if (back) {
      back = false;
      step = step - (step % 10);
      say({ type: "event", event: { time: "", level: "warning", code: "rolled_back", step, message: "", data: { from: step + 3, to: step, learning_rate_factor: 0.5 } } });
    }
    step++;
    const loss = step === 7 ? "NaN" : 1 + 1.5 * Math.exp(-step / 30) + 0.1 * Math.sin(step * 12.9898);
    say({ type: "step", step: { step, epoch: step / 50, loss, learning_rate: config.training.learning_rate * (1 + Math.cos(3.14 * step / steps)) / 2,
      grad_norm: 0.6 + 0.3 * Math.abs(Math.sin(step * 78.233)), tokens: 400,
      num_input_tokens_seen: step * 400, gpu_bytes: 3e6, units: [{ name: "block 0", grad_norm: 0.5, weight_norm: 10, update_ratio: 1e-3 / (1 + step / 50) }], step_seconds: 0.25,
      tokens_per_second: 1600 + 90 * Math.sin(step * 3.7), eval_loss: step % 10 ? undefined : 1.2 + 1 / step } });
    if (step % 20 === 0) for (const prompt of samples?.prompts ?? []) say({ type: "sample", sample: { step, prompt, text: " sample " + step } });
    if (step % 10 === 0) await file(`checkpoint-${step}/state.json`, JSON.stringify({ step }));
    if (step === 7) say({ type: "event", event: { time: "", level: "warning", code: "nonfinite_step_skipped", step, message: "The loss was NaN." } });
    if (step === 12) say({ type: "event", event: { time: "", level: "warning", ...remarks[0] } });
    let failed = null;
    if (step === 20 && name.startsWith("fails")) failed = { code: "does_not_fit", message: "the step needs <5.2 GB>, the GPU gives 4.0 GB", next: "choose a batch size of 2", exit: 1 };
    if (step === 20 && name.startsWith("crashes")) failed = { code: "engine_crashed", message: "panic: 好".padEnd(40_000, "字"), next: "", exit: 1 };
    if (failed) {
      kept?.lines.close();
      say({ type: "failed", failed });
      return;
    }
  }
  progress("save", 0, 0);
  await file("adapter/adapter_config.json", '{"peft_type": "LORA"}');
  await file("adapter/adapter_model.safetensors", new Uint8Array(1234));
  kept?.lines.close();
  if (run) await llamatabStore.put("runs/" + run.id + "/state.json", JSON.stringify({ stage: stopping ? "stopped" : "done" }));
  say({ type: "summary", summary: { steps: step, allocated_bytes: { weights: 1e6, activations: 2e6 } } }, { type: "done", done: { stopped: stopping, files: ["adapter"] } });
}
