// The page's engines, each in a worker of its own: "run" trains; "side" plans runs, previews data and generates texts; "chat" keeps
// a model loaded and answers conversations.

import { addSteps } from "./chart_run.js";
import { fingerprint } from "./chosen_files.js";
import { tell, tellText } from "./inbox.js";
import { listRuns } from "./kept_runs.js";
import { memoryResults } from "./memory_results.js";
import { filesByMount } from "./sources.js";
import { stepsForTexts } from "./run_record.js";

const engines = { run: null, side: null, chat: null };
let asking = Promise.resolve(); // jobs are sent in the order of the calls, however long it takes to find their files
let inUse = []; // functions that let go the fetched models of the run, which no tab removes meanwhile
let running = false; // a run is going on, which closing the page would interrupt

// Steps of the run go to the charts; Go gets only those that its texts need.
const receiveEnvelopes = (name, json) => {
  if (name !== "run") return tellText("envelopes", `{"engine":"${name}","envelopes":${json}}`);
  const all = JSON.parse(json), steps = all.flatMap((e) => e.step ?? []), needed = stepsForTexts(steps);
  if (steps.length) addSteps(steps);
  tell("envelopes", { engine: name, envelopes: all.filter((e) => !e.step || needed.has(e.step)) });
};

const receive = (name, data) => {
  if (typeof data === "string") return receiveEnvelopes(name, `[${data}]`);
  switch (data.type) {
    case "envelopes":
      return receiveEnvelopes(name, data.json);
    case "file":
      if (data.blob) memoryResults.put(data.path, data.blob);
      return tell("file-written", { engine: name, path: data.path, size: data.size, in_memory: !!data.blob });
    case "removed":
      memoryResults.remove(data.path);
      tell("file-removed", { engine: name, path: data.path });
  }
};

const engine = (name) => {
  if (engines[name]) return engines[name];
  const worker = (engines[name] = llamatab.startWorker());
  worker.addEventListener("message", ({ data }) => { if (engines[name] === worker) receive(name, data); });
  return worker;
};

const terminate = (name) => {
  engines[name]?.terminate();
  engines[name] = null;
  if (name === "run") for (const letGo of inUse.splice(0)) letGo();
};

// recordedInputs says where the files of a run can be found again. Chosen files are kept as copies under a key.
export const recordedInputs = (sources, files) => {
  const keys = {}, inputs = {};
  for (const [mount, source] of Object.entries(sources)) {
    if (source.from === "chosen") inputs[mount] = { from: "kept", key: (keys[mount] = fingerprint(files[mount])) };
    else if (mount !== "resume") inputs[mount] = source;
  }
  return { keys, inputs };
};

const inputsGone = (error) => ({ code: "inputs_gone", message: String(error.message ?? error), next: "", exit: 1 });

// startRun gives a training job to an engine of its own. step is where the run's record goes on: 0 begins a new one.
export const startRun = async (job, sources, meta, step) => {
  terminate("side"); // the run needs their GPU memory
  terminate("chat");
  terminate("run");
  const worker = engine("run"), record = JSON.parse(meta), named = JSON.parse(sources);
  memoryResults.begin(record.id);
  running = true;
  let files;
  try {
    const fetched = Object.values(named).filter((source) => source.from === "fetched");
    const release = await Promise.all(fetched.map((source) => llamatabStore.useModel(source.key)));
    if (engines.run !== worker) return release.forEach((end) => end()); // it was stopped meanwhile
    inUse.push(...release);
    files = await filesByMount(named);
  } catch (error) {
    tell("envelopes", { engine: "run", envelopes: [{ type: "failed", failed: inputsGone(error) }] });
    return;
  }
  const { keys, inputs } = recordedInputs(named, files);
  tell("run-inputs", inputs);
  if (engines.run === worker) {
    worker.postMessage({ type: "job", job, files, run: { id: record.id, meta: JSON.stringify({ ...record, inputs }), step, keys } });
  }
  navigator.storage.persist?.().catch(() => {}); // the run does not wait for the answer
};

// askSideEngine gives the side engine a job. A job whose files are gone fails when its turn comes.
export const askSideEngine = (job, sources) => {
  const worker = engine("side");
  asking = asking.then(() => filesByMount(JSON.parse(sources))).then((files) => worker.postMessage({ type: "job", job, files, run: null }),
    (error) => worker.postMessage({ type: "job", gone: String(error.message ?? error) }));
};

// startChat gives a chat job to an engine of its own. It answers with a "progress" of the phase "ready" when the model is loaded.
export const startChat = async (job, sources) => {
  terminate("chat");
  const worker = engine("chat");
  try {
    const files = await filesByMount(JSON.parse(sources));
    if (engines.chat === worker) worker.postMessage({ type: "job", job, files, run: null });
  } catch (error) {
    if (engines.chat === worker) tell("envelopes", { engine: "chat", envelopes: [{ type: "failed", failed: inputsGone(error) }] });
  }
};

// askChat gives the chat job a conversation to answer.
export const askChat = (ask) => { engines.chat?.postMessage({ type: "ask", ask }); };

// controlEngine passes a control such as "pause" on.
export const controlEngine = (name, control) => { engines[name]?.postMessage({ type: "control", control }); };

// endEngine ends an engine's worker at once.
export const endEngine = (name) => {
  terminate(name);
  if (name !== "run") return;
  running = false;
  listRuns();
};

// guardRun has the browser ask before it leaves the page during a run.
export const guardRun = () => addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });
