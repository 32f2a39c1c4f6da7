// A stand-in for the origin private file system and for Web Locks in Node, with store.js over it.
import { readFileSync } from "node:fs";
import vm from "node:vm";

const source = readFileSync(new URL("store.js", import.meta.url), "utf8");
const missing = () => new DOMException("not there", "NotFoundError");

class FakeFile {
  kind = "file";
  bytes = new Uint8Array();
  constructor(name, disk) { Object.assign(this, { name, disk }); }
  async getFile() { return new File([this.bytes], this.name); }
  async createWritable() {
    const parts = [];
    return {
      write: async (content) => { parts.push(new Uint8Array(await new Blob([content]).arrayBuffer())); },
      close: async () => { this.bytes = new Uint8Array(await new Blob(parts).arrayBuffer()); },
      abort: async () => {},
    };
  }
  async createSyncAccessHandle() {
    return {
      getSize: () => this.bytes.length,
      read: (into, { at }) => {
        const found = this.bytes.subarray(at, at + into.length);
        into.set(found);
        return found.length;
      },
      write: (from, { at }) => {
        const fits = from.subarray(0, this.disk.free);
        const grown = new Uint8Array(Math.max(this.bytes.length, at + fits.length));
        grown.set(this.bytes);
        grown.set(fits, at);
        this.bytes = grown;
        return fits.length;
      },
      truncate: (size) => {
        const resized = new Uint8Array(size);
        resized.set(this.bytes.subarray(0, size));
        this.bytes = resized;
      },
      flush() {},
      close() {},
    };
  }
}

class FakeFolder {
  kind = "directory";
  children = new Map();
  constructor(disk) { this.disk = disk; }
  child(name, create, make) {
    if (!this.children.has(name)) {
      if (!create) throw missing();
      this.children.set(name, make());
    }
    return this.children.get(name);
  }
  async getDirectoryHandle(name, { create = false } = {}) { return this.child(name, create, () => new FakeFolder(this.disk)); }
  async getFileHandle(name, { create = false } = {}) { return this.child(name, create, () => new FakeFile(name, this.disk)); }
  async removeEntry(name) { if (!this.children.delete(name)) throw missing(); }
  async *entries() { yield* this.children; }
}

// fakeLocks are Web Locks. held and shared are the names of those that are held alone and by several.
const fakeLocks = (held, shared) => {
  const waiting = [];
  const isBusy = (name, mode) => held.includes(name) || (mode !== "shared" && shared.includes(name));
  const free = async (name, { mode, signal }) => {
    while (isBusy(name, mode)) {
      await new Promise((done, failed) => {
        waiting.push(done);
        signal?.addEventListener("abort", () => failed(signal.reason));
      });
    }
  };
  return {
    query: async () => ({ held: [...held, ...shared].map((name) => ({ name })) }),
    async request(name, options, use) {
      if (options.ifAvailable && isBusy(name, options.mode)) return use(null);
      await free(name, options);
      const names = options.mode === "shared" ? shared : held;
      names.push(name);
      try {
        return await use({ name });
      } finally {
        names.splice(names.indexOf(name), 1);
        for (const done of waiting.splice(0)) done();
      }
    },
  };
};

// fakeStore is a fresh store. disk.free is how many bytes a write may still take; held are the names of locks.
export function fakeStore() {
  const disk = { free: Infinity }, root = new FakeFolder(disk), held = [], shared = [];
  const estimate = { quota: 1e9, usage: 0 }, locks = fakeLocks(held, shared);
  const scope = { navigator: { storage: { getDirectory: async () => root, estimate: async () => estimate }, locks }, TextDecoder, DOMException, File, Blob };
  vm.runInNewContext(source, scope);
  return { store: scope.llamatabStore, disk, held, shared, estimate, locks };
}
