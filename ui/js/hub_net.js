// Requests of this browser to a hub, and what to do where one fails. server/hub/client.go does the same for the server.
//
// A request has no header that a browser asks permission for first, as the hosts of the hub's large files answer no such question.
// Range is allowed where it names one range; If-Range is not, so the ETag of the answer is compared instead. Cookies and the
// address of this page are not sent.

import { nameText } from "./hub_name.js";
import { fail, HubProblem } from "./hub_problem.js";

const maxTries = 8; // in a row without a byte
const triesOfLists = 4;
const maxReconnects = 1000; // of one file: bytes come, but the connection is cut again and again
const longestWait = 5 * 60_000; // milliseconds that a hub may ask for

// ofBrowser is what requests need of the browser; tests have their own.
export const ofBrowser = () => ({
  fetch: (url, options) => fetch(url, options),
  now: () => performance.now(),
  random: Math.random,
  stall: 30_000, // milliseconds without a byte after which a request is given up
  silence: 8_000, // after which the person is told
  patience: 3_000, // to wait for another tab to let a repository go
  online: () => navigator.onLine !== false,
  sleep: (ms, signal) => settled(signal, (done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  }),
  whenOnline: (signal) => settled(signal, (done) => {
    addEventListener("online", done);
    return () => removeEventListener("online", done);
  }),
});

// settled waits until done is called, or rejects when the signal aborts. begin returns what ends the waiting.
const settled = (signal, begin) => new Promise((done, failed) => {
  if (signal.aborted) return failed(signal.reason);
  const stop = () => { end(); failed(signal.reason); };
  const end = begin(() => { signal.removeEventListener("abort", stop); end(); done(); });
  signal.addEventListener("abort", stop, { once: true });
});

// retryAfter is the time that an answer asks to wait in milliseconds, 0 where it does not say or the browser may not read it.
const retryAfter = (response) => {
  const text = response.headers.get("Retry-After") ?? "";
  if (/^\d+$/.test(text)) return Math.min(Number(text), 1e6) * 1000;
  return Math.max(Date.parse(text) - Date.now(), 0) || 0;
};

// Hub asks the hub at an endpoint for one model. signal ends its requests. tell is called with what the person should know while
// nothing comes: a problem, with again seconds until the next try, or null as soon as it goes on.
export class Hub {
  constructor(net, endpoint, name, signal, tell) {
    Object.assign(this, { net, endpoint: endpoint.replace(/\/+$/, ""), name, signal, tell });
    this.host = new URL(this.endpoint).host;
  }

  listAddress() { return `${this.endpoint}/api/models/${this.name.repo}/revision/${encodeURIComponent(this.name.revision)}?blobs=true`; }
  fileAddress(list, path) { return `${this.endpoint}/${list.repo}/resolve/${list.commit}/${path.split("/").map(encodeURIComponent).join("/")}`; }

  // request asks for an address, with from for its bytes from there on: {response, read, close}. read returns the next bytes, null at
  // the end.
  async request(address, from) {
    const { net, signal } = this, own = new AbortController(), stop = () => own.abort(signal.reason);
    signal.throwIfAborted();
    signal.addEventListener("abort", stop);
    const close = () => { signal.removeEventListener("abort", stop); own.abort(); };
    // within fails where nothing happens for too long. describe makes a problem of the browser's error.
    const within = async (work, describe) => {
      let silent = false, timers = [];
      const stalled = new Promise((_, failed) => {
        timers = [setTimeout(() => { silent = true; this.tell({ code: "hub_stalled", message: `no bytes have come from ${this.host} for ${net.silence / 1000} s` }); }, net.silence),
          setTimeout(() => failed(new HubProblem("hub_stalled", `no bytes have come from ${this.host} for ${net.stall / 1000} s`, { again: true, next: "check the network, then go on" })), net.stall)];
      });
      try {
        return await Promise.race([work, stalled]);
      } catch (error) {
        work.catch(() => {}); // it may fail later, too
        close();
        signal.throwIfAborted();
        throw error instanceof HubProblem ? error : describe(error);
      } finally {
        for (const timer of timers) clearTimeout(timer);
        if (silent) this.tell(null);
      }
    };
    const headers = from === undefined ? {} : { Range: `bytes=${from}-` }; // also from 0: the browser then asks for the bytes as they are, not packed
    const response = await within(net.fetch(address, { headers, mode: "cors", credentials: "omit", referrerPolicy: "no-referrer", cache: "no-store", signal: own.signal }), (error) => this.unreachable(error));
    const reader = response.body?.getReader();
    const read = async () => {
      const { done, value } = reader ? await within(reader.read(), () => this.cut()) : { done: true };
      return done ? null : value;
    };
    return { response, close, read };
  }

