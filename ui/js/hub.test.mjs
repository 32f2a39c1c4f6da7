import assert from "node:assert/strict";
import test from "node:test";
import { isUnderWay, newlyFetched } from "./hub.js";

test("the server is asked again while a fetch is under way", () => {
  assert.equal(isUnderWay({ fetches: [{ state: "paused" }, { state: "fetching" }] }), true);
  assert.equal(isUnderWay({ fetches: [{ state: "paused" }, { state: "failed" }] }), false);
  assert.equal(isUnderWay({ fetches: [] }), false);
});

test("the list of models is fetched again when a model has come, not when the page opens", () => {
  assert.equal(newlyFetched(null, ["a"]), false);
  assert.equal(newlyFetched([], ["a"]), true);
  assert.equal(newlyFetched(["a"], ["a"]), false);
  assert.equal(newlyFetched(["a"], []), false);
});
