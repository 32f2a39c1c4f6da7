// Files and settings come into the page by file dialogs, by dropping them anywhere, and by pasting.

import { choose, filesLimit } from "./chosen_files.js";
import { tell } from "./inbox.js";
import { isZip, modelIn } from "./zip_files.js";

const depthLimit = 3; // folders within a dropped folder
const inputs = { "model-input": "model", "model-zip-input": "model", "data-input": "dataset" };

// filesBelow lists the files of a dropped file or folder.
const filesBelow = async (entry, depth, found) => {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
  } else if (depth < depthLimit && found.length < filesLimit) {
    const reader = entry.createReader();
    for (;;) { // the reader returns the entries in portions
      const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!entries.length) break;
      for (const e of entries) await filesBelow(e, depth + 1, found);
    }
  }
  return found;
};

// tellSettings sends the text of a run.json.
const tellSettings = (text) => tell("settings", { text });

// chooseUnpacked chooses files. A zip archive that holds a model stands for the model's folder; another one is data, which the
// engine reads.
const chooseUnpacked = async (kind, files) => {
  const zip = files.length === 1 && isZip(files[0].file) ? files[0].file : null;
  if (!zip) return choose(kind ?? kindOf(files), files);
  try {
    const model = kind === "dataset" ? [] : await modelIn(zip);
    if (model.length) return choose("model", model);
    if (kind === "model") throw new Error("it holds no config.json");
  } catch (error) {
    if (kind === "model") return tell("files-chosen", { kind, files: [], problem: String(error.message ?? error) });
  }
  return choose("dataset", files);
};

// kindOf is "model" for files among which is a model's config.json, else "dataset".
export const kindOf = (files) => (files.some(({ file }) => file.name === "config.json") ? "model" : "dataset");

// bring takes dropped or pasted files and shows the studio. A run.json replaces the settings; other files are chosen. Without a kind
// the files themselves say what they are.
const bring = async (kind, files) => {
  if (files.length === 1 && files[0].file.name === "run.json") tellSettings(await files[0].file.text());
  else await chooseUnpacked(kind, files);
  if (location.hash !== "#studio") location.hash = "#studio";
};

// nameOfPasted is the name of the file that a pasted text becomes: settings, JSON lines or plain text.
export const nameOfPasted = (text) => {
  let value = null;
  try { value = JSON.parse(text); } catch {}
  const isConfig = ["training", "peft", "trainable", "dataset"].some((key) => Object.hasOwn(value ?? {}, key));
  return isConfig ? "run.json" : /^[[{]/.test(text) ? "pasted.jsonl" : "pasted.txt";
};

const changed = async ({ target }) => {
  const kind = inputs[target.id];
  if (kind) chooseUnpacked(kind, [...target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
  else if (target.id === "config-input" && target.files[0]) tellSettings(await target.files[0].text());
};

// A folder is a model and another file is data, unless it is dropped on the place of one of the two.
const placeOf = (event) => event.target.closest?.("[data-drop]");
const mark = (place) => { for (const p of document.querySelectorAll("[data-drop]")) p.toggleAttribute("data-over", p === place); };
const dropped = async (event) => {
  event.preventDefault();
  mark(null);
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return;
  const found = [];
  for (const entry of entries) await filesBelow(entry, 0, found);
  bring(placeOf(event)?.dataset.drop ?? (entries.some((e) => e.isDirectory) ? "model" : undefined), found);
};

const pasted = (event) => {
  if (event.target.closest?.("input, textarea, select")) return;
  const text = event.clipboardData.getData("text").trim(), files = [...event.clipboardData.files];
  if (!text && !files.length) return;
  event.preventDefault();
  if (files.length) return bring("dataset", files.map((file) => ({ file, path: file.name })));
  if (text.startsWith(location.origin + "/#studio?")) { location.href = text; return; }
  const name = nameOfPasted(text);
  bring("dataset", [{ file: new File([text], name), path: name }]);
};

// watchFileInputs begins to listen. The document listens, as vugu creates and removes the elements.
export const watchFileInputs = () => {
  document.addEventListener("change", changed);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(placeOf(event));
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(null); });
  document.addEventListener("drop", dropped);
  document.addEventListener("paste", pasted);
};
