// Models of a hub. The server fetches them for the pages of its own machine, and owns the fetches, so that they go on while the page
// is reloaded; this asks how far they are while one is under way. What the browser itself fetches is in hub_direct.js.

import { tellOffers } from "./host_info.js";
import { beginDirect, cancelDirect, pauseDirect, removeDirect } from "./hub_direct.js";
import { tell } from "./inbox.js";

const every = 500; // milliseconds between two questions
let timer = 0, fetched = null; // the models that were fetched when the server last answered

// isUnderWay reports whether the server is worth asking again soon.
export const isUnderWay = ({ fetches }) => fetches.some((f) => f.state === "fetching");

// newlyFetched reports whether a state has models that the one before had not, so that the list of models is out of date.
export const newlyFetched = (before, models) => before !== null && models.some((m) => !before.includes(m));

const take = async (state) => {
  const models = state.fetches.flatMap((f) => f.model ?? []), isNew = newlyFetched(fetched, models);
  fetched = models;
  if (isNew) await tellOffers(); // Go can choose the model as soon as it hears that it is there
  tell("hub", state);
  clearTimeout(timer);
  timer = isUnderWay(state) ? setTimeout(recallHub, every) : 0;
};

// recallHub asks for the hub and the fetches. A server that fetches nothing for this page answers with an error, and Go hears nothing.
export const recallHub = async () => {
  try {
    const answer = await fetch("/hub/fetches");
    if (answer.ok) await take(await answer.json());
  } catch {
    clearTimeout(timer);
    if (fetched !== null) timer = setTimeout(recallHub, 4 * every);
  }
};

const act = async (path, name) => {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) });
    const content = await answer.json();
    if (answer.ok) await take(content);
    else tell("hub-problem", content);
  } catch (error) {
    tell("hub-problem", { code: "server", message: String(error.message ?? error) });
  }
};

// The functions that Go calls take the way: "browser", or "server".
export const fetchModel = (name, way) => (way === "browser" ? beginDirect(name) : act("/hub/fetches", name));
export const pauseFetch = (name, way) => (way === "browser" ? pauseDirect(name) : act("/hub/pause", name));
export const cancelFetch = (name, way) => (way === "browser" ? cancelDirect(name) : act("/hub/cancel", name));
export const removeModel = async (name, way) => {
  if (way === "browser") return removeDirect(name);
  await act("/hub/remove", name);
  await tellOffers();
};
