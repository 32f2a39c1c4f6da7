// Starts the user interface, a Go program. Where the browser cannot run it, the page says why and what to do.
import { prepare, startWorker } from "/engine.js";

// blocked is the reason why this browser cannot run llamatab, or null.
async function blocked() {
  if (!isSecureContext) return "insecure";
  if (!navigator.gpu) return "nogpu";
  if (!(await navigator.gpu.requestAdapter().catch(() => null))) return "noadapter";
  return null;
}

// fetched is an answer of the server without which the page cannot start.
async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: the server answers with status ${answer.status}`);
  return answer;
}

const compiled = WebAssembly.compileStreaming(fetched("/page.wasm"));
const description = fetched("/describe.json").then((answer) => answer.text()); // of the settings in run.json
for (const promise of [compiled, description]) promise.catch(() => {}); // reported where they are awaited

async function userInterface() {
  const reason = await blocked();
  if (reason) {
    showGate(reason);
    return;
  }
  globalThis.llamatab = { startWorker: () => startWorker(), prepare, description: await description };
  // When vugu starts it evaluates its helper script, which the page's policy forbids. The script was loaded as a file instead,
  // and returns at once when it has already run.
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
  for (const link of gate.querySelectorAll("a[data-reason]")) link.href = "https://" + location.host; // one port serves http and https
  report.textContent = [reason, detail, location.origin, navigator.userAgent].filter(Boolean).join("\n");
  gate.addEventListener("click", ({ target }) => {
    if (target.dataset.do === "reload") location.reload();
    if (target.dataset.do !== "copy") return;
    getSelection().selectAllChildren(report); // the clipboard of scripts needs a secure context
    document.execCommand("copy");
  });
}

userInterface().catch((error) => showGate("failed", error?.stack ?? error));
