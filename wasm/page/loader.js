// Starts the user interface, a Go program. Where the browser cannot run it, the page says why and what to do (gate.js).
import { prepare, startWorker } from "/engine.js";

// defined is what the scripts of the page define, and the script that does. The Go program ends where one is not there.
const defined = { Go: "/wasm_exec.js", vuguRender: "/vugu.js", uPlot: "/uPlot.iife.min.js", llamatabStore: "/store.js", llamatabPage: "/page.js" };

// MissingFile names a file without which the page cannot start.
class MissingFile extends Error {}

// blocked is the reason why this browser cannot run llamatab, or null.
async function blocked() {
  if (!isSecureContext) return "insecure";
  if (!navigator.gpu) return "nogpu";
  if (!(await navigator.gpu.requestAdapter().catch(() => null))) return "noadapter";
  return null;
}

// fetched is what read makes of the server's answer.
async function fetched(path, read) {
  try {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(`the server answers with status ${answer.status}`);
    return await read(answer);
  } catch (error) {
    throw new MissingFile(`${path}: ${error.message}`);
  }
}

const compiled = fetched("/page.wasm", (answer) => WebAssembly.compileStreaming(answer));
const description = fetched("/describe.json", async (answer) => { // of the settings in run.json
  const text = await answer.text();
  JSON.parse(text);
  return text;
});
for (const promise of [compiled, description]) promise.catch(() => {}); // reported where they are awaited

const stderrKept = 8192; // characters: enough for a Go panic with the trace of its goroutine
let lastWords = ""; // the end of what the Go program has written to stderr

// keepLastWords collects what Go writes, which the browser's console gets as well.
function keepLastWords() {
  const decoder = new TextDecoder(), write = fs.writeSync;
  fs.writeSync = function (fd, bytes) {
    lastWords = (lastWords + decoder.decode(bytes)).slice(-stderrKept);
    return write.call(this, fd, bytes);
  };
}

async function userInterface() {
  const reason = await blocked();
  if (reason) {
    showGate(reason);
    return;
  }
  for (const [name, script] of Object.entries(defined)) {
    if (!(name in globalThis)) throw new MissingFile(`${script} did not load`);
  }
  const program = await compiled;
  globalThis.llamatab = { startWorker: () => startWorker(), prepare, description: await description };
  // When vugu starts it evaluates its helper script, which the page's policy forbids. The script was loaded as a file instead,
  // and returns at once when it has already run.
  globalThis.eval = () => undefined;
  keepLastWords();
  const go = new Go();
  let code = 0;
  go.exit = (c) => { code = c; };
  const instance = await WebAssembly.instantiate(program, go.importObject);
  globalThis.wasm = { instance };
  await go.run(instance);
  throw new Error(`the page's program ended with exit code ${code}\n${lastWords}`);
}

userInterface().catch((error) => (error instanceof MissingFile ? showMissing(error.message) : showGate("failed", error?.stack ?? error)));
