// The record of a run: the engine's messages, which are stored in metrics.jsonl, events.jsonl and samples.jsonl.

const eventsRead = 500; // the latest events of a kept run that are read; its file has all

// stepsForTexts are the steps that the page's texts need: the newest, and the newest with an evaluation. The charts alone need
// the others.
export const stepsForTexts = (steps) => new Set([steps.at(-1), steps.findLast((s) => s.eval_loss !== undefined)].filter(Boolean));

// parseLines reads JSON lines. A line that a crash has cut off is left out.
export const parseLines = (lines) => lines.flatMap((line) => { try { return (line && JSON.parse(line)) || []; } catch { return []; } });

// envelopesOf converts a kept run's record to the engine's messages: its settings, the steps that texts need, events and samples.
export const envelopesOf = (config, steps, events, samples) => {
  const of = (type, list) => list.map((one) => ({ type, [type]: one }));
  return [...(config ? of("config", [config]) : []), ...of("step", [...steps].sort((a, b) => a.step - b.step)),
    ...of("event", parseLines(events.split("\n")).slice(-eventsRead)), ...of("sample", parseLines(samples.split("\n")))];
};
