// What the page can work with: what the server offers, and which GPU the browser has.

import { tell } from "./inbox.js";

// tellOffers sends the server's models, data, ready runs and recipes; what does not come is an empty list.
export const tellOffers = async () => {
  const ask = (path) => fetch(path).then((answer) => (answer.ok ? answer.json() : []), () => []);
  const [models, data, ready, recipes] = await Promise.all(["/api/models", "/api/data", "/api/runs", "/api/recipes"].map(ask));
  tell("offers", { models, data, ready, recipes });
};

// describeGPU names an adapter and its limits. Software is a GPU that the processor stands in for.
export const describeGPU = ({ limits, info }) => {
  const { vendor, architecture, description, isFallbackAdapter } = info;
  return {
    name: description || [vendor, architecture].filter(Boolean).join(" "),
    software: !!isFallbackAdapter || /swiftshader|llvmpipe/i.test(`${vendor} ${architecture} ${description}`),
    max_buffer: limits.maxBufferSize, max_binding: limits.maxStorageBufferBindingSize,
  };
};

export const tellGPU = async () => {
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter) tell("gpu", describeGPU(adapter));
};

// keepOffline registers the service worker and has it keep what this visit fetched before it was there. Where the browser
// refuses one, as under a certificate that the person has only clicked through, there is none.
export const keepOffline = async () => {
  const before = navigator.serviceWorker?.controller;
  await navigator.serviceWorker?.register("/offline.js");
  if (before || !navigator.serviceWorker) return;
  const fetched = performance.getEntriesByType("resource").map((e) => new URL(e.name)).filter((url) => url.origin === location.origin).map((url) => url.pathname);
  await (await caches.open("llamatab")).addAll([...new Set(["/", "/client-zip.js", "/engine.wasm", "/worker.js", "/replay.js", ...fetched])].filter((path) => !path.startsWith("/api/rooms")));
};