  unreachable(error) {
    return new HubProblem("hub_unreachable", `${this.host} cannot be reached from this page: ${error?.message ?? error}`, { again: true, next: "check the network; the hub must also allow pages of other sites to read from it (CORS)" });
  }

  cut() { return new HubProblem("hub_unreachable", `the connection to ${this.host} was cut`, { again: true, next: "check the network, then go on" }); }

  // small fetches all bytes of an address, at most limit, as text.
  small(address, limit) {
    return this.retry(triesOfLists, async () => {
      const { response, read, close } = await this.request(address);
      try {
        if (response.status !== 200) this.refuse(response);
        const parts = [];
        let length = 0;
        for (let bytes; (bytes = await read());) {
          parts.push(bytes);
          if ((length += bytes.length) > limit) fail("hub_broken", `${this.host} answers with more than ${limit} bytes for ${nameText(this.name)}`);
        }
        return await new Blob(parts).text();
      } finally {
        close();
      }
    });
  }

  // refuse reports an answer that is no success.
  refuse(response) {
    const { status, headers } = response, code = headers.get("X-Error-Code") ?? "", { name, host } = this, text = nameText(name), page = `${this.endpoint}/${name.repo}`;
    if (code === "GatedRepo") fail("hub_gated", `${text} is a gated model, and this page sends no access token`, { next: `open ${page} and accept its conditions` });
    if (code === "RevisionNotFound") fail("hub_no_revision", `${name.repo} has no revision ${name.revision}`, { next: `look at its branches and tags at ${page}/tree/main` });
    if (code === "EntryNotFound") fail("hub_broken", `a file of ${text} is not there any more`, { next: "fetch it again: the repository may have changed" });
    if (code === "RepoNotFound" || status === 404 || status === 401) fail("hub_not_found", `there is no model ${name.repo} at ${host}, or it is private`, { next: "check the spelling" });
    if (status === 403) fail("hub_gated", `${host} does not let ${text} be read`, { next: `open ${page} and accept its conditions, if it has any` });
    const later = { again: true, wait: retryAfter(response) };
    if (status === 429) fail("hub_busy", `${host} has had too many requests from this address`, later);
    fail("hub_broken", `${host} answers with status ${status} for ${text}`, status >= 500 || status === 408 ? later : {});
  }

  // waitAfter waits before the next try, after a number of failed ones.
  async waitAfter(failed, problem) {
    const { net, signal } = this;
    if (!net.online()) {
      this.tell({ code: "hub_no_network", message: "this browser has no network" });
      await net.whenOnline(signal);
      return this.tell(null);
    }
    if (problem.wait > longestWait) {
      problem.message += `, and asks to wait ${Math.round(problem.wait / 1000)} s`;
      throw problem;
    }
    const wait = Math.max(Math.min(1000 * 2 ** (failed - 1), 30_000) * (1 + net.random() / 4), problem.wait);
    this.tell({ ...problem.plain(), again: Math.round(wait / 1000) });
    await net.sleep(wait, signal);
    this.tell(null);
  }

  // retry repeats work that fails in a way that may pass.
  async retry(tries, work) {
    for (let failed = 1; ; failed++) {
      try {
        return await work();
      } catch (problem) {
        if (!problem.again || failed === tries) throw problem;
        await this.waitAfter(failed, problem);
      }
    }
  }

  // untilWhole repeats the fetching of a file until it ends without a problem. work notes in progress.there how many bytes are
  // there: the tries count anew when bytes have come.
  async untilWhole(work) {
    let longest = -1, failed = 0;
    for (let tries = 0; ; tries++) {
      const progress = { there: 0 };
      try {
        await work(progress);
        return;
      } catch (problem) {
        if (!problem.again) throw problem;
        if (progress.there > longest) [longest, failed] = [progress.there, 0];
        if (++failed >= maxTries || tries >= maxReconnects) throw problem;
        await this.waitAfter(failed, problem);
      }
    }
  }
}
