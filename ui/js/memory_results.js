// Results for which the browser's storage had no space: they stay in the page's memory until the next run.

const files = new Map(); // path → Blob
let run = "";

export const memoryResults = {
  // begin forgets the results of the last run.
  begin(id) {
    files.clear();
    run = id;
  },
  put: (path, blob) => files.set(path, blob),
  remove: (path) => files.delete(path),
  // run is the id of the run that the results belong to.
  run: () => run,
  entries: () => [...files],
  // below are the files of a folder, as {path, file}.
  below: (folder) => [...files].filter(([path]) => path.startsWith(folder + "/")).map(([path, blob]) => ({
    path: path.slice(folder.length + 1), file: new File([blob], path.split("/").pop()),
  })),
};
