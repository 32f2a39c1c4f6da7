import assert from "node:assert/strict";
import test from "node:test";
import { rowsOf } from "./chart_controls.js";
import { placeAfterKey, valueAt } from "./chart_cursor.js";
import { addPoints } from "./chart_room.js";

test("keys move the cursor within what is shown", () => {
  const at = (key, cursor, shiftKey = false) => placeAfterKey({ key, shiftKey }, cursor, [10, 90], 2);
  assert.equal(at("ArrowLeft", null), 88); // from the newest
  assert.equal(at("ArrowRight", 88), 90);
  assert.equal(at("ArrowRight", 90), 90);
  assert.equal(at("PageDown", 40), 20);
  assert.equal(at("ArrowLeft", 40, true), 20);
  assert.equal(at("Home", 40), 10);
  assert.equal(at("End", 40), 90);
  assert.equal(at("x", 40), undefined);
});

test("a sparse column says its last value before the cursor, any other the value there", () => {
  assert.equal(valueAt([3, NaN, NaN], "eval", 2), 3);
  assert.ok(Number.isNaN(valueAt([3, NaN], "loss", 1)));
  assert.ok(Number.isNaN(valueAt([NaN, NaN], "eval", 1)));
});

test("the table has at most so many rows, the newest among them", () => {
  assert.deepEqual(rowsOf([0, 4], 10), [0, 1, 2, 3, 4]);
  const rows = rowsOf([0, 100], 10);
  assert.ok(rows.length <= 10);
  assert.equal(rows.at(-1), 100);
  assert.deepEqual(rowsOf([0, -1], 10), []);
});

test("a loss of the room that comes again takes the place of the old one", () => {
  const columns = [[], [], []];
  addPoints(columns, [{ step: 1, loss: 3 }, { step: 2, loss: 2 }]);
  addPoints(columns, [{ step: 2, loss: 2, eval: 2.5 }, { step: 3, loss: 1 }]);
  assert.deepEqual(columns, [[1, 2, 3], [3, 2, 1], [null, 2.5, null]]);
});
