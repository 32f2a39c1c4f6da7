// The page's side of llamatab. On a headless job's page (/job/TOKEN/) it runs the engine's worker and reports the
// worker's death; on the main page it starts the user interface, in Go, from the same module.
//
// For the interface: llamatab.startWorker() returns a Worker whose engine is being started. It takes
// {type: "job", job: JSON text, files: {mount: [File, …]}} and {type: "control", control: "pause"}, also before it
// is ready, and posts message.Envelopes as JSON text; one that dies posts a "failed" envelope.

const compiled = WebAssembly.compileStreaming(fetch("/llamatab.wasm"));
compiled.catch(() => {}); // reported where it is awaited

const failure = (code, message, next) => ({ type: "failed", failed: { code, message: String(message), next, exit: 1 } });

// startWorker starts an engine; job is the base address of a headless job, or absent.
function startWorker(job) {
  const worker = new Worker("/worker.js", { name: "engine" });
  const dead = (text) => worker.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(failure("engine_crashed", text, "reload the page")) }));
  compiled.then((module) => worker.postMessage({ type: "start", module, job }), (error) => dead("the program did not load: " + error));
  worker.addEventListener("error", (e) => {
    e.preventDefault(); // it is told below; of a worker that was ended while it started nobody needs to hear
    dead(e.message || "the worker's script did not load");
  });
  return worker;
}

// headless runs the engine for a job: all it says goes straight from the worker to the server, but its death.
function headless(job) {
  startWorker(job).addEventListener("message", (e) =>
    fetch(job + "messages", { method: "POST", headers: { "Content-Type": "application/json" }, body: "[" + e.data + "]" }));
}

// blocked tells why this browser cannot run llamatab and what to do, or null.
async function blocked() {
  if (!isSecureContext) return "insecure";
  if (!navigator.gpu) return "nogpu";
  if (!(await navigator.gpu.requestAdapter().catch(() => null))) return "noadapter";
  return null;
}

async function userInterface() {
  const reason = await blocked();
  if (reason) {
    showGate(reason);
    return;
  }
  globalThis.llamatab = { startWorker: () => startWorker() };
  // vugu evaluates its helper script when it starts and that script returns at once where it has already run:
  // it was loaded as a file, which the page's policy allows, so there is nothing left to evaluate.
  globalThis.eval = () => undefined;
  const go = new Go();
  let code = 0;
  go.exit = (c) => { code = c; };
  const instance = await WebAssembly.instantiate(await compiled, go.importObject);
  globalThis.wasm = { instance };
  await go.run(instance);
  throw new Error(`the page's program ended with exit code ${code}; the browser's console has its last words`);
}

function showGate(reason, detail = "") {
  let chosen = null; // storage may be forbidden
  try { chosen = localStorage.getItem("language"); } catch {}
  const lang = (chosen ?? navigator.languages?.[0] ?? navigator.language).toLowerCase().startsWith("zh") ? "zh" : "en";
  document.documentElement.lang = lang;
  for (const part of document.body.children) part.hidden = part.id !== "gate";
  const gate = document.getElementById("gate"), report = gate.querySelector("pre");
  for (const part of gate.querySelectorAll("[data-reason], section")) part.hidden = (part.dataset.reason ?? reason) !== reason || (part.lang || lang) !== lang;
  for (const link of gate.querySelectorAll("a[data-reason]")) link.href = "https://" + location.host; // the server speaks both on one port
  report.textContent = [reason, detail, location.origin, navigator.userAgent].filter(Boolean).join("\n");
  gate.addEventListener("click", ({ target }) => {
    if (target.dataset.do === "reload") location.reload();
    if (target.dataset.do !== "copy") return;
    getSelection().selectAllChildren(report); // without a secure context there is no other clipboard
    document.execCommand("copy");
  });
}

if (location.pathname.startsWith("/job/")) {
  headless(location.origin + location.pathname);
} else {
  userInterface().catch((error) => showGate("failed", error?.stack ?? error));
}
