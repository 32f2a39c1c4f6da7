// Requests about rooms to the server. Once a second this page sends a report on its tab and receives the room's state. Go is told
// of each refused request, under the topic of the answer that was expected.

import { addLosses, clearLosses } from "./chart_room.js";
import { tell } from "./inbox.js";
import { forget, ownedRoom, remember, remembered, rememberOwned, tokensOf } from "./room_memory.js";
import { leaveSeat, takeSeat } from "./room_seat.js";

const pollEvery = 1000, pollAgain = 3000; // milliseconds; the latter while the server does not answer

// ask sends a request to an address below /api/rooms; the answer is {ok, content}.
const ask = async (method, path, body, token) => {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = "Bearer " + token;
  const answer = await fetch("/api/rooms" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let content = {};
  try { content = JSON.parse(text); } catch { content = { code: "server", reason: text.trim() }; }
  return { ok: answer.ok, content };
};

export const unreachable = (error) => ({ code: "unreachable", reason: String(error?.message ?? error) });
export const tellRefused = (request, refusal) => tell("room-refused", { request, refusal });

// answered sends Go the answer to a request under a topic, or the refusal. It resolves to the content or to null.
const answered = async (topic, request) => {
  const { ok, content } = await request.catch((error) => ({ ok: false, content: unreachable(error) }));
  if (ok) tell(topic, content);
  else tellRefused(topic, content);
  return ok ? content : null;
};

// --- the report and the view once a second ---

let report = {}; // Go's last report on this tab
let since = 1; // losses are requested from this step on
let watching = 0; // number of the watched room: answers for an earlier one are dropped
let timer = 0;

// latestOf are the last loss and the last loss that has a held-out loss.
export const latestOf = (losses) => ({ newest: losses.at(-1), held: losses.findLast((l) => l.eval !== undefined) });

// requestView requests the room's state with one token. It resolves to false where the room no longer accepts this page.
const requestView = async (id, token, last, mine) => {
  const { ok, content } = await ask("POST", `/${id}/look`, { ...report, hidden: document.hidden, since }, token);
  if (mine !== watching) return false;
  if (!ok) {
    tellRefused("look", content);
    return !last;
  }
  if (!last) return true;
  const { losses = [], ...view } = content;
  if (losses.length) {
    since = losses.at(-1).step; // again, as its held-out loss may come later
    addLosses(losses);
  }
  tell("room-view", { ...view, ...latestOf(losses) });
  return true;
};

const poll = async (mine) => {
  clearTimeout(timer);
  const room = remembered(), tokens = tokensOf(room);
  if (mine !== watching || !room.id) return;
  let next = pollEvery;
  try {
    for (const token of tokens) {
      if (!(await requestView(room.id, token, token === tokens.at(-1), mine))) return;
    }
  } catch (error) {
    tellRefused("view", unreachable(error));
    next = pollAgain;
  }
  timer = setTimeout(() => poll(mine), next);
};

// watchRoom begins to request the state of the room that this tab is in.
export const watchRoom = () => {
  since = 1;
  clearLosses();
  poll(++watching);
};

export const watchVisibility = () => document.addEventListener("visibilitychange", () => { if (watching) poll(watching); });

// reportSeat sets the report on this tab.
export const reportSeat = (what) => { report = JSON.parse(what); };

// --- requests ---

// createRoom opens a room. This tab becomes its owner.
export const createRoom = async (config) => {
  const room = await answered("room-opened", ask("POST", "", { config: JSON.parse(config) }));
  if (!room) return;
  rememberOwned(room);
  remember({ ...room, tab: 0, token: "" });
  watchRoom();
};

// recallRoom sends Go the room that this tab was in before a reload. Without one it offers the room that a tab of this browser
// has opened, if that room still exists.
export const recallRoom = async () => {
  const before = remembered(), room = ownedRoom();
  if (before.id) return tell("room-known", before);
  if (!room) return;
  const { ok, content } = await ask("POST", `/${room.id}/look`, { since: 0 }, room.owner).catch(() => ({}));
  if (ok) tell("room-owned", { name: content.name });
  else if (content) rememberOwned(null);
};

// returnToOwnedRoom returns to the room that recallRoom has offered.
export const returnToOwnedRoom = () => {
  remember({ ...ownedRoom(), tab: 0, token: "" });
  tell("room-known", remembered());
};

// joinRoom requests a new seat by a code, or the seat that this tab had.
export const joinRoom = async (request) => {
  const who = JSON.parse(request);
  if (who.token && !(await takeSeat(who.id, who.tab))) {
    remember({ tab: 0, token: "" });
    tellRefused("room-joined", { code: "duplicate", reason: "" });
    return;
  }
  const seat = await answered("room-joined", ask("POST", "/join", who));
  if (!seat) return;
  if (!who.token) await takeSeat(seat.id, seat.tab);
  const known = remembered().id === seat.id ? {} : { owner: "", code: who.code, addresses: [] };
  remember({ ...known, id: seat.id, tab: seat.tab, token: seat.token, name: seat.name });
  watchRoom();
};

// planRoom requests the forecast of memory and traffic by strategy, for a number of tabs.
export const planRoom = async (tabs) => {
  const room = remembered();
  if (room.id) await answered("room-planned", ask("POST", `/${room.id}/plan`, { tabs }, tokensOf(room)[0]));
};

// actInRoom sends a command of the room's owner: "start", "pause", "resume", "lock", "unlock", "remove" or "end".
export const actInRoom = async (op, tab) => {
  const { id, owner } = remembered(), path = `/${id}/${op}${tab ? `?tab=${tab}` : ""}`;
  try {
    const { ok, content } = await (op === "end" ? ask("DELETE", `/${id}`, undefined, owner) : ask("POST", path, undefined, owner));
    if (ok) poll(watching);
    else tellRefused("act", content);
  } catch (error) {
    tellRefused("act", unreachable(error));
  }
};

// leaveRoom gives the seat back. forgetRoom also forgets the room.
export const leaveRoom = async () => {
  const { id, tab, token } = remembered();
  remember({ tab: 0, token: "" });
  leaveSeat();
  report = {};
  if (token) await ask("POST", `/${id}/look`, { left: true, since }, `${tab}.${token}`).catch(() => {});
};

export const forgetRoom = () => {
  if (ownedRoom()?.id === remembered().id) rememberOwned(null);
  watching++;
  clearTimeout(timer);
  leaveSeat();
  report = {};
  forget();
};
