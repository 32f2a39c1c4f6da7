// Results that found no room in the browser's storage: they live in the page's memory until the next run.

const files = new Map(); // path → Blob
let run = "";

export const memoryResults = {
  // begin lets go of the results of the last run.
  begin(id) {
    files.clear();
    run = id;
  },
  put: (path, blob) => files.set(path, blob),
  remove: (path) => files.delete(path),
  // run is the id of the run that they belong to.
  run: () => run,
  entries: () => [...files],
  // below are the files of a folder.
  below: (folder) => [...files].filter(([path]) => path.startsWith(folder + "/")).map(([path, blob]) => new File([blob], path.split("/").pop())),
};
