// Downloads, and texts for the clipboard.

import { tell, tellProblem } from "./inbox.js";
import { memoryResults } from "./memory_results.js";

// saveBlob has the browser save a file.
export const saveBlob = (name, blob) => {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
};

export const saveJSON = (name, text) => saveBlob(name, new Blob([text], { type: "application/json" }));

// filesBelow selects the entries, each of path and content, whose path is one of the paths or below one, sorted by path.
export const filesBelow = (entries, paths) =>
  [...new Map(entries)].filter(([path]) => paths.some((p) => path === p || path.startsWith(p + "/"))).sort(([a], [b]) => (a < b ? -1 : 1));

// download packs the files of a run below some paths as a zip, with a README.md. Without a run it packs files in memory.
export const download = async (run, paths, name, readme) => {
  let problem = "";
  try {
    const { downloadZip } = await import("/client-zip.js");
    const kept = run ? (await llamatabStore.files(run, "")).map(({ path, file }) => [path, file]) : [];
    const inMemory = !run || run === memoryResults.run() ? memoryResults.entries() : [];
    const files = filesBelow([...kept, ...inMemory], JSON.parse(paths)).map(([path, input]) => ({ name: path, input, lastModified: new Date() }));
    if (readme) files.push({ name: "README.md", input: readme, lastModified: new Date() });
    saveBlob(name, await downloadZip(files).blob());
  } catch (error) {
    problem = String(error);
  }
  tell("download-ended", { problem });
};

// copy puts a text on the clipboard. A failure is reported unless the text is also shown on the page.
export const copy = async (text, shown) => {
  await navigator.clipboard.writeText(text).catch(shown ? () => {} : tellProblem("E-COPY"));
};
