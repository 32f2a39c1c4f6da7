import assert from "node:assert/strict";
import { File } from "node:buffer";
import test from "node:test";
import { crc32, deflateRawSync } from "node:zlib";
import { contentOf, entriesOf, modelIn } from "./zip_files.js";

globalThis.File ??= File;

// pack makes a zip archive of files {path: {bytes, method, change}}; change alters the fields of an entry.
const pack = (files, { zip64 = false, comment = "" } = {}) => {
  const parts = [], list = [];
  let offset = 0;
  const add = (to, buffer) => { to.push(buffer); return buffer.length; };
  for (const [path, { bytes, method = 0, ...change }] of Object.entries(files)) {
    const packed = method === 8 ? deflateRawSync(bytes) : bytes, name = Buffer.from(path);
    const e = { flags: 0, method, crc: crc32(bytes), packed: packed.length, size: bytes.length, offset, ...change };
    const head = Buffer.alloc(30), entry = Buffer.alloc(46), extra = zip64 ? Buffer.alloc(28) : Buffer.alloc(0);
    head.writeUInt32LE(0x04034b50, 0);
    head.writeUInt16LE(name.length, 26);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(e.flags, 8);
    entry.writeUInt16LE(e.method, 10);
    entry.writeUInt32LE(e.crc, 16);
    entry.writeUInt32LE(zip64 ? 0xffffffff : e.packed, 20);
    entry.writeUInt32LE(zip64 ? 0xffffffff : e.size, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt16LE(extra.length, 30);
    entry.writeUInt32LE(zip64 ? 0xffffffff : e.offset, 42);
    if (zip64) {
      extra.writeUInt16LE(1, 0);
      extra.writeUInt16LE(24, 2);
      [e.size, e.packed, e.offset].forEach((n, i) => extra.writeBigUInt64LE(BigInt(n), 4 + 8 * i));
    }
    for (const b of [head, name, packed]) offset += add(parts, b);
    for (const b of [entry, name, extra]) add(list, b);
  }
  const directory = Buffer.concat(list), end = Buffer.alloc(22), after = [];
  if (zip64) {
    const end64 = Buffer.alloc(56), locator = Buffer.alloc(20);
    end64.writeUInt32LE(0x06064b50, 0);
    end64.writeBigUInt64LE(BigInt(directory.length), 40);
    end64.writeBigUInt64LE(BigInt(offset), 48);
    locator.writeUInt32LE(0x07064b50, 0);
    locator.writeBigUInt64LE(BigInt(offset + directory.length), 8);
    after.push(end64, locator);
  }
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt32LE(zip64 ? 0xffffffff : directory.length, 12);
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16);
  end.writeUInt16LE(comment.length, 20);
  return new File([Buffer.concat([...parts, directory, ...after, end, Buffer.from(comment)])], "model.zip", { lastModified: 5 });
};

const config = Buffer.from('{"model_type": "llama"}'), weights = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7 + (i >> 8)) & 255));

test("the model's files of an archive are read, packed or not, small or with the fields of large ones", async () => {
  for (const about of [{}, { comment: "made by hand" }, { zip64: true }]) {
    const zip = pack({
      "my model/": { bytes: Buffer.alloc(0) }, "my model/config.json": { bytes: config, method: 8 }, "my model/model.safetensors": { bytes: weights },
      "my model/pytorch_model.bin": { bytes: weights, method: 8 }, "__MACOSX/my model/._config.json": { bytes: config },
    }, about);
    const files = await modelIn(zip);
    assert.deepEqual(files.map((f) => [f.path, f.file.name, f.file.size, f.file.lastModified]), [["my model/config.json", "config.json", config.length, 5], ["my model/model.safetensors", "model.safetensors", weights.length, 5]]);
    assert.deepEqual(Buffer.from(await files[0].file.arrayBuffer()), config);
    assert.deepEqual(Buffer.from(await files[1].file.arrayBuffer()), weights);
  }
});

test("an archive without config.json holds no model", async () => {
  assert.deepEqual(await modelIn(pack({ "rows.jsonl": { bytes: config } })), []);
});

test("what is damaged, cut off, encrypted or too large is refused", async () => {
  const one = (change) => pack({ "config.json": { bytes: config, ...change } });
  for (const [change, says] of [
    [{ crc: 1 }, /damaged/], [{ method: 8, crc: 1 }, /damaged/], [{ method: 8, size: 5 }, /larger/], [{ size: 500 }, /damaged/], [{ flags: 1 }, /encrypted/], [{ method: 12 }, /packed in a way/],
    [{ offset: 3 }, /damaged/], [{ packed: 5000 }, /cut off/],
  ]) await assert.rejects(modelIn(one(change)), says);
  const whole = Buffer.from(await one({}).arrayBuffer());
  for (let n = 0; n < whole.length; n++) await assert.rejects(modelIn(new File([whole.subarray(0, n)], "x.zip")));
  await assert.rejects(modelIn(new File([Buffer.concat([whole, Buffer.alloc(70_000)])], "x.zip")), /no zip archive/);
});

test("changed bytes end in an error or in right content, never in other content", async () => {
  const whole = Buffer.from(await pack({ "config.json": { bytes: config, method: 8 }, "model.safetensors": { bytes: weights.subarray(0, 300) } }, { zip64: true }).arrayBuffer());
  for (let i = 0; i < whole.length; i++) {
    const changed = Buffer.from(whole);
    changed[i] ^= 1 << (i % 8);
    let files = [];
    try { files = await modelIn(new File([changed], "x.zip")); } catch { continue; }
    for (const { file } of files) {
      const bytes = Buffer.from(await file.arrayBuffer());
      assert.ok(bytes.equals(config) || bytes.equals(weights.subarray(0, 300)), `byte ${i}`);
    }
  }
});

test("names in an archive are only names", async () => {
  const zip = pack({ "../../config.json": { bytes: config }, "a\\model.safetensors": { bytes: weights } });
  const [first, second] = await entriesOf(zip);
  assert.deepEqual([first.path, second.path], ["../../config.json", "a/model.safetensors"]);
  assert.equal((await contentOf(zip, first)).name, "config.json");
});
