// The encoding of a text file. The engine reads UTF-8; other systems also write GB18030 and UTF-16.

const judged = 16 << 20; // bytes of a larger file from which its encoding is judged

// decoded is the text of bytes in an encoding, or null where they are none. Of partial bytes the last character may be cut.
export const decoded = (bytes, encoding, partial = false) => {
  try { return new TextDecoder(encoding, { fatal: true }).decode(bytes, { stream: partial }); } catch { return null; }
};

// encodingOf guesses the encoding of bytes that are not UTF-8, by their byte order mark.
export const encodingOf = (bytes) => ({ "255,254": "utf-16le", "254,255": "utf-16be" })[bytes.slice(0, 2)] ?? "gb18030";

// toUTF8 returns a file in UTF-8 and the name of the encoding that it was decoded from. A file that is UTF-8, or no text in a
// known encoding, is returned as it is, without a name: the engine says where such a file is at fault.
export const toUTF8 = async (file) => {
  const start = new Uint8Array(await file.slice(0, judged).arrayBuffer());
  if (decoded(start, "utf-8", file.size > judged) !== null) return { file };
  const encoding = encodingOf(start);
  const text = decoded(await file.arrayBuffer(), encoding);
  if (text === null) return { file };
  return { file: new File([text], file.name, { lastModified: file.lastModified }), encoding: encoding.toUpperCase() };
};
