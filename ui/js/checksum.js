// The checksums by which the hub knows its files: SHA-256 of a large one, and Git's SHA-1 of a small one. They take a file in
// parts, which the browser's own crypto.subtle.digest does not: it wants the whole file in memory.

// checksums returns the function that begins the checksum of a file of the hub's list, and says which one is right. sha256 and sha1
// are those of @noble/hashes.
export const checksums = ({ sha256, sha1 }) => (file) => {
  if (file.sha256) return { sum: sumOf(sha256), right: file.sha256 };
  const sum = sumOf(sha1);
  sum.add(new TextEncoder().encode(`blob ${file.size}\0`)); // Git hashes a header before the content
  return { sum, right: file.blob };
};

// sumOf begins a hash. add takes bytes, and digest ends it: it returns the hash as hexadecimal text.
const sumOf = (hash) => {
  const state = hash.create();
  return {
    add: (bytes) => { state.update(bytes); },
    digest: () => Array.from(state.digest(), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  };
};
