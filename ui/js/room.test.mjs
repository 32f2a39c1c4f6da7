import assert from "node:assert/strict";
import test from "node:test";
import { drain } from "./inbox.js";
import { actInRoom, createRoom, forgetRoom, joinRoom, leaveRoom, recallRoom, reportSeat } from "./room.js";

// storage stands in for local and session storage.
const storage = () => {
  const values = new Map();
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, String(value)), removeItem: (key) => values.delete(key) };
};
globalThis.document = { hidden: false };

// The server answers requests from a list: by "METHOD path" an answer or an error. It keeps the requests.
let answers, requests, held;
globalThis.fetch = async (address, { method, headers, body }) => {
  const path = method + " " + address.replace("/api/rooms", "");
  requests.push({ path, body: body && JSON.parse(body), token: headers.Authorization?.replace("Bearer ", "") });
  const answer = answers[path];
  if (answer === undefined) throw new Error("no server");
  return { ok: !answer.code || !answer.reason, text: async () => JSON.stringify(answer) };
};
const begin = (given) => {
  answers = given;
  requests = [];
  held = new Set();
  timers.length = 0;
  globalThis.sessionStorage = storage();
  globalThis.localStorage = storage();
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { locks: { request: (name, _, granted) => {
    if (held.has(name)) return Promise.reject(new Error("held"));
    held.add(name);
    return granted();
  } } } });
  drain();
};
// settled waits until all answers have arrived: they come without timers.
const settled = () => new Promise((done) => setImmediate(done));
// timers are the delays of the timers that room.js has set; none of them fires.
const timers = [];
globalThis.setTimeout = (_, delay) => timers.push(delay);
const told = () => JSON.parse(drain());
const room = { id: "r1", code: "471902", owner: "OWNER", addresses: [] };
const gone = { code: "gone", reason: "the room has ended" };

test("who opens a room owns it, and sees its latest losses", async () => {
  begin({ "POST ": room, "POST /r1/look": { name: "Class", phase: "lobby", losses: [{ step: 1, loss: 3, eval: 4 }, { step: 2, loss: 2 }] } });
  await createRoom('{"name":"Class"}');
  await settled();
  assert.deepEqual(requests.map((r) => [r.path, r.token]), [["POST ", undefined], ["POST /r1/look", "OWNER"]]);
  assert.deepEqual(told(), [{ topic: "room-opened", content: room },
    { topic: "room-view", content: { name: "Class", phase: "lobby", newest: { step: 2, loss: 2 }, held: { step: 1, loss: 3, eval: 4 } } }]);
  assert.deepEqual(timers, [1000]); // until the next request of the view
  await actInRoom("start", 0); // an unknown path: the server is not reached
  assert.deepEqual(told(), [{ topic: "room-refused", content: { request: "act", refusal: { code: "unreachable", reason: "no server" } } }]);
  forgetRoom();
  assert.equal(localStorage.getItem("llamatab-led"), null);
  assert.equal(sessionStorage.getItem("llamatab-room"), null);
});

test("a tab that joins reports with its seat's token, and gives the seat back", async () => {
  begin({ "POST /join": { id: "r1", tab: 2, token: "SEAT", name: "Bo" }, "POST /r1/look": { phase: "lobby" } });
  reportSeat('{"phase":"load","done":1,"total":4}');
  await joinRoom('{"code":"471902","name":"Bo"}');
  await settled();
  assert.deepEqual(requests[1], { path: "POST /r1/look", token: "2.SEAT", body: { phase: "load", done: 1, total: 4, hidden: false, since: 1 } });
  assert.deepEqual(told().map((m) => m.topic), ["room-joined", "room-view"]);
  assert.ok(held.has("llamatab-seat-r1-2"));
  await leaveRoom();
  assert.deepEqual(requests.at(-1), { path: "POST /r1/look", token: "2.SEAT", body: { left: true, since: 1 } });
  assert.equal(JSON.parse(sessionStorage.getItem("llamatab-room")).token, "");
  forgetRoom();
});

test("a duplicate of a tab does not get its seat", async () => {
  begin({});
  held.add("llamatab-seat-r1-2");
  await joinRoom('{"id":"r1","tab":2,"token":"SEAT"}');
  assert.deepEqual(told(), [{ topic: "room-refused", content: { request: "room-joined", refusal: { code: "duplicate", reason: "" } } }]);
  assert.deepEqual(requests, []);
});

test("a room that has ended is not asked again", async () => {
  begin({ "POST ": room, "POST /r1/look": gone });
  await createRoom("{}");
  await settled();
  assert.deepEqual(told().at(-1), { topic: "room-refused", content: { request: "look", refusal: gone } });
  assert.deepEqual(timers, []);
  forgetRoom();
});

test("after a reload the tab's room is recalled, else the room that this browser has opened", async () => {
  begin({ "POST /r1/look": { name: "Class" } });
  await recallRoom();
  assert.deepEqual(told(), []);
  localStorage.setItem("llamatab-led", JSON.stringify(room));
  await recallRoom();
  assert.deepEqual(told(), [{ topic: "room-owned", content: { name: "Class" } }]);
  answers = { "POST /r1/look": gone };
  await recallRoom();
  assert.equal(localStorage.getItem("llamatab-led"), null);
  sessionStorage.setItem("llamatab-room", JSON.stringify({ id: "r2", tab: 1, token: "T" }));
  await recallRoom();
  assert.deepEqual(told(), [{ topic: "room-known", content: { id: "r2", tab: 1, token: "T" } }]);
});
