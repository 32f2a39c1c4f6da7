// The service worker stores what the page fetches, so that the page opens and trains without a network. Where there is a
// network, everything is fetched from the server, so that an update of the program arrives at once.
"use strict";

const store = "llamatab";
const fileLimit = 64 << 20; // bytes; a larger file of a model or dataset is not stored

// nameOf is the name under which an answer is stored. The page has one name, whatever its query and fragment are. It is null
// for what must not be stored: jobs, rooms, what the server fetches from a hub, and files that were uploaded for a room.
const nameOf = ({ method, mode, url }) => {
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== location.origin || /^\/(job|hub|api\/rooms|api\/\w+\/handed(:|%3A).*)\//.test(pathname + "/")) return null;
  return mode === "navigate" ? (pathname === "/" ? "/" : null) : pathname;
};

// part cuts the requested range out of a whole answer.
const part = async (answer, range) => {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  if (from === undefined) return answer;
  const whole = await answer.blob(), last = Math.min(+to, whole.size - 1);
  if (+from > last) return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${whole.size}` } });
  return new Response(whole.slice(+from, last + 1), { status: 206, headers: { "Content-Range": `bytes ${from}-${last}/${whole.size}`, "Content-Length": last + 1 - from } });
};

// keep stores an answer. For a range, the whole file is fetched once.
const keep = async (name, answer, range) => {
  const cache = await caches.open(store);
  if (!range) return answer.status === 200 && cache.put(name, answer);
  const size = Number(answer.headers.get("Content-Range")?.split("/")[1]);
  const old = await cache.match(name);
  if (size <= fileLimit && Number(old?.headers.get("Content-Length")) !== size) await cache.add(name);
};

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { request } = event, name = nameOf(request), range = request.headers.get("Range");
  if (name === null) return;
  const stored = () => caches.open(store).then((cache) => cache.match(name)).then((old) => (old && range ? part(old, range) : old)).catch(() => undefined);
  event.respondWith(fetch(request).then(async (answer) => {
    if (answer.status >= 500) return (await stored()) ?? answer; // of a proxy, or of a server that is about to end
    event.waitUntil(keep(name, answer.clone(), range).catch(() => {})); // the storage may be full
    return answer;
  }, async (error) => {
    const old = await stored();
    if (!old) throw error;
    return old;
  }));
});
