// What the server offers, and which GPU the browser has.

import { tell } from "./inbox.js";

// tellOffers sends Go the server's models, data, ready runs and recipes. A list that cannot be fetched is empty.
export const tellOffers = async () => {
  const ask = (path) => fetch(path).then((answer) => (answer.ok ? answer.json() : []), () => []);
  const [models, data, ready, recipes] = await Promise.all(["/api/models", "/api/data", "/api/runs", "/api/recipes"].map(ask));
  tell("offers", { models, data, ready, recipes });
};

// describeGPU is an adapter's name and limits. A software adapter computes on the processor.
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

// keepOffline registers the service worker and stores what the page needs without a network and the store lacks: the service
// worker stores only what is fetched after it has started. The page itself is stored last: without its files it would open from
// the store and could not start. Some browsers refuse a service worker, for instance where the person has accepted an untrusted
// certificate.
export const keepOffline = async () => {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("/offline.js");
  const cache = await caches.open("llamatab");
  const fetched = performance.getEntriesByType("resource").map((e) => new URL(e.name)).filter((url) => url.origin === location.origin).map((url) => url.pathname);
  const ofWorkers = ["worker", "replay", "hub_worker", "hub_fetches", "hub_download", "hub_files", "hub_name", "hub_net", "hub_problem", "checksum", "sha2", "legacy", "_md", "_u64", "utils"].map((name) => `/${name}.js`);
  const paths = new Set(["/client-zip.js", "/engine.wasm", ...ofWorkers, ...fetched]);
  const store = async (path) => (await cache.match(path)) || cache.add(path);
  const stored = [...paths].filter((path) => !/^\/(offline\.js|job\/|hub\/|api\/rooms)/.test(path)).map((path) =>
    store(path).catch((error) => { if (!path.startsWith("/api/")) throw error; })); // a list that the server lacks is empty
  await Promise.all(stored);
  await store("/");
};
