import assert from "node:assert/strict";
import test from "node:test";
import { columnNames, makePoints } from "./chart_points.js";

const step = (n, rest = {}) => ({ step: n, loss: n, learning_rate: 1e-3, grad_norm: 1, tokens_per_second: 10, gpu_bytes: 100, ...rest });
const column = (points, name) => [...points.values(name).subarray(0, points.count())];

test("a step fills every column; what it does not say is no number", () => {
  const points = makePoints();
  points.add({ step: 3, loss: "NaN", eval_loss: 0.5, learning_rate: 0.01, grad_norm: "Infinity", tokens_per_second: 7, gpu_bytes: 0,
    units: [{ update_ratio: 0.2 }, { update_ratio: "NaN" }, { update_ratio: 0.9 }] });
  const row = Object.fromEntries(columnNames.map((name) => [name, column(points, name)[0]]));
  assert.deepEqual(row, { step: 3, loss: NaN, eval: 0.5, accuracy: NaN, lr: 0.01, norm: Infinity, speed: 7, memory: NaN, ratio: 0.9 });
});

test("a run that goes back replaces its steps", () => {
  const points = makePoints();
  for (const n of [1, 2, 3, 4]) points.add(step(n));
  points.add(step(3, { loss: 30 }));
  assert.deepEqual(column(points, "step"), [1, 2, 3]);
  assert.deepEqual(column(points, "loss"), [1, 2, 30]);
});

test("at the limit neighbours are merged, and later steps too", () => {
  const points = makePoints(8);
  for (let n = 1; n <= 8; n++) points.add(step(n, n === 3 ? { eval_loss: 9 } : {}));
  assert.deepEqual(column(points, "step"), [2, 4, 6, 8]);
  assert.deepEqual(column(points, "loss"), [1.5, 3.5, 5.5, 7.5]);
  assert.deepEqual(column(points, "eval"), [NaN, 9, NaN, NaN]); // of few steps: kept, not averaged with what is not there
  points.add(step(9));
  assert.equal(points.count(), 4);
  points.add(step(10, { eval_loss: 4 }));
  assert.deepEqual(column(points, "step").at(-1), 10);
  assert.deepEqual(column(points, "loss").at(-1), 9.5);
  assert.deepEqual(column(points, "eval").at(-1), 4);
});

test("the table grows beyond its first capacity", () => {
  const points = makePoints();
  for (let n = 1; n <= 3000; n++) points.add(step(n));
  assert.equal(points.count(), 3000);
  assert.equal(points.values("loss")[2999], 3000);
});

test("the mean of the losses starts unbiased, leaves out what is no number, and follows the smoothing", () => {
  const points = makePoints();
  for (const [n, loss] of [[1, 4], [2, "NaN"], [3, 2]]) points.add(step(n, { loss }));
  points.smooth(0.5);
  const [first, second, third] = column(points, "smooth");
  assert.equal(first, 4);
  assert.equal(second, 4);
  assert.ok(Math.abs(third - (0.25 * 4 + 0.5 * 2) / 0.75) < 1e-12);
  points.smooth(0);
  assert.equal(column(points, "smooth")[2], 2);
  points.add(step(4, { loss: 8 }));
  assert.equal(column(points, "smooth")[3], 8);
});

test("best is the first place of the lowest held-out loss", () => {
  const points = makePoints();
  assert.equal(points.best(), -1);
  [2, undefined, 1, 1, 3].forEach((eval_loss, i) => points.add(step(i + 1, { eval_loss })));
  assert.equal(points.best(), 2);
});

test("nearest finds the place of the closest step", () => {
  const points = makePoints();
  for (const n of [10, 20, 40]) points.add(step(n));
  assert.deepEqual([0, 14, 16, 29, 31, 99].map(points.nearest), [0, 0, 1, 1, 2, 2]);
});

test("clear forgets the points and what was gathered of the next", () => {
  const points = makePoints(4);
  for (let n = 1; n <= 5; n++) points.add(step(n));
  points.clear();
  assert.equal(points.count(), 0);
  assert.equal(points.has("loss"), false);
  points.add(step(1, { loss: 6 }));
  assert.deepEqual(column(points, "loss"), [6]);
  assert.deepEqual(column(points, "smooth"), [6]);
});
