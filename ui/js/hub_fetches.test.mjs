// The whole of a fetch in Node: the fetches of a worker over a stand-in for the hub and one for the browser's storage.
import assert from "node:assert/strict";
import test from "node:test";
import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { checksums } from "./checksum.js";
import { fakeStore } from "../../wasm/engine/fake_storage.mjs";
import { endpoint, FakeHub, weights } from "./fake_hub.mjs";
import { keyOf } from "./hub_download.js";
import { Fetches, lockName, speedOf } from "./hub_fetches.js";

const model = () => ({
  "config.json": `{"model_type": "llama"}`, "tokenizer.json": `{"a": 1}`, "chat_template.jinja": "{{ x }}", "additional_chat_templates/tools.jinja": "{{ y }}",
  "model.safetensors": weights(300_000), LICENSE: "free", "README.md": "about", "pytorch_model.bin": "pickle", "merges.txt": "",
});
const needed = ["LICENSE", "additional_chat_templates/tools.jinja", "chat_template.jinja", "config.json", "merges.txt", "model.safetensors", "tokenizer.json"];
const total = Object.entries(model()).filter(([name]) => needed.includes(name)).reduce((n, [, content]) => n + content.length, 0);

// setup is a worker that can fetch the model org/name. waits are the times that it has waited, in milliseconds, without waiting.
const setup = (files = model(), disk = fakeStore()) => {
  const hub = new FakeHub("org/name", files), waits = [], said = [], network = { on: true, nap: 1, return: () => {} };
  const net = {
    fetch: hub.fetch, now: () => performance.now(), random: () => 0, stall: 60_000, silence: 30_000, patience: 100,
    sleep: async (ms, signal) => { waits.push(ms); await new Promise((done) => setTimeout(done, network.nap)); signal.throwIfAborted(); },
    online: () => network.on, whenOnline: () => new Promise((done) => { network.return = () => { network.on = true; done(); }; }),
  };
  const worker = new Fetches({ disk: disk.store, net, locks: disk.locks, checksumOf: checksums({ sha256, sha1 }), post: (m) => said.push(JSON.parse(JSON.stringify(m))) });
  const last = () => said.at(-1).fetches[0];
  const impatient = () => Object.assign(net, { stall: 200, silence: 50 });
  return { ...disk, hub, worker, impatient, waits, said, network, last, begin: (name = "org/name") => worker.begin(name, endpoint), disk };
};

// wantWhole checks that the storage has the files that are needed, with their bytes, and counts them.
const wantWhole = async ({ store, hub }, names = needed) => {
  const key = keyOf({ repo: hub.repo, commit: hub.commit }), found = [...(await store.complete("models/" + key))].filter((f) => f.path !== ".model.json");
  assert.deepEqual(found.map((f) => f.path).sort(), names);
  for (const { path } of found) assert.deepEqual(new Uint8Array(await (await store.get(`models/${key}/${path}`)).arrayBuffer()), hub.files.get(path), path);
};

test("a model comes with the files that it needs and no others, and asks the hub for nothing that a browser must get permission for", async () => {
  const s = setup();
  await s.begin("https://huggingface.co/org/name/tree/main");
  assert.deepEqual([s.last().state, s.last().done, s.last().total, s.last().model], ["fetched", total, total, `org--name@${s.hub.commit}`]);
  await wantWhole(s);
  assert.ok(s.hub.requests.every((r) => r.names.join() === (r.url.includes("/api/") ? "" : "Range")), JSON.stringify(s.hub.requests));
  assert.ok(s.hub.requests.every((r) => !/README|pytorch|merges/.test(r.url)), "a file that is not needed, or is empty, was asked for");
  assert.deepEqual(s.said.flatMap((m) => m.began ?? []), ["org/name"]);
  assert.equal(s.said.at(-1).changed, true);
  const [{ key, complete, about }] = await s.store.models();
  assert.deepEqual([key, complete, about.repo, about.revision, about.commit, about.endpoint], [`org--name@${s.hub.commit}`, true, "org/name", "main", s.hub.commit, endpoint]);
  assert.deepEqual([...(await s.store.modelFiles(key))].map((f) => f.path).sort(), needed);
  const asked = s.hub.requests.length;
  await s.begin();
  assert.equal(s.hub.requests.length, asked + 1, "a model that is there is fetched again");
  assert.equal(s.last().state, "fetched");
});

