// Models that this browser fetches straight from a hub and keeps in its own storage. A worker fetches them (hub_worker.js); this
// starts it, and tells Go what is under way and which models are there.

import { tell, tellProblem } from "./inbox.js";
import { remember, remembered } from "./preferences.js";

const publicHub = "https://huggingface.co"; // for pages whose server does not name another one
const listAgain = 2000; // milliseconds, while another tab fetches

let endpoint = publicHub, worker = null, timer = 0;
let fetches = []; // of this tab
let models = [], held = new Set(); // of the storage, and the names of the locks that are held

// hostOf is an address without its scheme, for people.
const hostOf = (address) => { try { return new URL(address).host; } catch { return address; } };

// keptModel is a model that is whole, as Go gets it.
export const keptModel = ({ key, about, bytes }) => ({
  key, name: `${about.repo}@${about.commit}`, revision: about.revision, host: hostOf(about.endpoint), bytes,
  tokenizer: about.files.some((f) => f.path === "tokenizer.json"),
});

// unfinished lists the fetches of which only the storage knows: those of earlier visits, and of other tabs. running are those of
// this tab, held the names of the locks that are held now.
export const unfinished = (models, running, held) => models.filter((m) => !m.complete).map(({ about, bytes }) => ({
  name: about.revision === "main" ? about.repo : `${about.repo}@${about.revision}`, state: held.has("llamatab-fetch-" + about.repo.toLowerCase()) ? "elsewhere" : "paused",
  done: bytes, total: about.files.reduce((n, f) => n + f.size, 0), rate: 0,
})).filter((f) => !running.some((r) => r.name.toLowerCase() === f.name.toLowerCase()));

// say sends Go all that is known. began is the name of a fetch that has just begun.
const say = (began = "") => {
  const others = unfinished(models, fetches, held);
  tell("hub-direct", { host: hostOf(endpoint), fetches: [...fetches, ...others], kept: models.filter((m) => m.complete).map(keptModel), began });
  clearTimeout(timer);
  if (others.some((f) => f.state === "elsewhere")) timer = setTimeout(lookAgain, listAgain);
};

// lookAgain reads the storage and sends Go what it has.
const lookAgain = async (began) => {
  try {
    models = await llamatabStore.models();
    held = new Set((await navigator.locks.query()).held.map((lock) => lock.name));
  } catch {} // a browser without storage has no models
  say(began);
};

// recallDirect asks the server which hub its pages fetch from, and sends Go what the storage has. A server that names no hub, as one
// that only has the page's files, leaves the public one.
export const recallDirect = async () => {
  try {
    const answer = await fetch("/hub/endpoint");
    if (answer.status >= 500) throw new Error(answer.statusText); // something stands in for a server that is down
    if (answer.ok) remember("hub-endpoint", (endpoint = (await answer.json()).endpoint));
  } catch {
    endpoint = remembered("hub-endpoint") ?? publicHub;
  }
  await lookAgain();
};

const receive = ({ data: { fetches: now, began, problem, changed } }) => {
  fetches = now;
  if (problem) tell("hub-problem", { ...problem, way: "browser" });
  if (changed) lookAgain(began);
  else say(began);
};

const post = (act, name) => {
  if (!worker) {
    worker = new Worker("/hub_worker.js", { type: "module", name: "hub" });
    worker.addEventListener("message", receive);
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      worker.terminate();
      worker = null;
      fetches = [];
      lookAgain();
      tell("hub-problem", { code: "storage", message: event.message || "/hub_worker.js did not load", way: "browser" });
    });
  }
  worker.postMessage({ act, name, endpoint });
};

export const beginDirect = (name) => {
  post("begin", name);
  navigator.storage.persist?.().catch(() => {}); // the fetch does not wait for the answer
};
export const pauseDirect = (name) => post("pause", name);
export const cancelDirect = (name) => post("cancel", name);

// removeDirect removes a model, unless a run of this tab or another uses it.
export const removeDirect = async (key) => {
  try {
    if (await llamatabStore.removeModel(key)) {
      if (worker) post("forget", key);
    } else {
      tell("hub-problem", { code: "hub_used", message: "", way: "browser", runs: await llamatabStore.usersOf(key) });
    }
  } catch (error) {
    tellProblem("E-DISK")(error);
  }
  await lookAgain();
};
