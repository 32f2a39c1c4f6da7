import assert from "node:assert/strict";
import test from "node:test";
import { describeGPU } from "./host_info.js";
import { drain, listen, tell } from "./inbox.js";
import { latestOf } from "./room.js";
import { tokensOf } from "./room_memory.js";
import { envelopesOf, parseLines, stepsForTexts } from "./run_record.js";

test("texts need the newest step and the newest that was evaluated", () => {
  const steps = [{ step: 1, eval_loss: 3 }, { step: 2, eval_loss: "NaN" }, { step: 3 }];
  assert.deepEqual([...stepsForTexts(steps)], [steps[2], steps[1]]);
  assert.deepEqual([...stepsForTexts([steps[0]])], [steps[0]]);
  assert.deepEqual([...stepsForTexts([])], []);
});

test("a line that a crash has cut off is left out", () => {
  assert.deepEqual(parseLines(['{"step":1}', "", '{"step":2}', '{"step":3,"lo']), [{ step: 1 }, { step: 2 }]);
});

test("a record becomes the engine's messages: settings first, steps in order, the latest 500 events", () => {
  const events = Array.from({ length: 600 }, (_, i) => JSON.stringify({ code: "c" + i })).join("\n");
  const all = envelopesOf({ model: "m" }, [{ step: 9 }, { step: 4 }], events, '{"step":1,"text":"t"}\n');
  assert.deepEqual(all.slice(0, 3), [{ type: "config", config: { model: "m" } }, { type: "step", step: { step: 4 } }, { type: "step", step: { step: 9 } }]);
  assert.equal(all.filter((e) => e.event).length, 500);
  assert.equal(all.findLast((e) => e.event).event.code, "c599");
  assert.deepEqual(all.at(-1), { type: "sample", sample: { step: 1, text: "t" } });
  assert.deepEqual(envelopesOf(null, [], "", ""), []);
});

test("messages wait until Go listens, and come in batches", async () => {
  let woken = 0;
  for (let i = 0; i < 300; i++) tell("topic", { i });
  listen(() => woken++);
  assert.equal(woken, 1);
  const first = JSON.parse(drain());
  assert.equal(first.length, 256);
  assert.deepEqual(first[0], { topic: "topic", content: { i: 0 } });
  await null;
  assert.equal(woken, 2);
  assert.equal(JSON.parse(drain()).length, 44);
  tell("topic", null);
  assert.equal(woken, 3);
});

test("the room's latest losses are the last, and the last that was measured on held-out rows", () => {
  const losses = [{ step: 1, loss: 3, eval: 4 }, { step: 2, loss: 2 }];
  assert.deepEqual(latestOf(losses), { newest: losses[1], held: losses[0] });
  assert.deepEqual(latestOf([]), { newest: undefined, held: undefined });
});

test("a tab speaks with its seat's token first and the owner's last", () => {
  assert.deepEqual(tokensOf({ owner: "O", tab: 3, token: "T" }), ["3.T", "O"]);
  assert.deepEqual(tokensOf({ owner: "", tab: 0, token: "" }), []);
});

test("an adapter is named as well as it can be, and a software one is told apart", () => {
  const gpu = (info) => describeGPU({ info, limits: { maxBufferSize: 8, maxStorageBufferBindingSize: 4 } });
  assert.deepEqual(gpu({ vendor: "apple", architecture: "metal-3", description: "" }), { name: "apple metal-3", software: false, max_buffer: 8, max_binding: 4 });
  assert.equal(gpu({ vendor: "google", architecture: "swiftshader", description: "" }).software, true);
  assert.equal(gpu({ vendor: "x", architecture: "", description: "A GPU", isFallbackAdapter: true }).software, true);
  assert.equal(gpu({ vendor: "x", architecture: "", description: "A GPU" }).name, "A GPU");
});
