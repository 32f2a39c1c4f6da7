// Downloads a model of a hub into the browser's storage, straight from the hub. It runs in a worker (hub_worker.js), as only there
// a file can be written in place. server/hub/pull.go does the same for the server.
//
// A model is the folder models/KEY of the storage (store.js). The file .model.json in it says which files the model has, and which
// of them are checked. A file grows from its start to its end, so its size tells where to go on after a cut connection, a closed
// page or a crash. It counts once its size and checksum are right; the model counts once all its files do.

import { indexOf, maxIndex, maxListing, neededFiles, parseListing } from "./hub_files.js";
import { nameText } from "./hub_name.js";
import { fail, HubProblem } from "./hub_problem.js";

const parallel = 4; // files that are fetched at a time
const maxDamaged = 3; // times that a file may come with a wrong checksum
const portion = 4 << 20; // bytes that are read and hashed at a time: the other files wait meanwhile

export const aboutFile = ".model.json";

// keyOf is the name of a model's folder. No part of a hub's name has "--" or "@".
export const keyOf = ({ repo, commit }) => `${repo.replace("/", "--")}@${commit}`;
export const folderOf = (key) => "models/" + key;

// Download is the fetching of one model. disk is llamatabStore, checksumOf comes from checksum.js. changed is called when its
// progress has changed, and end with the reason when one file has failed: it aborts the hub's signal, so that the other files end,
// too.
export class Download {
  constructor(hub, disk, checksumOf, changed, end) {
    Object.assign(this, { hub, disk, checksumOf, changed, end, name: hub.name, key: "", done: 0, total: 0, came: 0, checking: 0, files: [] });
    this.saved = Promise.resolve();
  }

  // run fetches what is missing and returns the model's key.
  async run() {
    const { hub, disk, name } = this;
    const list = parseListing(await hub.small(hub.listAddress(), maxListing), name), index = indexOf(list, name);
    const indexText = index && (await this.indexText(list, index));
    this.files = neededFiles(list, indexText, name);
    this.list = list;
    this.key = keyOf(list);
    this.total = this.files.reduce((n, f) => n + f.size, 0);
    if (await disk.complete(folderOf(this.key))) {
      this.done = this.total;
      return this.key;
    }
    await this.stored(this.begin());
    await this.room();
    await this.several();
    await this.stored(this.saved.then(() => disk.commit(folderOf(this.key))));
    return this.key;
  }

  // stored waits for work of the browser's storage, and explains its failure.
  async stored(work) {
    try {
      return await work;
    } catch (error) {
      if (error instanceof HubProblem || error?.name === "AbortError") throw error;
      if (error?.name === "QuotaExceededError") throw this.full(this.total - this.done, await this.free());
      throw new HubProblem("storage", `the browser's storage: ${error?.message ?? error}`);
    }
  }

  // indexText is the text of the index of a sharded model, checked: it says which files are to be fetched.
  async indexText(list, index) {
    const text = await this.hub.small(this.hub.fileAddress(list, index.path), maxIndex);
    const { sum, right } = this.checksumOf(index);
    sum.add(new TextEncoder().encode(text));
    if (sum.digest() !== right) fail("hub_damaged", `${index.path} of ${nameText(this.name)} has come with a wrong checksum`);
    return text;
  }

  // begin opens the model's folder. What an earlier commit of the same revision has left unfinished is removed.
  async begin() {
    const { disk, key, list, name } = this;
    for (const other of await disk.models()) {
      if (!other.complete && other.key !== key && other.about.repo === list.repo && other.about.revision === name.revision) await disk.remove(folderOf(other.key));
    }
    const known = await disk.json(`${folderOf(key)}/${aboutFile}`);
    const same = known && JSON.stringify(known.files) === JSON.stringify(this.files);
    this.about = {
      repo: list.repo, revision: name.revision, commit: list.commit, endpoint: this.hub.endpoint, began: new Date().toISOString(),
      files: this.files, checked: (same && known.checked) || [], etags: (same && known.etags) || {},
    };
    await this.save();
    this.there = new Map();
    for (const file of this.files) this.set(file, Math.min(await disk.sizeOf(this.path(file)), file.size), 0);
  }

  path(file) { return `${folderOf(this.key)}/${file.path}`; }

  // save writes what is known of the model, one writing after the other.
  save() {
    const text = JSON.stringify(this.about);
    return (this.saved = this.saved.catch(() => {}).then(() => this.disk.put(`${folderOf(this.key)}/${aboutFile}`, text)));
  }

  // set notes how many bytes of a file are there, and how many of them have just come.
  set(file, there, came) {
    this.done += there - (this.there.get(file.path) ?? 0);
    this.there.set(file.path, there);
    this.came += came;
    this.changed();
  }

  // room refuses to begin what the browser's storage cannot hold.
  async room() {
    const needed = this.total - this.done, free = await this.free();
    if (needed > free) throw this.full(needed, free);
  }

  async free() {
    const { quota = Infinity, usage = 0 } = await this.disk.estimate();
    return Math.max(quota - usage, 0);
  }