test("a sharded model comes by its index", async () => {
  const shards = { "config.json": "{}", "model.safetensors.index.json": `{"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors"}}`, "model-1.safetensors": weights(1000), "model-2.safetensors": weights(2000), "model-3.safetensors": weights(9) };
  const s = setup(shards);
  await s.begin();
  await wantWhole(s, ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"]);
});

// Each case has faults, and what is said of them on the way; problem is the code with which the fetch ends, none for success.
const cases = {
  "cut connections": { faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", cut: 50_000, times: 3 }], trouble: "hub_unreachable" },
  "a cut small file": { faults: [{ path: "config.json", cut: 2 }], trouble: "hub_unreachable" },
  "cut connections, where pages may not read the headers": { hidden: true, faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", cut: 50_000 }], trouble: "hub_unreachable" },
  "a stall": { faults: [{ path: "model.safe", stall: 70_000 }], trouble: "hub_stalled" },
  "a stall for ever": { faults: [{ path: "model.safe", stall: 0, times: 99 }], problem: "hub_stalled" },
  "an answer that does not come": { faults: [{ path: "/api/models", unreachable: true, times: 2 }], trouble: "hub_unreachable" },
  "a hub that cannot be reached": { faults: [{ unreachable: true, times: 99 }], problem: "hub_unreachable", says: "CORS" },
  "wrong bytes once": { faults: [{ path: "model.safe", flip: true }] },
  "wrong bytes always": { faults: [{ path: "model.safe", flip: true, times: 9 }], problem: "hub_damaged" },
  "a wrong small file always": { faults: [{ path: "config.json", flip: true, times: 9 }], problem: "hub_damaged" },
  "no ranges after a cut": { faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", noRange: true }], trouble: "hub_unreachable" },
  "another range after a cut": { faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", shift: true }], trouble: "hub_broken" },
  "another range after a cut, where pages may not read the headers": { hidden: true, faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", shift: true }], trouble: "hub_broken" },
  "another ETag after a cut": { faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", etag: "other" }], trouble: "hub_broken" },
  "416 after a cut": { faults: [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", status: 416 }], trouble: "hub_broken" },
  "more bytes than the list says": { faults: [{ path: "model.safe", noRange: true, longer: true }], problem: "hub_broken", says: "more bytes" },
  "a portal": { faults: [{ path: "model.safe", page: "<html>please log in</html>" }], problem: "hub_broken", says: "in its place" },
  "a portal for the list": { faults: [{ path: "/api/models", page: "<html>please log in</html>" }], problem: "hub_broken", says: "makes no sense" },
  "429": { faults: [{ path: "/resolve/", status: 429, headers: { "Retry-After": "77" } }], trouble: "hub_busy", wait: 77_000 },
  "429 for an hour": { faults: [{ path: "/resolve/", status: 429, headers: { "Retry-After": "3600" } }], problem: "hub_busy", says: "asks to wait 3600 s" },
  "500 always": { faults: [{ path: "model.safe", status: 500, times: 99 }], problem: "hub_broken", says: "status 500" },
  "502 and 504": { faults: [{ path: "model.safe", status: 502 }, { path: "/api/models", status: 504 }], trouble: "hub_broken" },
  "a gated model": { faults: [{ path: "/resolve/", status: 401, headers: { "X-Error-Code": "GatedRepo" }, times: 9 }], problem: "hub_gated", says: "accept its conditions" },
  "403": { faults: [{ path: "/resolve/", status: 403, times: 9 }], problem: "hub_gated" },
  "a file that is gone": { faults: [{ path: "/resolve/", status: 404, headers: { "X-Error-Code": "EntryNotFound" }, times: 9 }], problem: "hub_broken", says: "not there any more" },
  "another repository": { name: "org/absent", problem: "hub_not_found" },
  "another revision": { name: "org/name@v9", problem: "hub_no_revision" },
  "no name": { name: "name", refused: "hub_name" },
  "another host": { name: "https://evil.example/org/name", refused: "hub_name" },
};
for (const [what, { faults = [], hidden = false, name, trouble, wait = 0, problem, says = "", refused }] of Object.entries(cases)) {
  test(`after a fault the model is right, or a problem says why it is not: ${what}`, async () => {
    const s = setup();
    Object.assign(s.hub, { faults, hidden });
    if (faults.some((f) => "stall" in f)) s.impatient();
    await s.begin(name);
    if (refused) return assert.deepEqual([s.said.at(-1).problem.code, s.said.at(-1).fetches, s.hub.requests], [refused, [], []]);
    const { state, problem: found } = s.last();
    assert.equal(found?.code, problem, JSON.stringify(found));
    if (problem) {
      assert.ok((found.message + found.next).includes(says), found.message + found.next);
      assert.equal(state, "failed");
      assert.ok((await s.store.models()).every((m) => !m.complete));
      return;
    }
    await wantWhole(s);
    assert.ok(s.waits.every((w) => w >= 1000) && (!wait || s.waits.includes(wait)), `it waits ${s.waits}`);
    assert.equal(s.waits.length > 0, trouble !== undefined);
  });
}

test("what has come stays after a cut for ever and after a reload, and is not asked for again", async () => {
  const s = setup();
  s.hub.faults = [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", unreachable: true, times: 99 }];
  await s.begin();
  assert.deepEqual([s.last().state, s.last().problem.code], ["failed", "hub_unreachable"]);
  const [{ complete, bytes }] = await s.store.models();
  assert.equal(complete, false);
  assert.ok(bytes >= 100_000 && bytes < 300_000, `${bytes} bytes are there`);
  const again = setup(model(), s.disk);
  await again.begin();
  await wantWhole(again);
  assert.deepEqual(again.hub.requests.filter((r) => r.url.includes("model.safe")).map((r) => r.range), ["bytes=100000-"]);
});

test("bytes that a crash has spoilt are fetched again", async () => {
  const s = setup();
  s.hub.faults = [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", unreachable: true, times: 99 }];
  await s.begin();
  const key = keyOf(s.hub), handle = await s.store.access(`models/${key}/model.safetensors`);
  handle.write(new Uint8Array(50), { at: 99_000 });
  const again = setup(model(), s.disk);
  await again.begin();
  await wantWhole(again);
});

test("a fetch is paused and goes on; cancelled, it leaves nothing", async () => {
  const s = setup();
  s.hub.faults = [{ path: "model.safe", stall: 100_000 }, { path: "model.safe", stall: 50_000 }];
  const waitFor = async (condition) => { while (!condition()) await new Promise((done) => setTimeout(done, 5)); };
  const arrived = (bytes) => waitFor(() => s.worker.state()[0]?.done >= bytes);
  s.begin();
  await arrived(100_000);
  await s.worker.pause("org/name");
  assert.deepEqual([s.last().state, s.last().problem, s.last().rate], ["paused", null, 0]);
  s.begin();
  await arrived(150_000);
  await s.worker.cancel("org/name", endpoint);
  assert.deepEqual([s.said.at(-1).fetches, await s.store.models()].map((list) => list.length), [0, 0]);
  await s.begin();
  await wantWhole(s);
  await s.worker.cancel("org/name", endpoint);
  await wantWhole(s); // a model that is there is removed by its own button
});

test("the person hears of silence, and when it goes on", async () => {
  const s = setup();
  s.hub.faults = [{ path: "model.safe", stall: 100_000 }];
  s.network.nap = 100;
  s.impatient();
  const fetching = s.begin(), heard = [];
  const timer = setInterval(() => { const { trouble } = s.worker.state()[0]; heard.push(trouble?.code ?? "", trouble?.again ?? ""); }, 2);
  await fetching;
  clearInterval(timer);
  assert.ok(heard.includes("hub_stalled") && heard.includes(1), heard.join());
  assert.equal(s.worker.state()[0].trouble, null);
});

test("without a network nothing is tried until there is one", async () => {
  const s = setup();
  s.hub.faults = [{ path: "/api/models", unreachable: true, times: 1 }];
  s.network.on = false;
  const fetching = s.begin();
  while (s.worker.state()[0].trouble?.code !== "hub_no_network") await new Promise((done) => setTimeout(done, 1));
  assert.equal(s.hub.requests.length, 1);
  s.network.return();
  await fetching;
  await wantWhole(s);
  assert.deepEqual(s.waits, []);
});

test("full storage is named with what is free, before the fetch and in it", async () => {
  const s = setup();
  s.estimate.usage = s.estimate.quota - 1000;
  await s.begin();
  assert.deepEqual([s.last().problem.code, s.last().problem.needed, s.last().problem.free], ["hub_disk", total, 1000]);
  assert.ok(s.hub.requests.every((r) => !r.url.includes("/resolve/")));
  s.estimate.usage = 0;
  s.disk.disk.free = 5000; // of each write
  await s.begin();
  assert.deepEqual([s.last().state, s.last().problem.code, s.last().problem.free], ["failed", "hub_disk", 1e9]);
  s.disk.disk.free = Infinity;
  await s.begin();
  await wantWhole(s);
});

test("two tabs do not fetch one model at the same time", async () => {
  const s = setup();
  s.held.push(lockName("ORG/name"));
  const alive = setInterval(() => {}, 1000); // the timer of the patience does not keep Node alive
  await s.begin();
  clearInterval(alive);
  assert.deepEqual([s.last().problem.code, s.hub.requests.length], ["hub_elsewhere", 0]);
  s.held.pop();
  await s.begin();
  await wantWhole(s);
});

test("a revision that has moved on leaves nothing of the commit that was not whole", async () => {
  const s = setup();
  s.hub.faults = [{ path: "model.safe", cut: 100_000 }, { path: "model.safe", unreachable: true, times: 99 }];
  await s.begin();
  const moved = setup({ ...model(), "config.json": "{}" }, s.disk);
  moved.hub.commit = "f".repeat(40);
  await moved.begin();
  await wantWhole(moved);
  assert.deepEqual([...(await s.store.models())].map((m) => m.key), [`org--name@${"f".repeat(40)}`]);
});

test("four models come at a time, and a fifth is refused", async () => {
  const s = setup();
  s.hub.faults = [{ path: "/api/models", page: "", times: 0 }];
  s.hub.fetch = s.worker.net.fetch = (_, { signal }) => new Promise((_, failed) => signal.addEventListener("abort", () => failed(signal.reason)));
  const names = ["a/1", "a/2", "a/3", "a/4"], going = names.map((name) => s.begin(name));
  await s.begin("a/5");
  assert.equal(s.said.at(-1).problem.code, "hub_many");
  for (const name of names) await s.worker.pause(name);
  await Promise.all(going);
  assert.ok(s.worker.state().every((f) => f.state === "paused"));
});

test("a removed model is not said to be there", async () => {
  const s = setup();
  await s.begin();
  const [{ key }] = await s.store.models();
  const release = await s.store.useModel(key);
  assert.equal(await s.store.removeModel(key), false);
  release();
  await new Promise((done) => setTimeout(done, 1));
  assert.equal(await s.store.removeModel(key), true);
  s.worker.forget(key);
  assert.deepEqual([s.last(), (await s.store.models()).length], [undefined, 0]);
});

test("the speed is that of the last seconds", () => {
  assert.equal(speedOf([]), 0);
  assert.equal(speedOf([{ at: 0, came: 5 }]), 0);
  assert.equal(speedOf([{ at: 1000, came: 500 }, { at: 2000, came: 700 }, { at: 3000, came: 2500 }]), 1000);
});
