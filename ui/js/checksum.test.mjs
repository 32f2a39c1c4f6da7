import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { checksumOf, sha1, sha256 } from "./checksum.js";

const bytes = (n) => Uint8Array.from({ length: n }, (_, i) => i ^ (i >> 8) ^ ((i >> 16) * 7));

test("hashes are those of Node, for every length around the blocks, however the bytes are parted", () => {
  for (const [name, make] of Object.entries({ sha1, sha256 })) {
    for (const n of [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 100_003]) {
      const right = createHash(name).update(bytes(n)).digest("hex");
      for (const part of [1, 7, 63, 64, 65, 4096, 200_000]) {
        if (n / part > 2000) continue;
        const sum = make(), data = bytes(n + 5).subarray(0, n);
        for (let at = 0; at < n; at += part) sum.add(data.subarray(at, at + part));
        assert.equal(sum.digest(), right, `${name} of ${n} bytes in parts of ${part}`);
      }
    }
  }
});

test("bytes that begin anywhere in their buffer are hashed alike", () => {
  const data = new Uint8Array(1003);
  data.set(bytes(1000), 3);
  const sum = sha256();
  sum.add(data.subarray(3));
  assert.equal(sum.digest(), createHash("sha256").update(bytes(1000)).digest("hex"));
});

test("a large file has its SHA-256, a small one Git's SHA-1 of a blob", () => {
  const large = checksumOf({ size: 3, sha256: "x" }), small = checksumOf({ size: 6, blob: "ce013625030ba8dba906f756967f9e9ca394464a" });
  assert.equal(large.right, "x");
  large.sum.add(new TextEncoder().encode("abc"));
  assert.equal(large.sum.digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  small.sum.add(new TextEncoder().encode("hello\n")); // git hash-object says ce0136…
  assert.equal(small.sum.digest(), small.right);
});

