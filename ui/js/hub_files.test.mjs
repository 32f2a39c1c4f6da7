// The page reads names and lists as the server does: both are held to the cases in server/hub/testdata.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { checkFile, indexOf, neededFiles, parseListing } from "./hub_files.js";
import { nameText, parseName } from "./hub_name.js";

const cases = (file) => JSON.parse(readFileSync(new URL(`../../server/hub/testdata/${file}`, import.meta.url), "utf8"));

test("names and addresses mean what they mean to the server", () => {
  for (const { text, name, error } of cases("names.json")) {
    const read = () => parseName(text, "https://models.school.example:8443/hub");
    if (error) assert.throws(read, (e) => e.code === "hub_name" && e.message.includes(error), JSON.stringify(text));
    else assert.equal(nameText(read()), name, text);
  }
});

// answerOf is what the hub sends in a case; see choose_test.go.
const answerOf = ({ id = "org/name", files = [], siblings = files.map(entry), answer }) => answer ?? JSON.stringify({
  id, sha: "0123456789".repeat(4), gated: false,
  siblings: JSON.parse(JSON.stringify(siblings), (_, value) => ({ blob: "a".repeat(40), lfs: "b".repeat(64) })[value] ?? value),
});
const entry = (rfilename) => ({ rfilename, size: 2, blobId: "blob", ...(rfilename.endsWith(".safetensors") && { lfs: { sha256: "lfs", size: 2, pointerSize: 134 } }) });

for (const c of cases("lists.json")) {
  test(`of a list: ${c.name}`, () => {
    const name = { repo: "org/name", revision: c.revision ?? "main" };
    const read = () => {
      const list = parseListing(answerOf(c), name);
      assert.equal(indexOf(list, name) !== undefined, !list.files.some((f) => f.path === "model.safetensors"));
      return [list.repo, neededFiles(list, c.index ?? "", name)];
    };
    if (c.problem) return assert.throws(read, (e) => e.code === c.problem && e.message.includes(c.says));
    const [repo, files] = read();
    assert.deepEqual(files.map((f) => f.path), c.want);
    assert.equal(repo, c.repo ?? "org/name");
    for (const { path, size, sha256 = "", blob } of files) assert.deepEqual([size, sha256.length, blob.length], [2, ...(path.endsWith(".safetensors") ? [64, 0] : [0, 40])], path);
  });
}

test("a path that could lead out of the folder is no file name", () => {
  for (const path of ["../x", "/etc/passwd", "..\\x", "a/../b", "C:x", "x\0", ".hidden", "a/.git/x", "a//b", "x.", "x ", "", "\ud800", "x".repeat(300)]) {
    assert.throws(() => checkFile({ path, size: 2, blob: "a".repeat(40) }), { code: "hub_broken" }, JSON.stringify(path));
  }
});
