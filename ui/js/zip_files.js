// Reads zip archives that the person chooses: a model's folder often comes as one. What an archive stores without compression is
// a slice of it, so that a large model needs no memory.

const signatures = { end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50, entry: 0x02014b50, content: 0x04034b50 };
const endLimit = 22 + 0xffff; // bytes of the record at the end, with its comment
const listLimit = 16 << 20; // bytes of an archive's list of files
const entryLimit = 4096; // files
const sizeLimit = 2 ** 40; // bytes of a file

export const isZip = (file) => /\.zip$/i.test(file.name);

const read = async (blob, from, length) => {
  if (from < 0 || from + length > blob.size) throw new Error("the zip archive is cut off");
  return new DataView(await blob.slice(from, from + length).arrayBuffer());
};
const number64 = (view, at) => {
  const n = view.getBigUint64(at, true);
  if (n > Number.MAX_SAFE_INTEGER) throw new Error("the zip archive is damaged");
  return Number(n);
};

// listOf finds the archive's list of files by the record at its end.
const listOf = async (zip) => {
  const from = Math.max(0, zip.size - endLimit), tail = await read(zip, from, zip.size - from);
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== signatures.end) at--;
  if (at < 0) throw new Error("this is no zip archive, or it is cut off");
  let size = tail.getUint32(at + 12, true), offset = tail.getUint32(at + 16, true);
  if (at >= 20 && tail.getUint32(at - 20, true) === signatures.locator64) {
    const end = await read(zip, number64(tail, at - 12), 56);
    if (end.getUint32(0, true) !== signatures.end64) throw new Error("the zip archive is damaged");
    [size, offset] = [number64(end, 40), number64(end, 48)];
  }
  if (size > listLimit) throw new Error("the zip archive has too many files");
  return read(zip, offset, size);
};

// large reads the sizes and the place of a file of 4 GB or more from the extra fields of its entry.
const large = (entry, list, from, to) => {
  for (let at = from; at + 4 <= to; at += 4 + list.getUint16(at + 2, true)) {
    if (list.getUint16(at, true) !== 1) continue;
    let field = at + 4;
    for (const key of ["size", "packed", "offset"]) {
      if (entry[key] !== 0xffffffff) continue;
      entry[key] = number64(list, field);
      field += 8;
    }
  }
};

// entriesOf lists the files of an archive: {path, size, packed, offset, method, crc}. Folders and what macOS adds are left out.
export const entriesOf = async (zip) => {
  const list = await listOf(zip), entries = [], text = new TextDecoder("utf-8", { fatal: false });
  for (let at = 0; at + 46 <= list.byteLength;) {
    if (list.getUint32(at, true) !== signatures.entry) throw new Error("the zip archive is damaged");
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((i) => list.getUint16(at + i, true)), name = at + 46, extra = name + nameLength;
    if (extra + extraLength > list.byteLength) throw new Error("the zip archive is damaged");
    const entry = {
      path: text.decode(new Uint8Array(list.buffer, name, nameLength)).replaceAll("\\", "/"), method: list.getUint16(at + 10, true), crc: list.getUint32(at + 16, true),
      packed: list.getUint32(at + 20, true), size: list.getUint32(at + 24, true), offset: list.getUint32(at + 42, true), locked: !!(list.getUint16(at + 8, true) & 1),
    };
    large(entry, list, extra, extra + extraLength);
    if (!entry.path.endsWith("/") && !entry.path.startsWith("__MACOSX/")) entries.push(entry);
    if (entries.length > entryLimit) throw new Error("the zip archive has too many files");
    at = extra + extraLength + commentLength;
  }
  return entries;
};

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

// checked passes bytes on and fails where they are not those of the entry.
const checked = (entry) => {
  let crc = 0xffffffff, size = 0;
  return new TransformStream({
    transform(chunk, controller) {
      size += chunk.length;
      if (size > entry.size) throw new Error(`${entry.path} is larger than the zip archive says`);
      for (let i = 0; i < chunk.length; i++) crc = crcTable[(crc ^ chunk[i]) & 255] ^ (crc >>> 8);
      controller.enqueue(chunk);
    },
    flush() {
      if (size !== entry.size || (crc ^ 0xffffffff) >>> 0 !== entry.crc) throw new Error(`${entry.path} is damaged in the zip archive`);
    },
  });
};

// contentOf is the content of a file of an archive, checked, as a File under its own name.
export const contentOf = async (zip, entry) => {
  if (entry.locked) throw new Error(`${entry.path} is encrypted: unpack the zip archive and choose its folder`);
  if (entry.method !== 0 && entry.method !== 8) throw new Error(`${entry.path} is packed in a way that is not read: unpack the zip archive and choose its folder`);
  if (entry.size > sizeLimit) throw new Error(`${entry.path} is too large`);
  const head = await read(zip, entry.offset, 30);
  if (head.getUint32(0, true) !== signatures.content) throw new Error("the zip archive is damaged");
  const from = entry.offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  if (from + entry.packed > zip.size) throw new Error("the zip archive is cut off");
  const packed = zip.slice(from, from + entry.packed), name = entry.path.split("/").at(-1), about = { lastModified: zip.lastModified };
  if (entry.method === 8) {
    const blob = await new Response(packed.stream().pipeThrough(new DecompressionStream("deflate-raw")).pipeThrough(checked(entry))).blob();
    return new File([blob], name, about);
  }
  await packed.stream().pipeThrough(checked(entry)).pipeTo(new WritableStream());
  return new File([packed], name, about);
};

// A model's own files; others in the archive are not unpacked.
const ofModel = /\.(json|safetensors|jinja|txt|model)$/i;

// modelIn lists the files of the model in an archive as {file, path}, none where it holds no config.json.
export const modelIn = async (zip) => {
  const entries = await entriesOf(zip), files = [];
  if (!entries.some((e) => /(^|\/)config\.json$/.test(e.path))) return files;
  for (const entry of entries) if (ofModel.test(entry.path)) files.push({ path: entry.path, file: await contentOf(zip, entry) });
  return files;
};
