import assert from "node:assert/strict";
import test from "node:test";
import { turnsOf } from "./data_preview.js";

const tokens = ["a", "b", "c", "d"].map((text) => ({ text }));
const cut = (row) => turnsOf(row).map(({ role, tokens }) => role + ":" + tokens.map((t) => t.text).join(""));

test("a row is cut into its turns", () => {
  assert.deepEqual(cut({ tokens, turns: [{ role: "user", from: 0 }, { role: "assistant", from: 3 }] }), ["user:abc", "assistant:d"]);
  assert.deepEqual(cut({ tokens, turns: [{ role: "system", from: 0 }, { role: "user", from: 0 }] }), ["system:", "user:abcd"]);
});

test("a row without turns is one", () => {
  assert.deepEqual(cut({ tokens }), [":abcd"]);
  assert.deepEqual(cut({ tokens, turns: [] }), [":abcd"]);
});
