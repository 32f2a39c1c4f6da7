// The encoding of a text file. The engine reads UTF-8; other systems also write GB18030 and UTF-16.

const sampleSize = 16 << 20; // bytes at the start of a larger file from which its encoding is guessed

// decoded is the text of bytes in an encoding, or null where they are not valid in it. partial bytes may end within a character.
export const decoded = (bytes, encoding, partial = false) => {
  try { return new TextDecoder(encoding, { fatal: true }).decode(bytes, { stream: partial }); } catch { return null; }
};

// encodingOf guesses the encoding of bytes that are not UTF-8, by their byte order mark.
export const encodingOf = (bytes) => ({ "255,254": "utf-16le", "254,255": "utf-16be" })[bytes.slice(0, 2)] ?? "gb18030";

// isPacked reports whether bytes begin a gzip file or a zip archive, which the engine unpacks and decodes itself.
export const isPacked = (bytes) => ["31,139", "80,75,3,4", "80,75,5,6"].some((magic) => `${bytes.slice(0, 4)},`.startsWith(`${magic},`));

// toUTF8 returns a file in UTF-8 and the name of its former encoding. A file that is UTF-8, packed, or not text in a known encoding
// is returned as it is, without a name: the engine reports where such a file is wrong.
export const toUTF8 = async (file) => {
  const start = new Uint8Array(await file.slice(0, sampleSize).arrayBuffer());
  if (isPacked(start) || decoded(start, "utf-8", file.size > sampleSize) !== null) return { file };
  const encoding = encodingOf(start);
  const text = decoded(await file.arrayBuffer(), encoding);
  if (text === null) return { file };
  return { file: new File([text], file.name, { lastModified: file.lastModified }), encoding: encoding.toUpperCase() };
};
