// The runs that this browser keeps: wasm/store.js holds their files, and a run's record is read again from them.

import { addSteps, clearChart } from "./chart_run.js";
import { tell, tellProblem } from "./inbox.js";
import { memoryResults } from "./memory_results.js";
import { envelopesOf, parseLines, stepsForTexts } from "./run_record.js";

const portion = 500; // lines that are read without a pause, so that the page stays responsive
const listAgain = 2000; // milliseconds, while another tab has a run

let timer = 0;

// listRuns sends Go the kept runs and the storage that they take.
export const listRuns = async () => {
  let runs = [], usage = 0, quota = 0;
  try {
    runs = await llamatabStore.list();
    ({ usage = 0, quota = 0 } = await navigator.storage.estimate());
  } catch {} // a browser without storage has no runs
  tell("kept-runs", { runs, usage, quota });
  clearTimeout(timer);
  if (runs.some((r) => r.live && r.id !== memoryResults.run())) timer = setTimeout(listRuns, listAgain); // the tab that has it may just be closing
};

// openRun reads the record of a run up to a step: steps go to the charts, a portion at a time.
export const openRun = async (id, upTo) => {
  try {
    const text = async (name) => (await llamatabStore.get(`runs/${id}/${name}`).catch(() => null))?.text() ?? "";
    const [metrics, events, samples] = await Promise.all(["metrics.jsonl", "events.jsonl", "samples.jsonl"].map(text));
    const lines = metrics.split("\n");
    let needed = [];
    clearChart();
    for (let at = 0; at < lines.length; at += portion) {
      const steps = parseLines(lines.slice(at, at + portion)).filter((s) => s.step <= upTo);
      addSteps(steps);
      needed = [...stepsForTexts([...needed, ...steps].sort((a, b) => a.step - b.step))];
      await new Promise((done) => setTimeout(done));
    }
    const config = await llamatabStore.json(`runs/${id}/run.json`);
    const files = (await llamatabStore.files(id, "")).map(({ path, file: { size } }) => ({ path, size }));
    tell("run-record", { id, envelopes: envelopesOf(config, needed, events, samples), files });
  } catch (error) {
    tellProblem("E-DISK")(error);
  }
};

// removeRun deletes a run and its files.
export const removeRun = async (id) => {
  await llamatabStore.removeRun(id).catch(tellProblem("E-DISK"));
  listRuns();
};
