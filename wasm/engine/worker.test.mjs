// Tests of worker.js in Node, with stand-ins for the worker's global scope and for Go.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const source = readFileSync(new URL("worker.js", import.meta.url), "utf8");
const settled = () => new Promise((done) => setImmediate(done));

// load runs worker.js in a scope of its own. run is what the Go program does: it gets the scope and the object go.
function load(run = () => new Promise(() => {})) {
  const posted = [], listeners = {}, loaded = [];
  const scope = {
    importScripts: (...paths) => loaded.push(...paths),
    postMessage: (message) => posted.push(typeof message === "string" ? JSON.parse(message) : message),
    addEventListener: (type, f) => (listeners[type] = f),
    fs: { writeSync: (fd, bytes) => bytes.length },
    TextDecoder,
    WebAssembly: { instantiate: async (module) => ({ module }) },
    Go: class {
      importObject = {};
      run(instance) { return run(scope, this, instance); }
    },
  };
  vm.runInNewContext(source, scope);
  return { scope, posted, loaded, dispatch: (type, event) => listeners[type](event), say: (data) => listeners.message({ data }) };
}

test("the worker loads Go's glue and both scripts that the engine calls", () => {
  assert.deepEqual(load().loaded, ["/wasm_exec.js", "/replay.js", "/store.js"]);
});

test("messages that arrive before the engine is ready reach it in order", () => {
  const { scope, say } = load();
  say({ type: "job", n: 1 });
  say({ type: "control", n: 2 });
  const heard = [];
  scope.onmessage = ({ data }) => heard.push(data.n);
  say({ type: "job", n: 3 });
  assert.deepEqual(heard, [1, 2, 3]);
});

test("start hands the job's address to the engine and is not passed on", async () => {
  let seen = null;
  const { scope, say } = load((scope, go, instance) => {
    seen = { job: scope.llamatab.job, module: instance.module };
    return new Promise(() => {});
  });
  scope.onmessage = () => assert.fail("the engine got the message start");
  say({ type: "start", module: "program", job: "https://host/job/token/" });
  await settled();
  assert.deepEqual(seen, { job: "https://host/job/token/", module: "program" });
});

test("an engine that returns has ended before its work was done", async () => {
  const { posted, say } = load(async () => {});
  say({ type: "start" });
  await settled();
  assert.deepEqual(posted.map((e) => e.failed.code), ["engine_ended"]);
});

test("a crash carries what the engine last wrote, cut to its end", async () => {
  const { posted, say } = load(async (scope, go) => {
    scope.fs.writeSync(2, new TextEncoder().encode("x".repeat(10_000)));
    scope.fs.writeSync(2, new TextEncoder().encode("panic: index out of range"));
    go.exit(2);
  });
  say({ type: "start" });
  await settled();
  assert.equal(posted.length, 1);
  const { code, message, exit } = posted[0].failed;
  assert.equal(code, "engine_crashed");
  assert.equal(exit, 1);
  assert.match(message, /exit code 2/);
  assert.ok(message.endsWith("panic: index out of range"));
  assert.ok(message.length < 8300, `${message.length} characters`);
});

test("only the first death is reported", () => {
  const { posted, dispatch } = load();
  dispatch("unhandledrejection", { reason: new Error("device lost") });
  dispatch("error", { message: "afterwards" });
  assert.equal(posted.length, 1);
  assert.match(posted[0].failed.message, /device lost/);
});
