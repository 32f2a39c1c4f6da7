import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { sha1 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { checksums } from "./checksum.js";

const checksumOf = checksums({ sha256, sha1 });
const bytes = (n) => Uint8Array.from({ length: n }, (_, i) => i ^ (i >> 8) ^ ((i >> 16) * 7));

test("checksums are those of Node and Git, for every length around the blocks, however the bytes are parted", () => {
  for (const n of [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 100_003]) {
    const right = {
      sha256: createHash("sha256").update(bytes(n)).digest("hex"),
      blob: createHash("sha1").update(`blob ${n}\0`).update(bytes(n)).digest("hex"),
    };
    for (const kind of Object.keys(right)) {
      for (const part of [1, 7, 63, 64, 65, 4096, 200_000]) {
        if (n / part > 2000) continue;
        const { sum, right: wanted } = checksumOf({ size: n, [kind]: right[kind] }), data = bytes(n + 5).subarray(0, n);
        for (let at = 0; at < n; at += part) sum.add(data.subarray(at, at + part));
        assert.equal(wanted, right[kind]);
        assert.equal(sum.digest(), wanted, `${kind} of ${n} bytes in parts of ${part}`);
      }
    }
  }
});

test("a large file has its SHA-256, a small one Git's SHA-1 of a blob", () => {
  const large = checksumOf({ size: 3, sha256: "x" }), small = checksumOf({ size: 6, blob: "ce013625030ba8dba906f756967f9e9ca394464a" });
  assert.equal(large.right, "x");
  large.sum.add(new TextEncoder().encode("abc"));
  assert.equal(large.sum.digest(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  small.sum.add(new TextEncoder().encode("hello\n")); // git hash-object says ce0136…
  assert.equal(small.sum.digest(), small.right);
});
