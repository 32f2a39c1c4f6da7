// Starts engines: workers that run the program of wasm/engine. Both pages use it, the user interface and the page of a
// headless job.

const failed = (code, message, next) => ({ type: "failed", failed: { code, message: String(message), next, exit: 1 } });

// compiled is the compiled program, which all workers of a page share. A download that failed is tried again by the next
// worker.
let compiled = null;
const compile = () => (compiled ??= WebAssembly.compileStreaming(fetch("/engine.wasm")).catch((error) => {
  compiled = null;
  throw error;
}));

// newWorker starts a worker. A worker that dies without a word, or whose program does not load, gets a "failed"
// envelope of its own, so that whoever listens to it hears of every end in the same way.
function newWorker(job) {
  const worker = new Worker("/worker.js", { name: "engine" });
  const dead = (text) => worker.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(failed("engine_crashed", text, "reload the page")) }));
  compile().then((module) => worker.postMessage({ type: "start", module, job }), (error) => dead("/engine.wasm did not load: " + error));
  worker.addEventListener("error", (event) => {
    event.preventDefault(); // the listeners of the worker's messages are told instead
    dead(event.message || "/worker.js did not load");
  });
  return worker;
}

// spare is a worker that nobody uses yet. One is made at most.
let spare = null;
let prepared = false;

// prepare starts a worker as soon as the page has nothing else to do, so that the first job finds the engine loaded.
export function prepare() {
  if (prepared) return;
  prepared = true;
  const whenIdle = globalThis.requestIdleCallback ?? setTimeout; // Safari has none
  whenIdle(() => {
    if (compiled) return; // a job was faster
    const worker = (spare = newWorker());
    // It speaks before it has work only when it dies. The next worker then tries again, and its death is reported.
    worker.addEventListener("message", () => { if (spare === worker) spare = null; }, { once: true });
  });
}

// startWorker returns a worker whose engine is loaded or is being loaded. job is the base address of a headless job; without
// it the worker takes messages: {type: "job", job: JSON text, files: {mount: [File, …]}} and {type: "control", control:
// "pause"}, also before the engine is ready. It posts {type: "envelopes", json: JSON text of message.Envelopes} and files.
export function startWorker(job) {
  const worker = spare ?? newWorker(job);
  spare = null;
  return worker;
}
