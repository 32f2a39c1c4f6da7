// The page of a headless job, /job/TOKEN/: it runs one engine, which talks to the server by itself. Only the death of the
// engine is reported from here.
import { startWorker } from "/engine.js";

const job = location.origin + location.pathname;
startWorker(job).addEventListener("message", ({ data }) =>
  fetch(job + "messages", { method: "POST", headers: { "Content-Type": "application/json" }, body: "[" + data + "]" }));
