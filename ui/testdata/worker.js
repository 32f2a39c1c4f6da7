// A stand-in for the engine's worker: plays a run as the engine would tell it. What it plays depends on the name of
// the data file: "fails…" and "crashes…" end badly after some steps, all else ends well.
"use strict";

let paused = false, stopping = false;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const say = (...envelopes) => postMessage({ type: "envelopes", json: JSON.stringify(envelopes) });
const progress = (phase, done, total, unit) => say({ type: "progress", progress: { phase, done, total, unit } });
const file = (path, ...parts) => postMessage({ type: "file", path, blob: new Blob(parts) });

onmessage = ({ data }) => {
  switch (data.type) {
    case "job":
      play(JSON.parse(data.job), data.files);
      break;
    case "control":
      paused = data.control === "pause";
      stopping ||= data.control === "stop";
  }
};

async function play({ config }, files) {
  const name = files.dataset[0].name;
  say({ type: "config", config });
  progress("open", 0, 0);
  await wait(20);
  for (let i = 0; i <= 4; i++) {
    progress("load", i * 250_000, 1_000_000, "bytes");
    await wait(20);
  }
  const steps = config.training.max_steps;
  progress("train", 0, steps, "steps");
  let step = 0;
  while (step < steps && !stopping) {
    await wait(paused ? 20 : 4);
    if (paused) continue;
    step++;
    const loss = step === 7 ? "NaN" : 1 + 1.5 * Math.exp(-step / 30) + 0.1 * Math.sin(step * 12.9898);
    say({ type: "step", step: { step, epoch: step / 50, loss, learning_rate: config.training.learning_rate, grad_norm: 1, tokens: 400,
      num_input_tokens_seen: step * 400, step_seconds: 0.25, tokens_per_second: 1600 } });
    if (step === 7) say({ type: "event", event: { time: "", level: "warning", code: "nonfinite_step_skipped", step, message: "The loss was NaN." } });
    if (step === 12) say({ type: "event", event: { time: "", level: "info", code: "cut", message: "2 rows were longer than 256 tokens and were cut." } });
    if (step === 20 && name.startsWith("fails")) {
      say({ type: "failed", failed: { code: "does_not_fit", message: "the step needs <5.2 GB>, the GPU gives 4.0 GB", next: "choose a batch size of 2", exit: 1 } });
      return;
    }
    if (step === 20 && name.startsWith("crashes")) {
      postMessage({ type: "crashed", text: "panic: 好".padEnd(40_000, "字") });
      return;
    }
  }
  progress("save", 0, 0);
  file("checkpoint-1/state.bin", "old");
  postMessage({ type: "removed", path: "checkpoint-1/state.bin" });
  file("adapter/adapter_config.json", '{"peft_type": "LORA"}');
  file("adapter/adapter_model.safetensors", new Uint8Array(1000), new Uint8Array(234));
  say({ type: "summary", summary: { steps: step } }, { type: "done", done: { stopped: stopping, files: ["adapter"] } });
}
