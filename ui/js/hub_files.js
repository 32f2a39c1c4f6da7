// What a hub's list says of a repository, and which of its files a model needs: the same rules as in server/hub/listing.go and
// server/hub/choose.go. The cases of server/hub/testdata/lists.json hold the two together.

import { commitHash, nameText, newName } from "./hub_name.js";
import { fail } from "./hub_problem.js";

const maxFiles = 50_000, maxFileName = 240;
const maxFileSize = 2 ** 42, maxSmall = 2 ** 30; // bytes of a file, and of one that is not weights
export const maxIndex = 64 << 20; // bytes of the index of a sharded model
export const maxListing = 32 << 20; // bytes of the hub's answer

const singleFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";

// Files that are fetched beside the weights where a repository has them.
const besideWeights = [
  "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
  "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
];
const alsoFetched = [/^additional_chat_templates\/[A-Za-z0-9_-]{1,100}\.jinja$/, /^(license|notice|use_policy)[A-Za-z0-9._-]{0,40}$/i];
const shardName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.safetensors$/;

const broken = (message, next = "") => fail("hub_broken", message, { next });
const unsuitable = (message, next = "") => fail("hub_unsuitable", message, { next });

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value) => value === undefined || value === null || typeof value === "string";
const isSize = (value) => value === undefined || value === null || Number.isInteger(value);

// fileOf reads an entry of the list: {path, size, sha256} of a large file, {path, size, blob} of a small one.
const fileOf = (entry, refuse) => {
  const { rfilename: path, size, blobId: blob, lfs } = isObject(entry) ? entry : {};
  if (!isText(path) || !isText(blob) || !isSize(size)) refuse("it lists a file without a name, a size and a checksum");
  const file = { path: path ?? "", size: size ?? -1, blob: blob ?? "" };
  if (lfs === undefined || lfs === null) return file;
  if (!isObject(lfs) || !isText(lfs.sha256) || !isSize(lfs.size)) refuse(`it gives "${path}" no checksum`);
  if (file.size >= 0 && file.size !== (lfs.size ?? 0)) refuse(`it gives "${path}" two sizes, ${size} and ${lfs.size}`);
  return { path: file.path, size: lfs.size ?? 0, sha256: lfs.sha256 ?? "", blob: "" };
};

// parseListing reads the hub's answer for a name: {repo, commit, files}.
export const parseListing = (text, name) => {
  const refuse = (why) => broken(`the hub's answer for ${nameText(name)} makes no sense: ${why}`);
  let answer;
  try { answer = JSON.parse(text); } catch (error) { refuse(error.message); }
  if (!isObject(answer) || !isText(answer.id) || !(answer.siblings === undefined || answer.siblings === null || Array.isArray(answer.siblings))) refuse("it is no list");
  if (!commitHash.test(answer.sha)) refuse("it names no commit");
  if (commitHash.test(name.revision) && answer.sha !== name.revision) refuse(`it is about the commit ${answer.sha}`);
  const siblings = answer.siblings ?? [];
  if (siblings.length > maxFiles) refuse(`it lists ${siblings.length} files`);
  let repo = name.repo; // as the hub spells it
  if (answer.id && answer.id.toLowerCase() === repo.toLowerCase()) repo = newName(...answer.id.split("/"), name.revision).repo;
  const files = siblings.map((entry) => fileOf(entry, refuse)), seen = new Set();
  for (const { path } of files) {
    if (seen.has(path)) refuse(`it lists "${path}" twice`);
    seen.add(path);
  }
  return { repo, commit: answer.sha, files };
};

const find = (list, path) => list.files.find((f) => f.path === path);
const hasSuffix = (list, suffix) => list.files.some((f) => f.path.toLowerCase().endsWith(suffix));