  full(needed, free) {
    return new HubProblem("hub_disk", `${nameText(this.name)} needs ${needed} bytes more, and this browser has ${free} bytes free for this page`, { needed, free });
  }

  // several fetches the files, some at a time. The first that fails ends it.
  async several() {
    const waiting = this.files.filter((f) => !(this.about.checked.includes(f.path) && this.there.get(f.path) === f.size));
    let failed = null;
    const worker = async () => {
      for (let file; !failed && (file = waiting.shift());) {
        try {
          await this.fetchFile(file);
        } catch (error) {
          failed ??= error;
          this.end(error);
        }
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    if (failed) throw failed;
  }

  // fetchFile fetches a file, or what is missing of it, until it is right.
  async fetchFile(file) {
    const handle = await this.stored(this.disk.access(this.path(file)));
    try {
      for (let damaged = 1; ; damaged++) {
        const part = { file, handle, at: Math.min(handle.getSize(), file.size), hashed: 0, ...this.checksumOf(file) };
        handle.truncate(part.at);
        this.set(file, part.at, 0);
        await this.hub.untilWhole((progress) => this.fetchRest(part, progress));
        if (await this.isRight(part)) break;
        this.restart(part);
        if (damaged === maxDamaged) fail("hub_damaged", `${file.path} of ${nameText(this.name)} has come ${maxDamaged} times with a wrong checksum`, { next: "something between here and the hub changes the bytes" });
      }
      handle.flush();
    } finally {
      handle.close();
    }
    this.about.checked.push(file.path);
    await this.stored(this.save());
  }

  // restart drops what there is of a file.
  restart(part) {
    part.handle.truncate(0);
    Object.assign(part, { at: 0, hashed: 0, ...this.checksumOf(part.file) });
    this.set(part.file, 0, 0);
  }

  // fetchRest asks for the bytes that are missing and writes them. Where the hub sends the file from its start, it begins anew.
  async fetchRest(part, progress) {
    const { file } = part, { hub } = this;
    progress.there = part.at;
    if (part.at === file.size) return;
    const { response, read, close } = await hub.request(hub.fileAddress(this.list, file.path), part.at);
    try {
      this.accept(part, response);
      for (let bytes; (bytes = await read());) {
        await this.write(part, bytes);
        progress.there = Math.max(progress.there, part.at);
      }
    } finally {
      close();
    }
    if (part.at < file.size) throw hub.cut();
  }

  // accept checks that an answer has the bytes that are missing. Headers that the hub does not let pages read are not there.
  accept(part, response) {
    const { file, at } = part, { about, hub } = this, etag = response.headers.get("ETag") ?? "", length = response.headers.get("Content-Length");
    const again = (why) => { this.restart(part); fail("hub_broken", why, { again: true }); };
    switch (response.status) {
      case 200:
        if (length !== null && Number(length) !== file.size) fail("hub_broken", `${hub.host} sends ${length} bytes as ${file.path} of ${nameText(this.name)}, which has ${file.size}`, { next: "something between here and the hub may answer in its place" });
        if (at > 0) this.restart(part);
        break;
      case 206: {
        const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "") ?? [];
        const right = from === undefined ? length === null || Number(length) === file.size - at : Number(from) === at && Number(total) === file.size;
        if (!right) again(`the hub sends other bytes of ${file.path} than those that are missing`);
        if (at > 0 && etag && about.etags[file.path] && etag !== about.etags[file.path]) again(`${file.path} has changed at the hub`);
        break;
      }
      case 416: return again(`the hub does not continue ${file.path} where it was cut off`);
      default: hub.refuse(response);
    }
    if (part.at === 0 && about.etags[file.path] !== etag) {
      about.etags[file.path] = etag;
      this.save().catch(() => {}); // the next writing reports it
    }
  }

  // write adds bytes to a file and, where nothing before them is missing in it, to its checksum.
  async write(part, bytes) {
    const { file, handle } = part;
    if (part.at + bytes.length > file.size) fail("hub_broken", `the hub sends more bytes of ${file.path} than the ${file.size} that its list says`);
    try {
      if (handle.write(bytes, { at: part.at }) < bytes.length) throw new DOMException("the storage is full", "QuotaExceededError");
    } catch (error) {
      handle.truncate(part.at);
      await this.stored(Promise.reject(error));
    }
    if (part.hashed === part.at) {
      part.sum.add(bytes);
      part.hashed += bytes.length;
    }
    part.at += bytes.length;
    this.set(file, part.at, bytes.length);
  }

  // isRight hashes what of a file is not hashed yet: what earlier visits have left.
  async isRight(part) {
    const { file, handle, sum, right } = part, buffer = new Uint8Array(Math.min(portion, file.size - part.hashed));
    this.checking++;
    try {
      while (part.hashed < file.size) {
        const n = handle.read(buffer.subarray(0, Math.min(buffer.length, file.size - part.hashed)), { at: part.hashed });
        if (n === 0) return false;
        sum.add(buffer.subarray(0, n));
        part.hashed += n;
        this.changed();
        await new Promise((done) => setTimeout(done));
        this.hub.signal.throwIfAborted();
      }
      return sum.digest() === right;
    } finally {
      this.checking--;
    }
  }
}
