import assert from "node:assert/strict";
import test from "node:test";
import { csv, svg } from "./chart_export.js";
import { makePoints } from "./chart_points.js";
import { makeView } from "./chart_view.js";

globalThis.document ??= { documentElement: { lang: "en" } };
const words = { step: "Step", loss: "Loss", smooth: "Smoothed", eval: "Held-out loss" };
const chart = (steps) => {
  const points = makePoints();
  for (const s of steps) points.add({ learning_rate: 1e-3, grad_norm: 1, tokens_per_second: 5, ...s });
  return [points, makeView(points)];
};

test("the table has a line for each point, and empty cells for what is no number", () => {
  const [points] = chart([{ step: 1, loss: 2 }, { step: 2, loss: "NaN", eval_loss: 1.5, gpu_bytes: 3 }]);
  assert.equal(csv(points), "step,loss,eval,accuracy,lr,norm,speed,memory,ratio\n1,2,,,0.001,1,5,,\n2,,1.5,,0.001,1,5,3,\n");
});

test("the drawing breaks the line at a gap and stars the best held-out loss", () => {
  const [points, view] = chart([{ step: 1, loss: 4 }, { step: 2, loss: "NaN" }, { step: 3, loss: 2, eval_loss: 3 }, { step: 4, loss: 1, eval_loss: 2 }]);
  const drawing = svg(points, view, words);
  assert.ok(!drawing.includes("NaN") && !drawing.includes("undefined"));
  assert.equal(drawing.match(/★/g).length, 1);
  assert.equal(drawing.match(/<circle/g).length, 2);
  assert.equal(drawing.match(/<path d="(M[^"]*)" fill="none" stroke="#9cc5b9"/)[1].match(/M/g).length, 2);
  for (const word of Object.values(words)) assert.ok(drawing.includes(word), word);
  view.steps = [1, 2]; // the best lies outside
  assert.ok(!svg(points, view, words).includes("★"));
});

test("a chart without points can be drawn", () => {
  assert.ok(!svg(...chart([]), words).includes("NaN"));
});
