// The JavaScript half of engine/device/webgpu. It replays recorded GPU commands, so that a training step costs one call
// from Go however many dispatches it has. A page or worker loads it before it starts the Go program.
//
// Scripts and programs are lists of int32 words. Offsets and sizes in buffers count 4-byte words, so that an int32 reaches
// beyond 2 GiB.
//   script:   WRITE buffer offset size data…     RUN program
//   program:  DISPATCH pipeline group x y z      COPY source from target to size     CLEAR buffer from size     SPLIT
"use strict";

globalThis.llamatabReplay = (device) => {
  const WRITE = 0, RUN = 1;
  const DISPATCH = 0, COPY = 1, CLEAR = 2, SPLIT = 3;
  const { queue } = device;
  const objects = [], free = []; // buffers, pipelines and programs by id, and the ids to use again
  let bytes, words; // two views of what Go sends
  let encoder = null, pass = null, pipeline = -1;
  let dry = false; // encode without submitting

  const copying = () => {
    pass?.end();
    pass = null;
    pipeline = -1;
    return (encoder ??= device.createCommandEncoder());
  };
  const flush = () => {
    if (!encoder) return;
    const commands = copying().finish();
    encoder = null;
    if (dry) return;
    queue.submit([commands]);
    self.submits++;
  };
  const encode = ({ code, groups }) => {
    for (let i = 0; i < code.length; ) {
      switch (code[i]) {
        case DISPATCH: // consecutive dispatches share a pass
          pass ??= (encoder ??= device.createCommandEncoder()).beginComputePass();
          if (code[i + 1] !== pipeline) pass.setPipeline(objects[(pipeline = code[i + 1])]);
          pass.setBindGroup(0, groups[code[i + 2]]);
          pass.dispatchWorkgroups(code[i + 3], code[i + 4], code[i + 5]);
          i += 6;
          break;
        case COPY:
          copying().copyBufferToBuffer(objects[code[i + 1]], code[i + 2] * 4, objects[code[i + 3]], code[i + 4] * 4, code[i + 5] * 4);
          i += 6;
          break;
        case CLEAR:
          copying().clearBuffer(objects[code[i + 1]], code[i + 2] * 4, code[i + 3] * 4);
          i += 4;
          break;
        case SPLIT:
          flush();
          i++;
      }
    }
  };
  // attempt runs f and submits. When WebGPU throws, no unfinished encoder is left for the next call.
  const attempt = (f) => {
    const start = performance.now();
    try {
      f();
      flush();
    } finally {
      encoder = pass = null;
      pipeline = -1;
      if (!dry) self.seconds += (performance.now() - start) / 1000;
      dry = false;
    }
  };

  const self = {
    submits: 0, // calls of queue.submit
    seconds: 0, // spent in submit
    // live is the number of registered objects.
    live: () => objects.length - free.length,
    add(object) {
      const id = free.pop() ?? objects.length;
      objects[id] = object;
      return id;
    },
    drop(id) {
      objects[id] = undefined;
      free.push(id);
    },
    // program registers a command list. Its DISPATCH commands name bind groups by their index in groups.
    program: (code, groups) => self.add({ code: new Int32Array(code.buffer), groups }),
    // check encodes a program without submitting it, so that WebGPU validates all of it.
    check: (id) => attempt(() => { dry = true; encode(objects[id]); flush(); }),
    // reserve makes the array into which Go writes a script or the data of a write.
    reserve(size) {
      bytes = new Uint8Array(size);
      words = new Int32Array(bytes.buffer);
      return bytes;
    },
    // write copies to a buffer what Go wrote into that array, or a part of another array.
    write(buffer, offset, size, from = bytes, at = 0) {
      queue.writeBuffer(objects[buffer], offset * 4, from, at, size);
    },
    submit: (length) => attempt(() => {
      for (let i = 0; i < length; ) {
        if (words[i] === RUN) {
          encode(objects[words[i + 1]]);
          i += 2;
        } else {
          flush(); // a write takes effect after what was submitted before it
          queue.writeBuffer(objects[words[i + 1]], words[i + 2] * 4, bytes, (i + 4) * 4, words[i + 3] * 4);
          i += 4 + words[i + 3];
        }
      }
    }),
  };
  return self;
};
