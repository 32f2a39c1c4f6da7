// Finds the files of a job: Go names a source for each of the job's mounts (ui/source.go).

import { chosenFiles } from "./chosen_files.js";
import { memoryResults } from "./memory_results.js";

// placed is a file under its path in the folder that the engine gets. A File object has its own name, and no folder.
export const placed = ({ path, file }) => (path.includes("/") ? { name: path, size: file.size, lastModified: file.lastModified, file } : file);

// filesOf are the files of a source: File objects, {name, file} for a file in a folder of the model, or descriptions of the
// server's files. It throws where what was kept in the browser's storage is gone.
const filesOf = async (source) => {
  switch (source.from) {
    case "chosen": return chosenFiles(source.kind, source.positions, source.folder).map(placed);
    case "server": return source.files;
    case "run": return (await llamatabStore.files(source.run, source.folder)).map(placed);
    case "memory": return memoryResults.below(source.folder).map(placed);
    case "fetched": {
      const files = await llamatabStore.modelFiles(source.key);
      if (files) return files.map(placed);
      throw new Error(source.key);
    }
    case "kept": {
      const files = await llamatabStore.inputs(source.key);
      if (files) return files.map(placed);
      throw new Error(source.key);
    }
  }
};

// filesByMount are the files of all sources, by mount.
export const filesByMount = async (sources) =>
  Object.fromEntries(await Promise.all(Object.entries(sources).map(async ([mount, source]) => [mount, await filesOf(source)])));
