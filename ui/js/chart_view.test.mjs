import assert from "node:assert/strict";
import test from "node:test";
import { makePoints } from "./chart_points.js";
import { makeView } from "./chart_view.js";

const chart = (losses) => {
  const points = makePoints();
  losses.forEach((loss, i) => points.add({ step: i + 1, loss, learning_rate: 1, grad_norm: 1, tokens_per_second: 1 }));
  return [points, makeView(points)];
};

test("all points are shown, or the latest, or those that were dragged over", () => {
  const [, view] = chart(Array.from({ length: 50 }, (_, i) => i));
  assert.deepEqual(view.span(), [0, 49]);
  view.latest = 10;
  assert.deepEqual(view.span(), [40, 49]);
  view.steps = [5, 9];
  assert.deepEqual(view.span(), [4, 8]);
  view.steps = [7, 7]; // at least two points
  assert.deepEqual(view.span(), [6, 7]);
});

test("few points are shown as they are; what cannot be drawn is a gap", () => {
  const [, view] = chart([3, "NaN", 0, -1]);
  assert.deepEqual(view.reduced(["loss"], 100, [0, 3]), [[1, 2, 3, 4], [3, null, 0, -1]]);
  view.log = true;
  assert.deepEqual(view.reduced(["loss"], 100, [0, 3])[1], [3, null, null, null]);
});

test("of many points each pixel keeps its lowest and its highest, in their order", () => {
  const losses = Array.from({ length: 1000 }, () => 5);
  losses[123] = 1; losses[127] = 9; losses[555] = 8; losses[552] = 2;
  const [, view] = chart(losses), [steps, loss] = view.reduced(["loss"], 100, [0, 999]);
  assert.equal(steps.length, 200);
  assert.deepEqual(loss.slice(24, 26), [1, 9]);
  assert.deepEqual(loss.slice(110, 112), [2, 8]);
  assert.deepEqual(loss.slice(0, 2), [5, 5]);
  assert.equal(steps.at(-1), 1000);
});

test("a sparse column has one point where a pixel holds one value", () => {
  const points = makePoints(), view = makeView(points);
  for (let i = 1; i <= 1000; i++) points.add({ step: i, loss: 1, eval_loss: i === 500 ? 7 : undefined, learning_rate: 1, grad_norm: 1, tokens_per_second: 1 });
  assert.deepEqual(view.reduced(["eval"], 50, [0, 999])[1].filter((v) => v !== null), [7]);
});

test("the range has room around it, and leaves outliers out where they are to be clipped", () => {
  const [, view] = chart([]);
  assert.deepEqual(view.range(["loss"], [[], [1, null, 3]]), [1 - 0.12, 3 + 0.12]);
  assert.deepEqual(view.range(["loss"], [[], [null]]), [0, 1]);
  assert.deepEqual(view.range(["loss"], [[], [4, 4]]), [2, 6]);
  assert.deepEqual(view.range(["memory"], [[], [99, 100]]), [0, 106]);
  const losses = [...Array.from({ length: 99 }, (_, i) => 1 + i / 98), 100];
  assert.ok(view.range(["loss"], [[], losses])[1] > 100);
  view.clip = true;
  assert.ok(view.range(["loss"], [[], losses])[1] < 3);
  view.log = true;
  assert.deepEqual(view.range(["loss"], [[], [1, 2]]), [1 / 1.05, 2 * 1.05]);
});
