// Tests of replay.js in Node: which calls of WebGPU a recorded script makes, on a device that notes them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const WRITE = 0, RUN = 1; // of scripts
const DISPATCH = 0, COPY = 1, CLEAR = 2, SPLIT = 3; // of programs

const scope = { performance };
vm.runInNewContext(readFileSync(new URL("replay.js", import.meta.url), "utf8"), scope);

// setup returns a replayer, the list of calls that its device notes, and functions for what Go does.
function setup() {
  const calls = [];
  const pass = {
    setPipeline: (p) => calls.push("pipeline " + p),
    setBindGroup: (i, g) => calls.push("group " + g),
    dispatchWorkgroups: (x, y, z) => { if (x < 0) throw new Error("invalid dispatch"); calls.push(`dispatch ${x},${y},${z}`); },
    end: () => calls.push("end"),
  };
  const device = {
    createCommandEncoder: () => {
      calls.push("encoder");
      return {
        beginComputePass: () => { calls.push("pass"); return pass; },
        copyBufferToBuffer: (...args) => calls.push("copy " + args),
        clearBuffer: (...args) => calls.push("clear " + args),
        finish: () => "commands",
      };
    },
    queue: {
      submit: () => calls.push("submit"),
      writeBuffer: (buffer, offset, from, at, size) => calls.push(`write ${buffer} ${offset} ${[...from.subarray(at, at + size)]}`),
    },
  };
  const replay = scope.llamatabReplay(device);
  return {
    calls, replay,
    program: (words, groups = ["g0", "g1"]) => replay.program(new Uint8Array(new Int32Array(words).buffer), groups),
    submit(words) {
      const bytes = replay.reserve(words.length * 4);
      bytes.set(new Uint8Array(new Int32Array(words).buffer));
      replay.submit(words.length);
    },
  };
}

test("dispatches that follow each other share a pass, and a pipeline is set once", () => {
  const { calls, replay, program, submit } = setup();
  const p = replay.add("p"), q = replay.add("q");
  const id = program([DISPATCH, p, 0, 1, 2, 3, DISPATCH, p, 1, 4, 5, 6, DISPATCH, q, 0, 7, 8, 9]);
  submit([RUN, id]);
  assert.deepEqual(calls, ["encoder", "pass", "pipeline p", "group g0", "dispatch 1,2,3", "group g1", "dispatch 4,5,6", "pipeline q", "group g0", "dispatch 7,8,9", "end", "submit"]);
  assert.equal(replay.submits, 1);
});

test("copies and clears end the pass, and their words count four bytes", () => {
  const { calls, replay, program, submit } = setup();
  const p = replay.add("p"), a = replay.add("a"), b = replay.add("b");
  submit([RUN, program([DISPATCH, p, 0, 1, 1, 1, COPY, a, 600_000_000, b, 2, 3, CLEAR, b, 4, 5, DISPATCH, p, 0, 1, 1, 1])]);
  assert.deepEqual(calls, ["encoder", "pass", "pipeline p", "group g0", "dispatch 1,1,1", "end", "copy a,2400000000,b,8,12", "clear b,16,20",
    "pass", "pipeline p", "group g0", "dispatch 1,1,1", "end", "submit"]);
});

test("a split submits what came before it", () => {
  const { calls, replay, program, submit } = setup();
  const b = replay.add("b");
  submit([RUN, program([CLEAR, b, 0, 1, SPLIT, CLEAR, b, 1, 1])]);
  assert.deepEqual(calls, ["encoder", "clear b,0,4", "submit", "encoder", "clear b,4,4", "submit"]);
  assert.equal(replay.submits, 2);
});

test("a write takes effect after the commands before it", () => {
  const { calls, replay, program, submit } = setup();
  const b = replay.add("b"), id = program([CLEAR, b, 0, 1]);
  submit([RUN, id, WRITE, b, 2, 1, 0x04030201, RUN, id]);
  assert.deepEqual(calls, ["encoder", "clear b,0,4", "submit", "write b 8 1,2,3,4", "encoder", "clear b,0,4", "submit"]);
});

test("a check encodes the whole program and submits nothing", () => {
  const { calls, replay, program } = setup();
  const b = replay.add("b");
  replay.check(program([CLEAR, b, 0, 1, SPLIT, CLEAR, b, 1, 1]));
  assert.deepEqual(calls, ["encoder", "clear b,0,4", "encoder", "clear b,4,4"]);
  assert.equal(replay.submits, 0);
});

test("a command that WebGPU refuses leaves nothing half-made behind", () => {
  const { calls, replay, program, submit } = setup();
  const p = replay.add("p"), b = replay.add("b");
  const bad = program([CLEAR, b, 0, 1, DISPATCH, p, 0, -1, 0, 0]), good = program([CLEAR, b, 2, 1]);
  assert.throws(() => replay.check(bad), /invalid dispatch/);
  assert.throws(() => submit([RUN, bad]), /invalid dispatch/);
  calls.length = 0;
  submit([RUN, good]);
  assert.deepEqual(calls, ["encoder", "clear b,8,4", "submit"]);
});

test("a number that was dropped is used again", () => {
  const { replay } = setup();
  const a = replay.add("a"), b = replay.add("b");
  assert.equal(replay.live(), 2);
  replay.drop(a);
  assert.equal(replay.live(), 1);
  assert.equal(replay.add("c"), a);
  assert.notEqual(replay.add("d"), b);
});
