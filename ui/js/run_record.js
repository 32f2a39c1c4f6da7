// The record of a run, as the engine tells it and as metrics.jsonl, events.jsonl and samples.jsonl keep it.

const eventsRead = 500; // the latest of a kept run; its file has all

// stepsForTexts are those steps that the page's texts need: the newest, and the newest that was evaluated. All others are for
// the charts alone.
export const stepsForTexts = (steps) => new Set([steps.at(-1), steps.findLast((s) => s.eval_loss !== undefined)].filter(Boolean));

// parseLines reads JSON lines; a line that was cut off by a crash is left out.
export const parseLines = (lines) => lines.flatMap((line) => { try { return (line && JSON.parse(line)) || []; } catch { return []; } });

// envelopesOf is a kept run's record as the engine's messages: its settings, the steps that texts need, events and samples.
export const envelopesOf = (config, steps, events, samples) => {
  const of = (type, list) => list.map((one) => ({ type, [type]: one }));
  return [...(config ? of("config", [config]) : []), ...of("step", [...steps].sort((a, b) => a.step - b.step)),
    ...of("event", parseLines(events.split("\n")).slice(-eventsRead)), ...of("sample", parseLines(samples.split("\n")))];
};
