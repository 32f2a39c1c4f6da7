// Tests of the service worker (offline.js) and of what the page stores for it, in Node, with stand-ins for the browser's cache and
// network.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";
import { keepOffline } from "./host_info.js";

const origin = "https://host";
const source = readFileSync(new URL("offline.js", import.meta.url), "utf8");
const settled = () => new Promise((done) => setTimeout(done, 5));

// newCache is a cache like the browser's; added lists the names in the order in which they were stored.
function newCache(network) {
  const kept = new Map(), added = [];
  const put = async (name, answer) => { kept.set(name, answer); added.push(name); };
  const add = async (name) => {
    const answer = await network(name);
    if (!answer.ok) throw new TypeError("Request failed");
    await put(name, answer);
  };
  return { kept, added, put, add, match: async (name) => kept.get(name)?.clone() };
}

// load runs the service worker. network answers requests by their path; ask sends one and returns the answer.
function load(network) {
  const listeners = {}, cache = newCache(network);
  const scope = {
    addEventListener: (type, f) => (listeners[type] = f), caches: { open: async () => cache }, location: { origin }, Response, URL, Number, Math,
    fetch: (request) => network(new URL(request.url).pathname),
  };
  vm.runInNewContext(source, scope);
  const ask = async (path, { method = "GET", mode = "no-cors", range = null } = {}) => {
    let answer = null;
    listeners.fetch({
      request: { method, mode, url: origin + path, headers: new Headers(range ? { Range: range } : {}) },
      respondWith: (promise) => (answer = promise), waitUntil: () => {},
    });
    const got = await answer;
    await settled();
    return got;
  };
  return { ask, cache, scope };
}

test("what was fetched is answered without a network, each file on its own", async () => {
  const files = { "/": "page", "/page.js": "script", "/page.wasm": "program" };
  let reachable = true;
  const network = async (path) => {
    if (!reachable) throw new TypeError("Failed to fetch");
    return new Response(files[path], { status: path in files ? 200 : 404 });
  };
  const { ask, cache } = load(network);
  for (const path of Object.keys(files)) await ask(path, { mode: path === "/" ? "navigate" : "no-cors" });
  await ask("/none.js");
  assert.deepEqual([...cache.kept.keys()].sort(), Object.keys(files)); // a file that is not there is not stored
  reachable = false;
  assert.equal(await (await ask("/?lang=zh#studio", { mode: "navigate" })).text(), "page");
  for (const lost of Object.keys(files)) { // one file at a time is missing: only that one fails
    const old = cache.kept.get(lost);
    cache.kept.delete(lost);
    for (const path of Object.keys(files)) {
      const answer = ask(path, { mode: path === "/" ? "navigate" : "no-cors" });
      if (path === lost) await assert.rejects(answer, /Failed to fetch/);
      else assert.equal(await (await answer).text(), files[path]);
    }
    cache.kept.set(lost, old);
  }
});

test("where the server answers with an error, the stored file is taken, and the error is not stored", async () => {
  let status = 200;
  const { ask, cache, scope } = load(async () => new Response("script", { status }));
  await ask("/page.js");
  status = 503;
  assert.equal((await ask("/page.js")).status, 200);
  assert.equal((await ask("/other.js")).status, 503);
  assert.deepEqual(cache.added, ["/page.js"]);
  status = 404; // the server's word
  assert.equal((await ask("/page.js")).status, 404);
  status = 503;
  scope.caches.open = async () => { throw new Error("the storage is broken"); };
  assert.equal((await ask("/page.js")).status, 503);
});

test("jobs, rooms, fetches of a hub and what was uploaded for a room are not stored", async () => {
  const { ask, cache } = load(async () => new Response("x"));
  for (const path of ["/job/1/files/a", "/hub/fetches", "/api/rooms", "/api/rooms/a/control", "/api/models/handed:1/config.json"]) assert.equal(await ask(path), null);
  assert.equal(await ask("/page.js", { method: "POST" }), null);
  assert.deepEqual(cache.added, []);
});

test("a part of a stored file is answered, and a part beyond its end is refused", async () => {
  const network = async () => { throw new TypeError("Failed to fetch"); };
  const { ask, cache } = load(network);
  cache.kept.set("/api/models/tales/model.safetensors", new Response("0123456789"));
  for (const [range, status, text, said] of [["bytes=2-4", 206, "234", "bytes 2-4/10"], ["bytes=8-99", 206, "89", "bytes 8-9/10"], ["bytes=10-12", 416, "", "bytes */10"]]) {
    const answer = await ask("/api/models/tales/model.safetensors", { range });
    assert.deepEqual([answer.status, await answer.text(), answer.headers.get("Content-Range")], [status, text, said]);
  }
});

// keep runs keepOffline for a page that has fetched the paths.
async function keep(cache, fetched) {
  const before = { navigator: Object.getOwnPropertyDescriptor(globalThis, "navigator"), performance: Object.getOwnPropertyDescriptor(globalThis, "performance") };
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { serviceWorker: { register: async () => {} } } });
  Object.defineProperty(globalThis, "performance", { configurable: true, value: { getEntriesByType: () => fetched.map((path) => ({ name: origin + path })) } });
  Object.assign(globalThis, { caches: { open: async () => cache }, location: { origin } });
  try {
    await keepOffline();
  } finally {
    for (const [name, was] of Object.entries(before)) Object.defineProperty(globalThis, name, was);
    delete globalThis.caches;
    delete globalThis.location;
  }
}

test("the page itself is stored last, and never without its files", async () => {
  let lost = null;
  const cache = newCache(async (path) => {
    await settled();
    if (path === lost) throw new TypeError("Failed to fetch");
    return new Response(path, { status: path === "/api/recipes" ? 404 : 200 });
  });
  const fetched = ["/page.js", "/page.css", "/page.js", "/api/models", "/api/recipes", "/api/rooms", "/hub/fetches", "/offline.js"];
  const own = ["/_md.js", "/_u64.js", "/checksum.js", "/client-zip.js", "/engine.wasm", "/hub_download.js", "/hub_fetches.js", "/hub_files.js",
    "/hub_name.js", "/hub_net.js", "/hub_problem.js", "/hub_worker.js", "/legacy.js", "/page.css", "/page.js",
    "/replay.js", "/sha2.js", "/utils.js", "/worker.js"];
  for (lost of own) {
    await assert.rejects(keep(cache, fetched));
    await settled();
    assert.equal(cache.kept.has("/"), false, "without " + lost);
    cache.kept.clear();
  }
  lost = null;
  await keep(cache, fetched);
  assert.deepEqual([...cache.kept.keys()].sort(), ["/", "/api/models", ...own].sort());
  assert.equal(cache.added.at(-1), "/");
});

test("a later visit stores what the store lacks, and nothing twice", async () => {
  const cache = newCache(async (path) => new Response(path));
  await keep(cache, ["/page.js"]);
  cache.kept.delete("/client-zip.js");
  cache.added.length = 0;
  await keep(cache, ["/page.js"]);
  assert.deepEqual(cache.added, ["/client-zip.js"]);
});
