// The files that the person has chosen on this visit. The File objects stay here; Go gets their paths and sizes.

import { tell } from "./inbox.js";

export const filesLimit = 4096; // files: somebody may drop a whole disk by mistake
const chosen = { model: [], dataset: [] };

// choose replaces the files of a kind, "model" or "dataset". Each has a File and a path relative to the chosen folder.
export const choose = (kind, files) => {
  files = files.slice(0, filesLimit);
  chosen[kind] = files;
  tell("files-chosen", { kind, files: files.map(({ file, path }) => ({ path, size: file.size })) });
};

// chosenFiles are the files of a kind at some positions of the list that Go has, as {path, file}: the path is that below folder,
// which ends with a slash, or the file's name.
export const chosenFiles = (kind, positions, folder = "") => positions.map((i) => {
  const { path, file } = chosen[kind][i];
  return { file, path: kind === "model" && path.startsWith(folder) ? path.slice(folder.length) : file.name };
});

// fingerprint is a hash of the names, sizes and dates of files (64-bit FNV-1a), so that the same files are stored once.
export const fingerprint = (files) => {
  let hash = 0xcbf29ce484222325n;
  for (const c of files.map((f) => `${f.name} ${f.size} ${f.lastModified}`).sort().join("\n")) {
    hash = ((hash ^ BigInt(c.codePointAt(0))) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash.toString(16);
};
