// Tests of engine.js in Node, with stand-ins for Worker, fetch and WebAssembly.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const source = readFileSync(new URL("engine.js", import.meta.url), "utf8");
const settled = () => new Promise((done) => setImmediate(done));

class FakeWorker extends EventTarget {
  constructor(path) {
    super();
    this.path = path;
    this.posted = [];
    FakeWorker.all.push(this);
  }
  postMessage(message) { this.posted.push(message); }
}

let loads = 0;
// load evaluates engine.js anew. downloads counts the fetches of the program; failing makes them fail.
async function load() {
  const state = { downloads: 0, failing: false, idle: [] };
  FakeWorker.all = [];
  Object.assign(globalThis, {
    Worker: FakeWorker,
    fetch: (path) => ({ path }),
    requestIdleCallback: (f) => state.idle.push(f),
  });
  WebAssembly.compileStreaming = async ({ path }) => {
    state.downloads++;
    if (state.failing) throw new TypeError("no network");
    return "program of " + path;
  };
  const module = await import(`data:text/javascript,${encodeURIComponent(source)}//${loads++}`);
  return { ...module, state, workers: FakeWorker.all };
}
// envelopes collects what a worker's listeners hear.
const envelopes = (worker) => {
  const heard = [];
  worker.addEventListener("message", ({ data }) => heard.push(JSON.parse(data)));
  return heard;
};

test("workers share one compiled program", async () => {
  const { startWorker, state, workers } = await load();
  startWorker();
  startWorker("https://host/job/token/");
  await settled();
  assert.equal(state.downloads, 1);
  assert.deepEqual(workers.map((w) => w.path), ["/worker.js", "/worker.js"]);
  assert.deepEqual(workers.map((w) => w.posted), [
    [{ type: "start", module: "program of /engine.wasm", job: undefined }],
    [{ type: "start", module: "program of /engine.wasm", job: "https://host/job/token/" }],
  ]);
});

test("a prepared worker gets the first job, and only one is prepared", async () => {
  const { prepare, startWorker, state, workers } = await load();
  prepare();
  assert.equal(workers.length, 0, "a worker started although the page was busy");
  state.idle.forEach((f) => f());
  assert.equal(workers.length, 1);
  assert.equal(startWorker(), workers[0]);
  assert.notEqual(startWorker(), workers[0]);
  prepare();
  assert.equal(state.idle.length, 1);
});

test("nothing is prepared when a job was faster", async () => {
  const { prepare, startWorker, state, workers } = await load();
  prepare();
  startWorker();
  state.idle.forEach((f) => f());
  assert.equal(workers.length, 1);
});

test("a download that fails is reported, and tried again by the next worker", async () => {
  const { startWorker, state, workers } = await load();
  state.failing = true;
  const heard = envelopes(startWorker());
  await settled();
  assert.equal(heard.length, 1);
  assert.equal(heard[0].type, "failed");
  assert.equal(heard[0].failed.code, "engine_crashed");
  assert.match(heard[0].failed.message, /no network/);
  state.failing = false;
  startWorker();
  await settled();
  assert.equal(state.downloads, 2);
  assert.equal(workers[1].posted[0].type, "start");
});

test("a prepared worker that could not load is not used", async () => {
  const { prepare, startWorker, state, workers } = await load();
  state.failing = true;
  prepare();
  state.idle.forEach((f) => f());
  await settled();
  state.failing = false;
  assert.notEqual(startWorker(), workers[0]);
  await settled();
  assert.equal(state.downloads, 2);
});

test("a worker that dies without a word is reported as a failed engine", async () => {
  const { startWorker } = await load();
  const worker = startWorker();
  const heard = envelopes(worker);
  const death = Object.assign(new Event("error", { cancelable: true }), { message: "out of memory" });
  worker.dispatchEvent(death);
  assert.ok(death.defaultPrevented);
  assert.deepEqual(heard.map((e) => [e.failed.code, e.failed.message]), [["engine_crashed", "out of memory"]]);
});
