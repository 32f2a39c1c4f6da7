// Tests of store.js in Node, over a stand-in for the origin private file system.
import assert from "node:assert/strict";
import test from "node:test";
import { fakeStore as setup } from "./fake_storage.mjs";

const bytes = (text) => new TextEncoder().encode(text);
const read = async (store, path) => (await store.get(path)).text();
// plain makes values of another context comparable.
const plain = (value) => JSON.parse(JSON.stringify(value));
// newRun writes what a run that has begun has.
const newRun = (store, id, created, inputs) => store.put(`runs/${id}/meta.json`, JSON.stringify({ id, created, inputs }));
const commitCheckpoint = async (store, id, step) => {
  await store.put(`runs/${id}/checkpoint-${step}/state.json`, `{"step": ${step}}`);
  await store.commit(`runs/${id}/checkpoint-${step}`);
};

test("a folder counts only when it was committed and none of its files was cut", async () => {
  const { store } = setup();
  await store.put("runs/a/adapter/weights", "12345");
  await store.put("runs/a/adapter/deep/config", "{}");
  assert.equal(await store.complete("runs/a/adapter"), null);
  assert.deepEqual(plain(await store.commit("runs/a/adapter")), [{ path: "weights", size: 5 }, { path: "deep/config", size: 2 }]);
  assert.equal((await store.complete("runs/a/adapter")).length, 2);
  assert.deepEqual(plain((await store.files("a", "adapter")).map((f) => f.path)), ["weights", "deep/config"]);
  await store.put("runs/a/adapter/weights", "123");
  assert.equal(await store.complete("runs/a/adapter"), null);
  assert.deepEqual(plain(await store.files("a", "adapter")), []);
});

test("the newest complete checkpoint counts, by its number", async () => {
  const { store } = setup();
  await commitCheckpoint(store, "a", 9);
  await commitCheckpoint(store, "a", 10);
  await store.put("runs/a/checkpoint-11/state.json", "{}"); // the tab died before the commit
  assert.deepEqual(plain(await store.checkpoint("a")), { name: "checkpoint-10", step: 10 });
  await store.keepCheckpoint("a", 9);
  assert.deepEqual(plain(await store.checkpoint("a")), { name: "checkpoint-9", step: 9 });
  await store.keepCheckpoint("a", 0);
  assert.equal(await store.checkpoint("a"), null);
});

test("a checkpoint that is given up is not read again, and the one before it counts", async () => {
  const { store } = setup();
  await newRun(store, "a", "2026-01-01");
  await commitCheckpoint(store, "a", 9);
  await commitCheckpoint(store, "a", 10);
  await store.giveUp("runs/a/checkpoint-10");
  assert.deepEqual(plain(await store.checkpoint("a")), { name: "checkpoint-9", step: 9 });
  assert.deepEqual(plain(await store.files("a", "checkpoint-10")), []);
  assert.deepEqual(plain((await store.files("a", "")).map((f) => f.path)), ["meta.json", "checkpoint-9/state.json"]);
  await store.giveUp("runs/a/checkpoint-10"); // once more changes nothing
});

test("lines are cut back to a step, and a torn last line is dropped", async () => {
  const { store } = setup();
  await store.put("runs/a/metrics.jsonl", '{"step":1}\n{"step":2}\n{"step":3}\n{"st');
  const file = await store.lines("runs/a/metrics.jsonl", () => true);
  assert.equal(await read(store, "runs/a/metrics.jsonl"), '{"step":1}\n{"step":2}\n{"step":3}\n');
  file.cut((line) => line.step <= 1);
  file.add(bytes('{"step":2,"again":true}\n'));
  assert.equal(await read(store, "runs/a/metrics.jsonl"), '{"step":1}\n{"step":2,"again":true}\n');
});

test("a line that finds no room leaves nothing of itself", async () => {
  const { store, disk } = setup();
  const file = await store.lines("runs/a/metrics.jsonl", () => true);
  file.add(bytes('{"step":1}\n'));
  disk.free = 4;
  assert.throws(() => file.add(bytes('{"step":2}\n')), { name: "QuotaExceededError" });
  assert.equal(await read(store, "runs/a/metrics.jsonl"), '{"step":1}\n');
});

test("the list has each run's last whole line, newest run first, and drops what never began", async () => {
  const { store, held } = setup();
  await newRun(store, "old", "2026-01-01");
  await store.put("runs/old/metrics.jsonl", '{"step":1,"loss":2}\n{"step":2,"loss":1.5}\n{"step":3');
  await commitCheckpoint(store, "old", 2);
  await newRun(store, "new", "2026-01-02");
  await store.put("runs/new/state.json", '{"stage": "do'); // torn
  await store.put("runs/dead/run.json", "{}");
  await store.put("runs/starting/run.json", "{}");
  held.push("llamatab-run-starting");
  const list = plain(await store.list());
  assert.deepEqual(list.map(({ id, step, loss, checkpoint, state }) => ({ id, step, loss, checkpoint, state })), [
    { id: "new", step: 0, loss: null, checkpoint: 0, state: null },
    { id: "old", step: 2, loss: 1.5, checkpoint: 2, state: null },
  ]);
  assert.equal(await store.json("runs/dead/run.json"), null);
  assert.deepEqual(plain(await store.json("runs/starting/run.json")), {});
});

