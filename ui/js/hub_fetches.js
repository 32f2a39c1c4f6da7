// The models that this browser fetches from a hub: which are under way, how far they are, and what stops them. It runs in a worker;
// server/library/fetches.go does the same for the server.

import { Download, folderOf } from "./hub_download.js";
import { nameText, parseName } from "./hub_name.js";
import { Hub } from "./hub_net.js";
import { HubProblem } from "./hub_problem.js";

const maxFetching = 4; // models at the same time
const measuredOver = 10_000; // milliseconds over which the speed is measured
const tellEvery = 500; // milliseconds

// speedOf measures bytes per second over the last seconds. readings are {at, came}.
export const speedOf = (readings) => {
  const first = readings[0], last = readings.at(-1);
  return readings.length < 2 ? 0 : Math.max(last.came - first.came, 0) / ((last.at - first.at) / 1000);
};

// lockName is held by the worker that fetches something of a repository, so that two tabs never write one file.
export const lockName = (repo) => "llamatab-fetch-" + repo.toLowerCase();

export class Fetches {
  // post is called with {fetches, began, problem, changed}: the fetches of this worker and, where they are not undefined, the name
  // of the fetch that has begun, a problem, and whether models have come or gone.
  constructor({ disk, net, locks, checksumOf, post }) {
    Object.assign(this, { disk, net, locks, checksumOf, post, known: new Map(), told: 0, timer: 0 });
  }

  // state are the fetches as Go gets them.
  state() {
    return [...this.known.values()].map((f) => ({
      name: f.name, state: f.state, done: f.download?.done ?? 0, total: f.download?.total ?? 0, rate: f.stop ? speedOf(f.readings) : 0,
      checking: f.stop !== null && f.download?.checking > 0, trouble: f.trouble, again: f.trouble?.again ?? 0, model: f.model, problem: f.problem,
    }));
  }

  say(about = {}) {
    clearTimeout(this.timer);
    this.timer = 0;
    this.post({ fetches: this.state(), ...about });
  }

  // sayLater says the state soon, however often it changes.
  sayLater() { this.timer ||= setTimeout(() => this.say(), tellEvery); }

  // begin begins a fetch, or goes on with one. text is a name or an address, endpoint the hub's.
  async begin(text, endpoint) {
    let name;
    try {
      name = parseName(text, endpoint);
    } catch (problem) {
      return this.say({ problem: problem.plain() });
    }
    const key = nameText(name), old = this.known.get(key);
    if (old?.stop) return this.say({ began: key });
    if ([...this.known.values()].filter((f) => f.stop).length >= maxFetching) {
      return this.say({ problem: new HubProblem("hub_many", "other models are being fetched", { next: "wait until one is there, or pause it" }).plain() });
    }
    const fetching = { name: key, state: "fetching", stop: new AbortController(), readings: [], trouble: null, problem: null, model: "", download: null };
    this.known.set(key, fetching);
    fetching.ended = this.run(fetching, name, endpoint);
    this.say({ began: key });
    return fetching.ended;
  }

  // run fetches a model to its end. The repository's lock keeps other tabs away.
  async run(fetching, name, endpoint) {
    const { signal } = fetching.stop;
    let error = null;
    try {
      fetching.model = await this.alone(name.repo, () => {
        const hub = new Hub(this.net, endpoint, name, signal, (trouble) => { fetching.trouble = trouble; this.sayLater(); });
        fetching.download = new Download(hub, this.disk, this.checksumOf, () => this.measure(fetching), (reason) => fetching.stop?.abort(reason));
        return fetching.download.run();
      });
    } catch (e) {
      error = e;
    }
    const paused = signal.aborted && signal.reason === halted;
    Object.assign(fetching, { stop: null, trouble: null, state: !error ? "fetched" : paused ? "paused" : "failed" });
    if (error && !paused) fetching.problem = error instanceof HubProblem ? error.plain() : { code: "storage", message: String(error?.message ?? error), next: "" };
    this.say({ changed: !error });
  }

  // alone works while no other fetch of the repository does, in this tab or another. One that is just ending is waited for.
  alone(repo, work) {
    return this.locks.request(lockName(repo), { signal: AbortSignal.timeout(this.net.patience) }, work).catch((error) => {
      throw error?.name === "TimeoutError" ? new HubProblem("hub_elsewhere", `${repo} is being fetched already, perhaps by another tab`) : error;
    });
  }

  measure(fetching) {
    const at = this.net.now(), { readings, download } = fetching;
    if (readings.length && at - readings.at(-1).at < measuredOver / 100) return;
    readings.push({ at, came: download.came });
    while (readings.length > 2 && at - readings[0].at > measuredOver) readings.shift();
    this.sayLater();
  }

  // pause ends a fetch, and keeps what has come.
  async pause(name) {
    const fetching = this.known.get(name);
    fetching?.stop?.abort(halted);
    await fetching?.ended;
  }

  // cancel ends a fetch, forgets it and removes what has come. A model that is complete stays.
  async cancel(name, endpoint) {
    await this.pause(name);
    this.known.delete(name);
    const { repo, revision } = parseName(name, endpoint);
    await this.alone(repo, async () => {
      for (const m of await this.disk.models()) {
        if (!m.complete && m.about.repo.toLowerCase() === repo.toLowerCase() && m.about.revision === revision) await this.disk.remove(folderOf(m.key));
      }
    }).catch((problem) => this.say({ problem: problem.plain?.() ?? { code: "storage", message: String(problem), next: "" } }));
    this.say({ changed: true });
  }

  // forget drops a fetch whose model has been removed, so that it is not said to be there.
  forget(key) {
    for (const [name, f] of this.known) if (f.model === key && !f.stop) this.known.delete(name);
    this.say({ changed: true });
  }
}

const halted = new DOMException("paused", "AbortError");
