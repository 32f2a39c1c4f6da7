import assert from "node:assert/strict";
import { File } from "node:buffer";
import test from "node:test";
import { choose, chosenFiles, fingerprint } from "./chosen_files.js";
import { filesBelow } from "./downloads.js";
import { kindOf, nameOfPasted } from "./file_input.js";
import { memoryResults } from "./memory_results.js";
import { recordedInputs } from "./page_engines.js";
import { placed } from "./sources.js";
import { nameOnServer } from "./upload.js";

globalThis.File ??= File;
const file = (name, size, lastModified) => ({ name, size, lastModified });

test("the same files have the same fingerprint in any order, others another", () => {
  const a = file("a", 1, 2), b = file("b", 3, 4);
  assert.equal(fingerprint([a, b]), fingerprint([b, a]));
  assert.notEqual(fingerprint([a]), fingerprint([file("a", 1, 3)]));
  assert.notEqual(fingerprint([a]), fingerprint([file("a", 2, 2)]));
  assert.match(fingerprint([a, b]), /^[0-9a-f]+$/);
});

test("a file in a folder of a model goes to the engine under its path, others as they are", () => {
  const flat = new File(["a"], "config.json"), below = new File(["bc"], "rag.jinja", { lastModified: 7 });
  assert.equal(placed({ path: "config.json", file: flat }), flat);
  assert.deepEqual(placed({ path: "additional_chat_templates/rag.jinja", file: below }), { name: "additional_chat_templates/rag.jinja", size: 2, lastModified: 7, file: below });
});

test("a chosen file has its path below the model's folder", () => {
  const file = (path) => ({ path, file: new File(["x"], path.split("/").at(-1)) });
  globalThis.llamatab ??= {};
  choose("model", ["deep/m/config.json", "deep/m/additional_chat_templates/rag.jinja", "deep/notes.txt"].map(file));
  assert.deepEqual(chosenFiles("model", [0, 1], "deep/m/").map((f) => f.path), ["config.json", "additional_chat_templates/rag.jinja"]);
  choose("model", [file("config.json")]);
  assert.deepEqual(chosenFiles("model", [0]).map((f) => f.path), ["config.json"]);
});

test("a result in memory has its path below the folder", () => {
  memoryResults.begin("r");
  memoryResults.put("model/config.json", new Blob(["{}"]));
  memoryResults.put("model/additional_chat_templates/rag.jinja", new Blob(["x"]));
  memoryResults.put("adapter/a", new Blob(["y"]));
  assert.deepEqual(memoryResults.below("model").map((f) => [f.path, f.file.name]), [["config.json", "config.json"], ["additional_chat_templates/rag.jinja", "rag.jinja"]]);
});

test("a pasted text is settings where it has a key of run.json, else data", () => {
  assert.equal(nameOfPasted('{"training": {"max_steps": 5}}'), "run.json");
  assert.equal(nameOfPasted('{"text": "One day"}'), "pasted.jsonl");
  assert.equal(nameOfPasted('{"text": "a"}\n{"text": "b"}'), "pasted.jsonl");
  assert.equal(nameOfPasted("[1, 2]"), "pasted.jsonl");
  assert.equal(nameOfPasted("null"), "pasted.txt");
  assert.equal(nameOfPasted("Once upon a time"), "pasted.txt");
});

test("a download takes what is asked for and what lies below it, sorted", () => {
  const entries = [["run.json", 1], ["adapter/b", 2], ["adapter/a", 3], ["adapter-2/a", 4], ["run.json", 5]];
  assert.deepEqual(filesBelow(entries, ["adapter", "run.json"]), [["adapter/a", 3], ["adapter/b", 2], ["run.json", 5]]);
});

test("chosen files are found again by their copies, and a checkpoint is no input of the run", () => {
  const files = { model: [file("m", 1, 1)], dataset: [file("d", 2, 2)] };
  const { keys, inputs } = recordedInputs({ model: { from: "server", files: [] }, dataset: { from: "chosen" }, resume: { from: "run" } }, files);
  assert.deepEqual(keys, { dataset: fingerprint(files.dataset) });
  assert.deepEqual(inputs, { model: { from: "server", files: [] }, dataset: { from: "kept", key: keys.dataset } });
});

test("files on the server have a readable name that an address can carry", () => {
  const files = [file("d", 2, 2)], print = fingerprint(files);
  assert.equal(nameOnServer("dataset", "My rows/2024.jsonl", files), "My-rows-2024.jsonl-" + print);
  assert.equal(nameOnServer("dataset", "../海", files), "dataset-" + print);
  assert.equal(nameOnServer("model", "x".repeat(99), files), "x".repeat(40) + "-" + print);
});

test("files among which is a config.json are a model, others data", () => {
  assert.equal(kindOf([{ file: { name: "model.safetensors" } }, { file: { name: "config.json" } }]), "model");
  assert.equal(kindOf([{ file: { name: "rows.jsonl" } }]), "dataset");
});