test("inputs go with the last run that was made from them", async () => {
  const { store } = setup();
  const inputs = { model: { from: "kept", key: "k" } };
  assert.equal(await store.keepInputs("k", [new File(["weights"], "model.safetensors")]), true);
  await newRun(store, "a", "2026-01-01", inputs);
  await newRun(store, "b", "2026-01-02", inputs);
  await store.removeRun("a");
  assert.deepEqual(plain((await store.inputs("k")).map((f) => f.path)), ["model.safetensors"]);
  await store.removeRun("b");
  assert.equal(await store.inputs("k"), null);
});

test("an input in a folder keeps its folder", async () => {
  const { store } = setup();
  const file = new File(["{{ documents }}"], "rag.jinja");
  assert.equal(await store.keepInputs("k", [new File(["{}"], "config.json"), { name: "additional_chat_templates/rag.jinja", size: file.size, file }]), true);
  const kept = await store.inputs("k");
  assert.deepEqual(plain(kept.map((f) => f.path)).sort(), ["additional_chat_templates/rag.jinja", "config.json"]);
});

test("inputs are copied only into half of the room that is left", async () => {
  const { store, estimate } = setup();
  estimate.quota = 13;
  assert.equal(await store.keepInputs("k", [new File(["1234567"], "data.txt")]), false);
  estimate.quota = 14;
  assert.equal(await store.keepInputs("k", [new File(["1234567"], "data.txt")]), true);
});

test("only runs that are not running are pruned, the oldest first", async () => {
  const { store, held } = setup();
  for (let i = 10; i < 43; i++) await newRun(store, "r" + i, "2026-01-" + i);
  held.push("llamatab-run-r10");
  await store.prune();
  const left = (await store.list()).map((r) => r.id);
  assert.equal(left.length, 31);
  assert.ok(left.includes("r10") && left.includes("r42"));
  assert.ok(!left.includes("r11") && !left.includes("r12") && left.includes("r13"));
});

test("a run belongs to one tab until it is released", async () => {
  const { store } = setup();
  const first = await store.lock("a");
  assert.equal(await store.lock("a"), null);
  first.release();
  await new Promise((done) => setImmediate(done));
  assert.notEqual(await store.lock("a"), null);
});

// newModel writes what a model of a hub has, of which bytes of the weights have come.
const newModel = async (store, key, come, whole) => {
  const about = { repo: "org/name", revision: "main", commit: "c", endpoint: "https://hub.example", files: [{ path: "config.json", size: 2 }, { path: "w.safetensors", size: 4 }, { path: "more/t.jinja", size: 1 }] };
  await store.put(`models/${key}/.model.json`, JSON.stringify(about));
  await store.put(`models/${key}/config.json`, "{}");
  await store.put(`models/${key}/w.safetensors`, "1234".slice(0, come));
  await store.put(`models/${key}/more/t.jinja`, "x");
  await store.put(`models/${key}/additional_chat_templates/t.jinja`, "xyz");
  if (whole) await store.commit(`models/${key}`);
};

test("a model of a hub counts when it is whole, and its files are those of a chosen folder", async () => {
  const { store } = setup();
  assert.deepEqual(plain(await store.models()), []);
  await newModel(store, "a", 3, false);
  await newModel(store, "b", 4, true);
  assert.deepEqual((await store.models()).map((m) => [m.key, m.complete, m.bytes, m.about.repo].join()).join(" "), "a,false,6,org/name b,true,7,org/name");
  assert.equal(await store.modelFiles("a"), null);
  assert.equal(await store.modelFiles("none"), null);
  assert.equal((await store.modelFiles("b")).map((f) => f.path + f.file.size).sort().join(), "additional_chat_templates/t.jinja3,config.json2,w.safetensors4");
});

test("a model that a run of any tab uses stays, and the run is named", async () => {
  const { store, held } = setup();
  await newModel(store, "b", 4, true);
  await store.put("runs/r/meta.json", JSON.stringify({ name: "pirates", created: "2026", inputs: { model: { from: "fetched", key: "b" } } }));
  assert.equal((await store.usersOf("b")).join(), "");
  held.push("llamatab-run-r");
  assert.equal((await store.usersOf("b")).join(), "pirates");
  assert.equal((await store.usersOf("a")).join(), "");
  const [first, second] = [await store.useModel("b"), await store.useModel("b")];
  assert.equal(await store.removeModel("b"), false);
  first();
  await new Promise((done) => setTimeout(done, 1));
  assert.equal(await store.removeModel("b"), false);
  second();
  await new Promise((done) => setTimeout(done, 1));
  assert.equal(await store.removeModel("b"), true);
  assert.equal((await store.models()).length, 0);
});
