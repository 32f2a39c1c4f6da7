// The points of a run's charts: a typed array for each column, filled directly from the engine's steps, without Go and vugu.

const number = (v) => (v === undefined || v === null ? NaN : Number(v)); // the engine spells what is no number as text
const largestRatio = (units) => (units ?? []).reduce((most, u) => (number(u.update_ratio) <= most ? most : number(u.update_ratio)), NaN);

// columns read a step as metrics.jsonl has it.
const columns = {
  step: (s) => s.step, loss: (s) => number(s.loss), eval: (s) => number(s.eval_loss), accuracy: (s) => number(s.eval_accuracy),
  lr: (s) => s.learning_rate, norm: (s) => number(s.grad_norm), speed: (s) => s.tokens_per_second,
  memory: (s) => s.gpu_bytes || NaN, ratio: (s) => largestRatio(s.units),
};
export const columnNames = Object.keys(columns);

// sparse columns have a value at few steps only.
export const sparse = new Set(["eval", "accuracy"]);

const firstCapacity = 1024;

// makePoints is an empty table. When it has limit points (a power of two), neighbours are merged, and twice as many steps make
// one point from then on. limit is far above the number of a chart's pixels.
export const makePoints = (limit = 1 << 18) => {
  let capacity, count, stepsPerPoint, gathered, table, sums, counts;
  const makeTable = (n) => Object.fromEntries(columnNames.map((name) => [name, new Float64Array(n)]));

  // mean is the exponential mean of all losses, divided by its weight so that it starts unbiased: with m = keep·m + (1−keep)·loss
  // and w = keep·w + (1−keep), both from 0, it is m/w. It goes on from where it was; a loss that is no number is left out.
  const mean = { keep: 0.9, done: 0, sum: 0, weight: 0, values: new Float64Array(0) };
  const restartMean = () => { mean.done = mean.sum = mean.weight = 0; };
  const smoothed = () => {
    if (mean.values.length < capacity) {
      const next = new Float64Array(capacity);
      next.set(mean.values);
      mean.values = next;
    }
    for (; mean.done < count; mean.done++) {
      const v = table.loss[mean.done];
      if (Number.isFinite(v)) {
        mean.sum = mean.keep * mean.sum + (1 - mean.keep) * v;
        mean.weight = mean.keep * mean.weight + (1 - mean.keep);
      }
      mean.values[mean.done] = mean.sum / mean.weight;
    }
    return mean.values;
  };

  const clear = () => {
    capacity = firstCapacity; count = 0; stepsPerPoint = 1; gathered = 0;
    table = makeTable(capacity); sums = new Float64Array(columnNames.length); counts = new Float64Array(columnNames.length);
    restartMean();
  };
  const grow = () => {
    capacity *= 2;
    for (const name of columnNames) { const next = new Float64Array(capacity); next.set(table[name]); table[name] = next; }
  };
  const merged = (name, a, b) => {
    if (name === "step") return b;
    if (sparse.has(name)) return Number.isNaN(b) ? a : b;
    return (a + b) / 2;
  };
  const mergeNeighbours = () => {
    for (const name of columnNames) {
      const values = table[name];
      for (let i = 0; i < count / 2; i++) values[i] = merged(name, values[2 * i], values[2 * i + 1]);
    }
    count /= 2;
    stepsPerPoint *= 2;
    restartMean();
  };
  const add = (s) => {
    if (count && table.step[count - 1] >= s.step) { // the run went back to a checkpoint
      while (count && table.step[count - 1] >= s.step) count--;
      restartMean();
    }
    columnNames.forEach((name, c) => {
      const v = columns[name](s);
      if (sparse.has(name) && Number.isNaN(v)) return;
      sums[c] += v;
      counts[c]++;
    });
    if (++gathered < stepsPerPoint) return;
    if (count === capacity) grow();
    columnNames.forEach((name, c) => { table[name][count] = name === "step" ? s.step : sums[c] / counts[c]; }); // 0/0, a gap, where there is none
    sums.fill(0);
    counts.fill(0);
    gathered = 0;
    if (++count === limit) mergeNeighbours();
  };
  clear();

  return {
    add, clear,
    count: () => count,
    // values is a column, or for "smooth" the smoothed losses. Only the first count() values are valid.
    values: (name) => (name === "smooth" ? smoothed() : table[name]),
    smoothing: () => mean.keep,
    // smooth sets the share of the mean that is kept from step to step, 0 to below 1.
    smooth(keep) { mean.keep = keep; restartMean(); },
    // has reports whether a column has a number.
    has(name) {
      for (let i = count; i-- > 0;) if (Number.isFinite(table[name][i])) return true;
      return false;
    },
    // best is the index of the lowest held-out loss, -1 for none.
    best() {
      let at = -1;
      for (let i = 0; i < count; i++) if (table.eval[i] < (at < 0 ? Infinity : table.eval[at])) at = i;
      return at;
    },
    // nearest is the index of the step that is closest to x.
    nearest(x) {
      let low = 0, high = count - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (table.step[middle] < x) low = middle + 1; else high = middle;
      }
      return low > 0 && x - table.step[low - 1] < table.step[low] - x ? low - 1 : low;
    },
  };
};
