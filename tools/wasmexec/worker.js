// Runs one Go program in a dedicated worker. Files and terminal of the runner are reached by synchronous requests, so that
// everything that the program prints before a crash has arrived.
"use strict";

const decoder = new TextDecoder();

function request(method, url, body, type = "") {
  const xhr = new XMLHttpRequest();
  xhr.open(method, url, false);
  xhr.responseType = type;
  xhr.send(body);
  return xhr;
}

// call asks the runner for one file operation. An error has the code that Go's runtime maps to an errno.
function call(op, args, body) {
  const xhr = request("POST", "fs/" + op + "?" + new URLSearchParams(args), body, op === "read" ? "arraybuffer" : "text");
  if (xhr.status !== 200) {
    const text = op === "read" ? decoder.decode(xhr.response) : xhr.responseText;
    const error = new Error(op + " " + (args.path ?? "") + ": " + text);
    error.code = xhr.getResponseHeader("X-Errno") ?? "EIO";
    throw error;
  }
  return op === "read" ? new Uint8Array(xhr.response) : xhr.responseText === "" ? undefined : JSON.parse(xhr.responseText);
}

// answer makes a function with a callback, as in Node, of a synchronous function.
const answer = (f) => (...args) => {
  const callback = args.pop();
  let result;
  try {
    result = f(...args);
  } catch (error) {
    error.code ??= "EIO";
    callback(error);
    return;
  }
  callback(null, result);
};

const O = { O_WRONLY: 1, O_RDWR: 2, O_CREAT: 64, O_EXCL: 128, O_TRUNC: 512, O_APPEND: 1024, O_DIRECTORY: 65536 };
const files = new Map(); // descriptor → {path, at, append}
let nextDescriptor = 3;

const file = (fd) => {
  const f = files.get(fd);
  if (!f) throw Object.assign(new Error("bad file descriptor"), { code: "EBADF" });
  return f;
};
const absolute = (path) => (path.startsWith("/") ? path : directory + "/" + path);
const stat = (op) => (path) => {
  const s = call(op, { path: absolute(path) });
  return { ...s, isDirectory: () => (s.mode & 0o170000) === 0o040000 };
};

globalThis.fs = {
  constants: O,
  writeSync(fd, bytes) {
    request("POST", "write/" + fd, bytes.slice());
    return bytes.length;
  },
  write: answer((fd, bytes, offset, length, position) => {
    const part = bytes.slice(offset, offset + length);
    if (fd === 1 || fd === 2) return fs.writeSync(fd, part);
    const f = file(fd);
    const n = call("write", { path: f.path, offset: f.append ? -1 : position ?? f.at }, part);
    if (position === null) f.at += n;
    return n;
  }),
  open: answer((path, flags, mode) => {
    path = absolute(path);
    call("open", { path, flags, mode });
    files.set(nextDescriptor, { path, at: 0, append: (flags & O.O_APPEND) !== 0 });
    return nextDescriptor++;
  }),
  read: answer((fd, bytes, offset, length, position) => {
    if (fd === 0) return 0;
    const f = file(fd);
    const got = call("read", { path: f.path, offset: position ?? f.at, length });
    bytes.set(got, offset);
    if (position === null) f.at += got.length;
    return got.length;
  }),
  close: answer((fd) => { files.delete(fd); }),
  fstat: answer((fd) => stat("stat")(file(fd).path)),
  stat: answer(stat("stat")),
  lstat: answer(stat("lstat")),
  readdir: answer((path) => call("readdir", { path: absolute(path) })),
  mkdir: answer((path, mode) => call("mkdir", { path: absolute(path), mode })),
  unlink: answer((path) => call("unlink", { path: absolute(path) })),
  rmdir: answer((path) => call("rmdir", { path: absolute(path) })),
  rename: answer((from, to) => call("rename", { path: absolute(from), to: absolute(to) })),
  truncate: answer((path, length) => call("truncate", { path: absolute(path), length })),
  ftruncate: answer((fd, length) => call("truncate", { path: file(fd).path, length })),
  fsync: answer(() => {}),
  chmod: answer(() => {}),
  fchmod: answer(() => {}),
  utimes: answer(() => {}),
};
for (const op of ["chown", "fchown", "lchown", "link", "readlink", "symlink"]) {
  fs[op] = answer(() => { throw Object.assign(new Error(op + " is not offered to tests in the browser"), { code: "ENOSYS" }); });
}

let directory = "";
globalThis.process = {
  getuid: () => -1, getgid: () => -1, geteuid: () => -1, getegid: () => -1,
  getgroups: () => [], pid: 1, ppid: 0, umask: () => 0o022,
  cwd: () => directory,
  chdir: (path) => { directory = absolute(path); },
};
globalThis.path = { resolve: (...parts) => absolute(parts.join("/")) };

const end = (code, message) => request("POST", "exit?code=" + code, message ?? "");

async function main() {
  const setup = await (await fetch("setup")).json();
  directory = setup.directory;
  if (!(await navigator.gpu?.requestAdapter())) {
    end(1, "wasmexec: this browser offers no WebGPU adapter: run `llamatab doctor` to see why");
    return;
  }
  importScripts("wasm_exec.js", "replay.js");
  const go = new Go();
  go.argv = setup.args;
  go.env = setup.env;
  let code = 0;
  go.exit = (c) => { code = c; };
  const { instance } = await WebAssembly.instantiateStreaming(fetch("program.wasm"), go.importObject);
  globalThis.wasm = { instance };
  await go.run(instance);
  end(code);
}

const crashed = (what) => end(1, "wasmexec: uncaught in the worker: " + (what?.stack ?? what));
self.addEventListener("error", (e) => crashed(e.error ?? e.message));
self.addEventListener("unhandledrejection", (e) => crashed(e.reason));
main();