// checkModel reports that a repository holds no model that can be read.
const checkModel = (list, name) => {
  if (find(list, "config.json")) {
    if (find(list, singleFile) || find(list, indexFile)) return;
    if (!hasSuffix(list, ".gguf") && [".bin", ".pth", ".pt"].some((suffix) => hasSuffix(list, suffix))) {
      unsuitable(`${name} holds weights as Python pickles only, which can run code of their own and are not read`, "look for a revision with safetensors, such as refs/pr/1, or convert it with transformers");
    }
  } else if (find(list, "adapter_config.json")) {
    unsuitable(`${name} is an adapter, not a model`, "give it as the adapter, and its base model as the model");
  }
  if (hasSuffix(list, ".gguf")) unsuitable(`${name} holds weights as GGUF only, which is not available in this version`, "take the repository from which it was converted");
  if (find(list, "config.json")) unsuitable(`${name} holds no ${singleFile} and no ${indexFile}`);
  unsuitable(`${name} holds no config.json, so it is no model`);
};

// indexOf is the index of a sharded model, whose text says which files are needed; undefined where a model needs none.
export const indexOf = (list, name) => {
  checkModel(list, nameText(name));
  if (find(list, singleFile)) return undefined;
  const index = find(list, indexFile);
  checkFile(index);
  if (index.size > maxIndex) broken(`${indexFile} of ${nameText(name)} has ${index.size} bytes, which no index has`);
  return index;
};

// checkFile reports what keeps a file from being fetched: a path that could lead out of the folder, or no checksum.
export const checkFile = ({ path, size, sha256 = "", blob }) => {
  const badPart = (part) => part === "" || part.startsWith(".") || part.endsWith(".") || part.endsWith(" ");
  const bytes = new TextEncoder().encode(path);
  if (path === "" || bytes.length > maxFileName || !path.isWellFormed() || path.split("/").some(badPart) || /[\u0000-\u001f\u007f\\:*?"<>|]/.test(path)) {
    broken(`"${path.slice(0, 200)}" is not a file name that can be used`);
  }
  if (!(size >= 0 && size <= maxFileSize)) broken(`the hub gives no usable size for ${path}: ${size}`);
  if (!sha256 && !blob) broken(`the hub gives no checksum for ${path}`);
  if (!(sha256 ? /^[0-9a-f]{64}$/.test(sha256) : /^[0-9a-f]{40}$/.test(blob))) broken(`the hub's checksum for ${path} is none: "${(sha256 + blob).slice(0, 80)}"`);
};

// shardsOf lists the files that the index of a sharded model names, sorted.
const shardsOf = (text, name) => {
  let map;
  try { map = JSON.parse(text).weight_map; } catch (error) { broken(`${indexFile} of ${name} cannot be read: ${error.message}`); }
  if (map !== undefined && map !== null && (!isObject(map) || !Object.values(map).every((file) => typeof file === "string" || file === null))) broken(`${indexFile} of ${name} cannot be read: its weight_map is none`);
  const shards = new Set(Object.values(map ?? {}));
  for (const file of shards) if (!shardName.test(file) || file.includes("..")) broken(`${indexFile} of ${name} names a file that can be none of its weights: "${String(file).slice(0, 200)}"`);
  if (shards.size === 0) broken(`${indexFile} of ${name} names no files`);
  return [...shards].sort();
};

// neededFiles lists the files that a model needs. index is the text of the index of a sharded model.
export const neededFiles = (list, index, { repo, revision }) => {
  const name = nameText({ repo, revision });
  checkModel(list, name);
  const required = ["config.json", ...(find(list, singleFile) ? [singleFile] : [indexFile, ...shardsOf(index, name)])];
  for (const path of required) if (!find(list, path)) unsuitable(`${name} is incomplete: it has no ${path}`);
  const files = [...required, ...besideWeights].map((path) => find(list, path)).filter(Boolean);
  files.push(...list.files.filter((f) => alsoFetched.some((pattern) => pattern.test(f.path))));
  const folded = new Map();
  for (const f of files) {
    checkFile(f);
    if (!f.path.endsWith(".safetensors") && f.size > maxSmall) broken(`${f.path} of ${name} has ${f.size} bytes, which no such file has`);
    const key = f.path.toLowerCase();
    if (folded.has(key)) broken(`${name} holds ${folded.get(key)} and ${f.path}, which are one file on some systems`);
    folded.set(key, f.path);
  }
  return files;
};
