import assert from "node:assert/strict";
import test from "node:test";
import { keptModel, unfinished } from "./hub_direct.js";

const about = { repo: "Org/name", revision: "main", commit: "f".repeat(40), endpoint: "https://hub.example/mirror", files: [{ path: "config.json", size: 5 }, { path: "tokenizer.json", size: 7 }] };

test("a model that is whole is told with its name, size and origin", () => {
  assert.deepEqual(keptModel({ key: "k", about, bytes: 12 }), { key: "k", name: `Org/name@${"f".repeat(40)}`, revision: "main", host: "hub.example", bytes: 12, tokenizer: true });
  assert.equal(keptModel({ key: "k", about: { ...about, files: about.files.slice(0, 1) }, bytes: 5 }).tokenizer, false);
});

test("what earlier visits and other tabs have begun is told, beside what this tab fetches", () => {
  const models = [{ key: "k", about, bytes: 3, complete: false }, { key: "l", about: { ...about, repo: "org/whole" }, bytes: 12, complete: true }];
  const fetch = { name: "Org/name", state: "paused", done: 3, total: 12, rate: 0 };
  assert.deepEqual(unfinished(models, [], new Set()), [fetch]);
  assert.deepEqual(unfinished(models, [], new Set(["llamatab-fetch-org/name"])), [{ ...fetch, state: "elsewhere" }]);
  assert.deepEqual(unfinished(models, [{ name: "org/name" }], new Set(["llamatab-fetch-org/name"])), []);
  assert.equal(unfinished([{ ...models[0], about: { ...about, revision: "v1" } }], [], new Set())[0].name, "Org/name@v1");
});
