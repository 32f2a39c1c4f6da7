// The checksums by which the hub knows its files: SHA-256 of a large one, and Git's SHA-1 of a small one. They take a file in
// parts, which the browser's own crypto.subtle.digest does not: it wants the whole file in memory.

// The constants of SHA-256 are the first 32 bits of the fractions of the cube roots of the first 64 primes, and the state
// begins with those of the square roots of the first 8.
const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
// fraction is the first 32 bits of the fraction of an integer root, computed in integers: a double has too few bits of it.
const fraction = (n, power) => {
  const target = BigInt(n) << BigInt(32 * power);
  let low = 0n, high = 1n << 36n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(power) <= target) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn) | 0;
};
const constants256 = Int32Array.from(primes, (p) => fraction(p, 3));
const begin256 = primes.slice(0, 8).map((p) => fraction(p, 2));

// Both functions below take the blocks of 64 bytes of view between two places. They read the state once and write it once: they
// are the only part that costs time.
const words = new Int32Array(80);

const blocks256 = (state, view, at, end) => {
  const w = words, k = constants256;
  let s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3], s4 = state[4], s5 = state[5], s6 = state[6], s7 = state[7];
  for (; at < end; at += 64) {
    let a = s0, b = s1, c = s2, d = s3, e = s4, f = s5, g = s6, h = s7;
    for (let i = 0; i < 64; i++) {
      if (i < 16) w[i] = view.getInt32(at + 4 * i);
      else {
        const x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) + (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10));
      }
      const t = (h + (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) + (g ^ (e & (f ^ g))) + k[i] + w[i]) | 0;
      const u = ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) + ((a & b) | (c & (a | b)))) | 0;
      h = g; g = f; f = e; e = (d + t) | 0; d = c; c = b; b = a; a = (t + u) | 0;
    }
    s0 = (s0 + a) | 0; s1 = (s1 + b) | 0; s2 = (s2 + c) | 0; s3 = (s3 + d) | 0;
    s4 = (s4 + e) | 0; s5 = (s5 + f) | 0; s6 = (s6 + g) | 0; s7 = (s7 + h) | 0;
  }
  state.set([s0, s1, s2, s3, s4, s5, s6, s7]);
};

const blocks1 = (state, view, at, end) => {
  const w = words;
  let s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3], s4 = state[4];
  for (; at < end; at += 64) {
    let a = s0, b = s1, c = s2, d = s3, e = s4;
    for (let i = 0; i < 80; i++) {
      if (i < 16) w[i] = view.getInt32(at + 4 * i);
      else {
        const x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
        w[i] = (x << 1) | (x >>> 31);
      }
      const f = i < 20 ? (d ^ (b & (c ^ d))) + 0x5a827999 : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1 : i < 60 ? ((b & c) | (d & (b | c))) + 0x8f1bbcdc : (b ^ c ^ d) + 0xca62c1d6;
      const t = (((a << 5) | (a >>> 27)) + f + e + w[i]) | 0;
      e = d; d = c; c = (b << 30) | (b >>> 2); b = a; a = t;
    }
    s0 = (s0 + a) | 0; s1 = (s1 + b) | 0; s2 = (s2 + c) | 0; s3 = (s3 + d) | 0; s4 = (s4 + e) | 0;
  }
  state.set([s0, s1, s2, s3, s4]);
};

// hash makes a hash of blocks of 64 bytes. add takes bytes, and digest ends it: it returns the hash as hexadecimal text.
const hash = (begin, takeBlocks) => {
  const state = Int32Array.from(begin), rest = new Uint8Array(128), restView = new DataView(rest.buffer);
  let length = 0, held = 0; // bytes in all, and those of them in rest
  return {
    add(bytes) {
      length += bytes.length;
      let at = 0;
      if (held) {
        at = Math.min(64 - held, bytes.length);
        rest.set(bytes.subarray(0, at), held);
        held += at;
        if (held < 64) return;
        takeBlocks(state, restView, 0, 64);
        held = 0;
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const end = bytes.length - (bytes.length - at) % 64;
      takeBlocks(state, view, at, end);
      rest.set(bytes.subarray(end));
      held = bytes.length - end;
    },
    digest() {
      const end = held < 56 ? 64 : 128;
      rest.fill(0, held);
      rest[held] = 0x80;
      restView.setBigUint64(end - 8, BigInt(length) * 8n);
      takeBlocks(state, restView, 0, end);
      return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
    },
  };
};

export const sha256 = () => hash(begin256, blocks256);
export const sha1 = () => hash([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0], blocks1);

// checksumOf begins the checksum of a file of the hub's list, and says which one is right. Git hashes a header before the
// content.
export const checksumOf = (file) => {
  if (file.sha256) return { sum: sha256(), right: file.sha256 };
  const sum = sha1();
  sum.add(new TextEncoder().encode(`blob ${file.size}\0`));
  return { sum, right: file.blob };
};
