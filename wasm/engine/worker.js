// The engine's worker: it gets the compiled program from the page, runs it, and reports its death.
//
// The engine reads globalThis.llamatab.job, which is the base address of a headless job or undefined, and sets
// globalThis.onmessage. Messages that the page posts earlier are kept until then.
"use strict";

importScripts("/wasm_exec.js", "/replay.js", "/store.js");

const stderrKept = 8192; // characters: enough for a Go panic with the trace of its goroutine
let lastWords = ""; // the end of what the engine has written to stderr
const decoder = new TextDecoder();
const write = fs.writeSync;
fs.writeSync = function (fd, bytes) {
  lastWords = (lastWords + decoder.decode(bytes)).slice(-stderrKept);
  return write.call(this, fd, bytes);
};

let died = false;
function die(code, message) {
  if (died) return;
  died = true;
  const next = "this is a fault in llamatab: please report it with this text; a run can be resumed from its last checkpoint";
  postMessage(JSON.stringify({ type: "failed", failed: { code, message, next, exit: 1 } }));
}
const uncaught = (what) => die("engine_crashed", "the engine crashed: " + (what?.stack ?? what) + (lastWords && "\n" + lastWords));
addEventListener("error", (e) => uncaught(e.error ?? e.message));
addEventListener("unhandledrejection", (e) => uncaught(e.reason));

const early = [];
let receive = null;
addEventListener("message", (e) => {
  if (e.data?.type === "start") start(e.data).catch(uncaught);
  else if (receive) receive.call(globalThis, e);
  else early.push(e);
});
Object.defineProperty(globalThis, "onmessage", {
  get: () => receive,
  set: (f) => {
    receive = f;
    if (f) for (const e of early.splice(0)) f.call(globalThis, e);
  },
});

async function start({ module, job }) {
  globalThis.llamatab = { job };
  const go = new Go();
  let code = 0;
  go.exit = (c) => { code = c; };
  const instance = await WebAssembly.instantiate(module, go.importObject);
  globalThis.wasm = { instance };
  await go.run(instance);
  if (code === 0) die("engine_ended", "the engine ended before its work was done");
  else die("engine_crashed", `the engine ended with exit code ${code}\n${lastWords}`);
}
