// Keeps runs with their checkpoints, and copies of the files that they were made from, in the browser's origin private
// file system. The worker writes them; the page lists, reads and removes them.
//
//   llamatab/runs/ID/meta.json        what the page notes of the run before it begins
//                   /state.json       how it ended; absent while it runs, and after a crash
//                   /run.json, summary.json, metrics.jsonl, events.jsonl, samples.jsonl
//                   /adapter/…, model/…, checkpoint-N/…
//   llamatab/inputs/KEY/…             model folders and data files that the person chose, shared by runs
//   llamatab/models/KEY/…             models that this browser has fetched from a hub (ui/js/hub_download.js), each with
//                      /.model.json   where it comes from and which files it has
//
// A folder is complete when it has a manifest, which is written last. Readers ignore a folder without one. A single file
// is replaced as a whole, as createWritable does it. A file of lines grows in place, and readers ignore an incomplete last
// line.
"use strict";

globalThis.llamatabStore = (() => {
  const manifest = ".complete";
  const inputsLimit = 4e9; // bytes of chosen files that are copied for one run; for more, the page asks the person again
  const runsKept = 30;

  const folder = async (path, create) => {
    let dir = await navigator.storage.getDirectory();
    for (const name of ["llamatab", ...path.split("/").filter(Boolean)]) dir = await dir.getDirectoryHandle(name, { create });
    return dir;
  };
  const split = (path) => {
    const i = path.lastIndexOf("/");
    return [path.slice(0, i + 1), path.slice(i + 1)];
  };
  const missing = (error) => error.name === "NotFoundError";
  const orNull = (promise) => promise.catch((error) => { if (missing(error)) return null; throw error; });

  const get = async (path) => {
    const [dir, name] = split(path);
    return (await (await folder(dir)).getFileHandle(name)).getFile();
  };
  const put = async (path, content) => {
    const [dir, name] = split(path);
    const stream = await (await (await folder(dir, true)).getFileHandle(name, { create: true })).createWritable();
    try {
      await stream.write(content);
      await stream.close();
    } catch (error) {
      await stream.abort().catch(() => {});
      throw error;
    }
  };
  const json = async (path) => {
    const file = await orNull(get(path));
    try { return file && JSON.parse(await file.text()); } catch { return null; } // cut off by a crash
  };
  const remove = async (path) => {
    const [dir, name] = split(path);
    const parent = await orNull(folder(dir));
    if (parent) await orNull(parent.removeEntry(name, { recursive: true }));
  };
  const entries = async (dir) => {
    const all = [];
    for await (const [name, handle] of dir.entries()) all.push([name, handle]);
    return all;
  };
  // walk lists the files below a folder as {path, size}.
  const walk = async (dir, prefix = "") => {
    const found = [];
    for (const [name, handle] of await entries(dir)) {
      if (handle.kind === "directory") found.push(...(await walk(handle, prefix + name + "/")));
      else found.push({ path: prefix + name, size: (await handle.getFile()).size });
    }
    return found;
  };

  // complete lists the files of a folder that was committed, or is null.
  const complete = async (path) => {
    const files = await json(path + "/" + manifest);
    if (!files) return null;
    for (const { path: name, size } of files) {
      const file = await orNull(get(path + "/" + name));
      if (!file || file.size !== size) return null;
    }
    return files;
  };
  const commit = async (path) => {
    const files = (await walk(await folder(path))).filter((f) => f.path !== manifest);
    await put(path + "/" + manifest, JSON.stringify(files));
    return files;
  };

  // giveUp makes a folder incomplete: its files are there, and nothing reads them any more.
  const giveUp = (path) => remove(path + "/" + manifest);

  const run = (id) => "runs/" + id;
  const step = (name) => Number(/^checkpoint-(\d+)$/.exec(name)?.[1] ?? -1);
  // checkpoint is the newest complete one, with its step, or null.
  const checkpoint = async (id) => {
    const names = (await entries(await folder(run(id)))).map(([name]) => name).filter((name) => step(name) >= 0);
    for (const name of names.sort((a, b) => step(b) - step(a))) {
      if (await complete(`${run(id)}/${name}`)) return { name, step: step(name) };
    }
    return null;
  };
  // keepCheckpoint removes all checkpoints, complete or not, except that of the step kept.
  const keepCheckpoint = async (id, kept) => {
    for (const [name] of await entries(await folder(run(id)))) if (step(name) >= 0 && step(name) !== kept) await remove(`${run(id)}/${name}`);
  };
  // lastLine is the last whole line of a file of lines, parsed, or null.
  const lastLine = async (path) => {
    const file = await orNull(get(path));
    if (!file) return null;
    const tail = (await file.slice(Math.max(0, file.size - 65536)).text()).split("\n");
    for (const line of tail.slice(0, -1).reverse()) try { return JSON.parse(line); } catch {}
    return null;
  };

  const lockName = (id) => "llamatab-run-" + id;
  const list = async () => {
    const dir = await orNull(folder("runs"));
    if (!dir) return [];
    const held = new Set((await navigator.locks.query()).held.map((lock) => lock.name));
    const runs = [];
    for (const [id, handle] of await entries(dir)) {
      const meta = await json(`${run(id)}/meta.json`);
      const live = held.has(lockName(id));
      if (!meta) {
        if (!live) await remove(run(id)); // the tab died before it began
        continue;
      }
      const files = await walk(handle);
      const last = await lastLine(`${run(id)}/metrics.jsonl`);
      runs.push({
        id, meta, live, state: await json(`${run(id)}/state.json`), step: last?.step ?? 0, loss: last?.loss ?? null,
        checkpoint: (await checkpoint(id))?.step ?? 0, bytes: files.reduce((n, f) => n + f.size, 0),
        files: [...new Set(files.map((f) => f.path.split("/")[0]))],
      });
    }
    return runs.sort((a, b) => (a.meta.created < b.meta.created ? 1 : -1));
  };
  // removeRun also removes inputs that no other run was made from.
  const removeRun = async (id) => {
    await remove(run(id));
    const used = new Set((await list()).flatMap((r) => Object.values(r.meta.inputs ?? {}).map((i) => i.key)));
    const dir = await orNull(folder("inputs"));
    for (const [key] of dir ? await entries(dir) : []) if (!used.has(key)) await remove("inputs/" + key);
  };
  // prune removes the oldest runs beyond runsKept. Runs that are going on do not count.
  const prune = async () => {
    for (const old of (await list()).filter((r) => !r.live).slice(runsKept)) await removeRun(old.id);
  };

  // files are the File objects of a folder of a run, or of the run itself ("").
  const files = async (id, below) => {
    const path = below ? `${run(id)}/${below}` : run(id);
    if (below && !(await complete(path))) return [];
    const dir = await orNull(folder(path));
    let found = dir ? (await walk(dir)).filter((f) => !f.path.endsWith(manifest)) : [];
    if (!below) { // a checkpoint that is not complete is none
      for (const name of new Set(found.map((f) => f.path.split("/")[0]))) {
        if (step(name) >= 0 && !(await complete(`${path}/${name}`))) found = found.filter((f) => !f.path.startsWith(name + "/"));
      }
    }
    return Promise.all(found.map(async (f) => ({ path: f.path, file: await get(`${path}/${f.path}`) })));
  };
  const inputs = async (key) => {
    const all = await complete("inputs/" + key);
    return all && Promise.all(all.map(async (f) => ({ path: f.path, file: await get(`inputs/${key}/${f.path}`) })));
  };
  // keepInputs copies chosen files, so that a run can be resumed without choosing them again. It reports whether the copies
  // are there: too large files are not copied.
  const keepInputs = async (key, chosen) => {
    if (await complete("inputs/" + key)) return true;
    const bytes = chosen.reduce((n, file) => n + file.size, 0);
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    if (bytes > inputsLimit || bytes > (quota - usage) / 2) return false;
    for (const file of chosen) await put(`inputs/${key}/${file.name}`, file.file ?? file); // {name, file} lies in a folder
    await commit("inputs/" + key);
    return true;
  };

  // lock holds a run for this tab until release is called or the worker ends. It is null where another tab holds the run.
  const lock = (id) => new Promise((done) => {
    navigator.locks.request(lockName(id), { ifAvailable: true }, (lock) => {
      if (!lock) return done(null);
      return new Promise((release) => done({ release }));
    });
  });

  // sizeOf is the size of a file, 0 where there is none.
  const sizeOf = async (path) => (await orNull(get(path)))?.size ?? 0;
  // models lists the models of a hub: {key, about, complete, bytes}. about is what .model.json says, bytes how many have come.
  const models = async () => {
    const dir = await orNull(folder("models")), found = [];
    for (const [key] of dir ? await entries(dir) : []) {
      const path = "models/" + key, about = await json(`${path}/.model.json`);
      if (!about) continue; // the tab died before it began; the next fetch of the model writes it
      let bytes = 0;
      for (const file of about.files) bytes += Math.min(await sizeOf(`${path}/${file.path}`), file.size);
      found.push({ key, about, complete: !!(await complete(path)), bytes });
    }
    return found;
  };
  // modelFiles are the files of a model as {path, file}, null where it is not whole. Of its folders only the chat templates are taken, as of a
  // folder that the person chooses.
  const modelFiles = async (key) => {
    const all = await complete("models/" + key);
    const taken = all?.filter((f) => !/^\.|\//.test(f.path) || /^additional_chat_templates\/[^/]+\.jinja$/.test(f.path));
    return taken ? Promise.all(taken.map(async (f) => ({ path: f.path, file: await get(`models/${key}/${f.path}`) }))) : null;
  };
  const modelLock = (key) => "llamatab-model-" + key;
  // useModel keeps a model from being removed by any tab until the function that it returns is called or the tab ends.
  const useModel = (key) => new Promise((done) => {
    navigator.locks.request(modelLock(key), { mode: "shared" }, () => new Promise((release) => done(release)));
  });
  // removeModel reports whether it has removed a model: one that is in use stays.
  const removeModel = (key) => navigator.locks.request(modelLock(key), { ifAvailable: true }, async (lock) => {
    if (lock) await remove("models/" + key);
    return !!lock;
  });
  // usersOf names the runs that go on, in any tab, with a model.
  const usersOf = async (key) => (await list()).filter((r) => r.live && Object.values(r.meta.inputs ?? {}).some((i) => i.from === "fetched" && i.key === key)).map((r) => r.meta.name);
  // access opens a file to be read and written in place. Only a worker can.
  const access = async (path) => {
    const [dir, name] = split(path);
    return (await (await folder(dir, true)).getFileHandle(name, { create: true })).createSyncAccessHandle();
  };
  const estimate = () => navigator.storage.estimate();

  // lines opens a file of lines to append to. The first line for which keep is false is dropped with all lines after it.
  const lines = async (path, keep) => {
    const handle = await access(path);
    let end = 0;
    const cut = (keep) => {
      const old = new Uint8Array(handle.getSize());
      handle.read(old, { at: 0 });
      end = 0;
      for (let i = 0; i < old.length; i++) {
        if (old[i] !== 10) continue;
        let line = null;
        try { line = JSON.parse(new TextDecoder().decode(old.subarray(end, i))); } catch {}
        if (!line || !keep(line)) break;
        end = i + 1;
      }
      handle.truncate(end);
    };
    cut(keep);
    return {
      cut,
      add(bytes) {
        if (handle.write(bytes, { at: end }) !== bytes.length) {
          handle.truncate(end);
          throw new DOMException("the disk is full", "QuotaExceededError");
        }
        end += bytes.length;
      },
      close() { handle.flush(); handle.close(); },
    };
  };
  // writer opens a file to be written from its start.
  const writer = async (path) => {
    const [dir, name] = split(path);
    const stream = await (await (await folder(dir, true)).getFileHandle(name, { create: true })).createWritable();
    return { write: (bytes) => stream.write(bytes), close: () => stream.close(), abort: () => stream.abort().catch(() => {}) };
  };

  return { get, put, json, remove, commit, complete, giveUp, list, removeRun, prune, files, inputs, keepInputs, checkpoint, keepCheckpoint, lock, lines, writer, run, sizeOf, models, modelFiles, useModel, removeModel, usersOf, access, estimate };
})();
