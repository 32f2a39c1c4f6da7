// A room as this page sees it: requests to the server, and once a second a report on this tab and the room's state. Every
// request that is refused goes to Go under the name of what was asked for.

import { addLosses, clearLosses } from "./chart_room.js";
import { tell } from "./inbox.js";
import { forget, led, remember, remembered, rememberLed, tokensOf } from "./room_memory.js";
import { leaveSeat, takeSeat } from "./room_seat.js";

const lookEvery = 1000, lookAgain = 3000; // milliseconds; the latter while the server does not answer

// ask sends a request below /api/rooms; the answer is {ok, content}.
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

// answered tells Go what came of a request, under a topic or as a refusal, and resolves to the content or to null.
const answered = async (topic, request) => {
  const { ok, content } = await request.catch((error) => ({ ok: false, content: unreachable(error) }));
  if (ok) tell(topic, content);
  else tellRefused(topic, content);
  return ok ? content : null;
};

// --- the look once a second ---

let report = {}; // what Go last reported of this tab
let since = 1; // the step from which on losses are wanted
let watching = 0; // counts the rooms that were watched: an answer for an earlier one is dropped
let timer = 0;

// latestOf are the last loss, and the last of those that were measured on held-out rows.
export const latestOf = (losses) => ({ newest: losses.at(-1), held: losses.findLast((l) => l.eval !== undefined) });

// lookOnce asks with one token. It resolves to false where the room does not know this page any more.
const lookOnce = async (id, token, last, mine) => {
  const { ok, content } = await ask("POST", `/${id}/look`, { ...report, hidden: document.hidden, since }, token);
  if (mine !== watching) return false;
  if (!ok) {
    tellRefused("look", content);
    return !last;
  }
  if (!last) return true;
  const { losses = [], ...view } = content;
  if (losses.length) {
    since = losses.at(-1).step; // whose held-out loss may still come
    addLosses(losses);
  }
  tell("room-view", { ...view, ...latestOf(losses) });
  return true;
};

const look = async (mine) => {
  clearTimeout(timer);
  const room = remembered(), tokens = tokensOf(room);
  if (mine !== watching || !room.id) return;
  let next = lookEvery;
  try {
    for (const token of tokens) {
      if (!(await lookOnce(room.id, token, token === tokens.at(-1), mine))) return;
    }
  } catch (error) {
    tellRefused("view", unreachable(error));
    next = lookAgain;
  }
  timer = setTimeout(() => look(mine), next);
};

// watchRoom begins to look at the room that this tab remembers.
export const watchRoom = () => {
  since = 1;
  clearLosses();
  look(++watching);
};

export const watchVisibility = () => document.addEventListener("visibilitychange", () => { if (watching) look(watching); });

// reportSeat says what the next looks report of this tab.
export const reportSeat = (what) => { report = JSON.parse(what); };

// --- requests ---

// createRoom opens a room, whose owner this tab then is.
export const createRoom = async (config) => {
  const room = await answered("room-opened", ask("POST", "", { config: JSON.parse(config) }));
  if (!room) return;
  rememberLed(room);
  remember({ ...room, tab: 0, token: "" });
  watchRoom();
};

// recallRoom tells what this tab was before a reload; else it offers the room that this browser has opened and still leads.
export const recallRoom = async () => {
  const before = remembered(), room = led();
  if (before.id) return tell("room-known", before);
  if (!room) return;
  const { ok, content } = await ask("POST", `/${room.id}/look`, { since: 0 }, room.owner).catch(() => ({}));
  if (ok) tell("room-led", { name: content.name });
  else if (content) rememberLed(null);
};

// returnToLedRoom is the way back to the room that was offered.
export const returnToLedRoom = () => {
  remember({ ...led(), tab: 0, token: "" });
  tell("room-known", remembered());
};

// joinRoom takes a seat by a code, or the seat that this tab had.
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

// planRoom asks what the strategies take over so many tabs.
export const planRoom = async (tabs) => {
  const room = remembered();
  if (room.id) await answered("room-planned", ask("POST", `/${room.id}/plan`, { tabs }, tokensOf(room)[0]));
};

// actInRoom has the room do what its owner wants: op is "start", "pause", "resume", "lock", "unlock", "remove" or "end".
export const actInRoom = async (op, tab) => {
  const { id, owner } = remembered(), path = `/${id}/${op}${tab ? `?tab=${tab}` : ""}`;
  try {
    const { ok, content } = await (op === "end" ? ask("DELETE", `/${id}`, undefined, owner) : ask("POST", path, undefined, owner));
    if (ok) look(watching);
    else tellRefused("act", content);
  } catch (error) {
    tellRefused("act", unreachable(error));
  }
};

// leaveRoom gives the seat back; forgetRoom lets go of the room as well.
export const leaveRoom = async () => {
  const { id, tab, token } = remembered();
  remember({ tab: 0, token: "" });
  leaveSeat();
  report = {};
  if (token) await ask("POST", `/${id}/look`, { left: true, since }, `${tab}.${token}`).catch(() => {});
};

export const forgetRoom = () => {
  if (led()?.id === remembered().id) rememberLed(null);
  watching++;
  clearTimeout(timer);
  leaveSeat();
  report = {};
  forget();
};
