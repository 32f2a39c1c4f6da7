// Finds the files of a job: Go names a source for each of the job's mounts (ui/source.go).

import { chosenFiles } from "./chosen_files.js";
import { memoryResults } from "./memory_results.js";

// filesOf are the files of a source: File objects, or descriptions of the server's files. It throws where what was kept in the
// browser's storage is gone.
const filesOf = async (source) => {
  switch (source.from) {
    case "chosen": return chosenFiles(source.kind, source.positions);
    case "server": return source.files;
    case "run": return (await llamatabStore.files(source.run, source.folder)).map((f) => f.file);
    case "memory": return memoryResults.below(source.folder);
    case "fetched": {
      const files = await llamatabStore.modelFiles(source.key);
      if (files) return files;
      throw new Error(source.key);
    }
    case "kept": {
      const files = await llamatabStore.inputs(source.key);
      if (files) return files.map((f) => f.file);
      throw new Error(source.key);
    }
  }
};

// filesByMount are the files of all sources, by mount.
export const filesByMount = async (sources) =>
  Object.fromEntries(await Promise.all(Object.entries(sources).map(async ([mount, source]) => [mount, await filesOf(source)])));
