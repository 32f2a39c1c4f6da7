// Uploads files of this computer to the server, from where the tabs of a room fetch them. XMLHttpRequest reports the progress
// of an upload; fetch does not.

import { fingerprint } from "./chosen_files.js";
import { tell } from "./inbox.js";
import { tellRefused, unreachable } from "./room.js";
import { filesByMount } from "./sources.js";

const tellEvery = 250; // milliseconds
const nameLimit = 40; // characters of the files' own name
const addresses = { model: (name, file) => `/api/models/${name}/${encodeURIComponent(file.name)}`, dataset: (name) => `/api/data/${name}` };

let stopped = new AbortController();

// put sends a file. It calls sent with the number of bytes sent so far, and rejects with a refusal.
const put = (url, file, sent, signal) => new Promise((done, failed) => {
  const request = new XMLHttpRequest();
  request.open("PUT", url);
  request.upload.onprogress = ({ loaded }) => sent(loaded);
  request.onload = () => {
    if (request.status === 201) return done();
    try { failed(JSON.parse(request.responseText)); } catch { failed({ code: "server", reason: request.responseText.trim() }); }
  };
  request.onerror = () => failed(unreachable(request.statusText));
  request.onabort = () => failed({ code: "stopped", reason: "" });
  signal.addEventListener("abort", () => request.abort());
  if (signal.aborted) failed({ code: "stopped", reason: "" });
  else request.send(file);
});

// nameOnServer is the name of the files on the server: a readable part and a fingerprint, so that the same files are sent once.
export const nameOnServer = (kind, name, files) =>
  `${name.replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "").slice(0, nameLimit) || kind}-${fingerprint(files)}`;

const send = async (files, names) => {
  const { signal } = stopped = new AbortController();
  const began = performance.now(), total = Object.values(files).flat().reduce((n, f) => n + f.size, 0);
  let before = 0, told = 0;
  const sent = (bytes) => {
    if (performance.now() - told < tellEvery) return;
    told = performance.now();
    tell("upload-progress", { done: Math.min(before + bytes, total), total, seconds: (told - began) / 1000 });
  };
  const uploaded = {};
  for (const [kind, list] of Object.entries(files)) {
    const name = nameOnServer(kind, names[kind], list);
    uploaded[kind] = "handed:" + name;
    for (const file of list) {
      const there = await fetch(addresses[kind](uploaded[kind], file), { method: "HEAD", signal }).catch(() => ({}));
      if (!there.ok) await put(`/api/handed/${name}/${encodeURIComponent(file.name)}`, file, sent, signal);
      before += file.size;
      sent(0);
    }
  }
  return uploaded;
};

// upload sends the files of sources, by kind, and then sends Go their names on the server.
export const upload = async (sources, names) => {
  let files;
  try {
    files = await filesByMount(JSON.parse(sources));
    for (const kind in files) files[kind] = files[kind].filter((f) => !f.name.includes("/")); // the server keeps no folders in a folder
  } catch (error) {
    return tellRefused("uploaded", { code: "inputs_gone", reason: String(error.message ?? error) });
  }
  try {
    tell("uploaded", await send(files, JSON.parse(names)));
  } catch (refusal) {
    tellRefused("uploaded", refusal.code ? refusal : { code: "server", reason: String(refusal.message ?? refusal) });
  }
};

export const stopUpload = () => stopped.abort();
