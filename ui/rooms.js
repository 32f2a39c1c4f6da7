// Rooms, as far as they are the browser's: requests to the server, what this tab remembers of its room, the QR code, the
// curve of the class. Codes and tokens travel in bodies and headers, never in an address that is sent anywhere.
"use strict";

globalThis.llamatabRooms = (tell) => {
  const byId = (id) => document.getElementById(id);
  const lookEvery = 1000, lookAgain = 3000; // milliseconds; the latter while the server does not answer

  // This tab's room and seat outlive a reload, not the tab.
  const place = "llamatab-room";
  const remembered = () => { try { return JSON.parse(sessionStorage.getItem(place)) ?? {}; } catch { return {}; } };
  const remember = (change) => {
    try { sessionStorage.setItem(place, JSON.stringify({ ...remembered(), ...change })); } catch {} // it may be forbidden: a reload then is a new tab
  };

  // The last room that was opened here outlives its tab: who has closed that finds it again on the first screen.
  const ledPlace = "llamatab-led";
  const led = () => { try { return JSON.parse(localStorage.getItem(ledPlace)); } catch { return null; } };
  const lead = (room) => { try { room ? localStorage.setItem(ledPlace, JSON.stringify(room)) : localStorage.removeItem(ledPlace); } catch {} };

  const ask = async (method, path, body, token) => {
    const headers = { "Content-Type": "application/json" };
    if (token) headers.Authorization = "Bearer " + token;
    const answer = await fetch("/api/rooms" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    let content = {};
    try { content = JSON.parse(text); } catch { content = { code: "server", reason: text.trim() }; }
    return { ok: answer.ok, content };
  };
  const unreachable = (error) => ({ code: "unreachable", reason: String(error?.message ?? error) });
  // asked tells Go what came of a request: what is wanted under its name, or the refusal.
  const asked = async (what, request) => {
    const { ok, content } = await request.catch((error) => ({ ok: false, content: unreachable(error) }));
    tell({ type: "room", what: ok ? what : what + "-refused", room: content });
    return ok ? content : null;
  };

  // A seat is one tab's: a tab that was duplicated has the same memory, and finds the lock held.
  let release = () => {};
  const sit = (id, tab) => new Promise((done) => {
    release();
    const wait = AbortSignal.timeout(2000); // a page that was reloaded may still be letting go
    navigator.locks.request(`llamatab-seat-${id}-${tab}`, { signal: wait }, () => {
      done(true);
      return new Promise((free) => { release = free; });
    }).catch(() => done(false));
  });

  let report = {}, since = 1, turn = 0, timer = 0;
  const tokens = () => {
    const { id, owner, tab, token } = remembered();
    return { id, all: [token && `${tab}.${token}`, owner].filter(Boolean) };
  };
  // look reports and asks how the room is, once a second. The owner's word comes last, as it tells more.
  const look = async (mine) => {
    clearTimeout(timer);
    const { id, all } = tokens();
    if (mine !== turn || !id) return;
    let next = lookEvery;
    try {
      for (const token of all) {
        const { ok, content } = await ask("POST", `/${id}/look`, { ...report, hidden: document.hidden, since }, token);
        if (mine !== turn) return;
        if (!ok) {
          tell({ type: "room", what: "look-refused", room: content });
          if (token === all.at(-1)) return;
        } else if (token === all.at(-1)) {
          const losses = content.losses ?? [];
          if (losses.length) {
            since = losses.at(-1).step; // whose held-out loss may still come
            curve.add(losses);
          }
          content.newest = losses.at(-1);
          content.held = losses.findLast((l) => l.eval !== undefined);
          delete content.losses;
          tell({ type: "room", what: "view", room: content });
        }
      }
    } catch (error) {
      tell({ type: "room", what: "view-refused", room: unreachable(error) });
      next = lookAgain;
    }
    timer = setTimeout(() => look(mine), next);
  };
  const watch = () => { since = 1; curve.clear(); look(++turn); };
  document.addEventListener("visibilitychange", () => { if (turn) look(turn); });

  // The class's loss, and that on held-out rows where it was measured. The points stay here; uPlot draws them.
  const curve = (() => {
    let table = [[], [], []], plot = null, box = null; // step, loss, held-out loss
    const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const draw = () => {
      if (!box?.isConnected) return;
      if (!plot) {
        const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
        plot = new uPlot({
          width: box.clientWidth, height: 220, legend: { show: false }, cursor: { show: false }, scales: { x: { time: false } }, axes: [axis, { ...axis, size: 56 }],
          series: [{}, { stroke: colour("--accent"), width: 2, points: { show: false } },
            { stroke: colour("--second"), width: 1, spanGaps: true, points: { show: true, size: 8, fill: colour("--second"), space: 0 } }],
        }, table, box);
        new ResizeObserver(() => { if (plot && box.clientWidth) plot.setSize({ width: box.clientWidth, height: 220 }); }).observe(box);
      } else plot.setData(table);
    };
    return {
      add(points) {
        for (const { step, loss, eval: held } of points) {
          while (table[0].length && table[0].at(-1) >= step) table.forEach((column) => column.pop());
          [step, loss, held ?? null].forEach((value, i) => table[i].push(value));
        }
        draw();
      },
      clear() { table = [[], [], []]; plot?.setData(table); },
      show(element) {
        if (element !== box || !plot) {
          plot?.destroy();
          plot = null;
          box = element;
          box.replaceChildren();
        }
        draw();
      },
      repaint() { plot?.redraw(); },
    };
  })();

  // arrive takes a code out of the address, where it came with a link, and says once what this tab was before a reload.
  let arrived = false;
  const arrive = () => {
    const given = /^#join=([\w-]{1,64})$/.exec(location.hash)?.[1];
    if (given) history.replaceState(null, "", "#home");
    if (given) tell({ type: "room", what: "given", room: { code: given } });
    else if (!arrived && remembered().id) tell({ type: "room", what: "known", room: remembered() });
    else if (!arrived) offerLed(led());
    arrived = true;
  };
  const offerLed = async (room) => {
    if (!room) return;
    const { ok, content } = await ask("POST", `/${room.id}/look`, { since: 0 }, room.owner).catch(() => ({}));
    if (ok) tell({ type: "room", what: "led", room: { name: content.name } });
    else if (content) lead(null);
  };

  // Files that the server is given, by XMLHttpRequest: fetch does not tell how far it is.
  let stopped = new AbortController();
  const put = (url, file, sent, signal) => new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    request.upload.onprogress = ({ loaded }) => sent(loaded);
    request.onload = () => {
      if (request.status === 201) return done();
      try { failed(JSON.parse(request.responseText)); } catch { failed({ code: "server", reason: request.responseText.trim() }); }
    };
    request.onerror = () => failed(unreachable(request.statusText));
    request.onabort = () => failed({ code: "stopped", reason: "" });
    signal.addEventListener("abort", () => request.abort());
    if (signal.aborted) failed({ code: "stopped", reason: "" });
    else request.send(file);
  });
  const api = { model: (name, file) => `/api/models/${name}/${encodeURIComponent(file.name)}`, dataset: (name) => `/api/data/${name}` };

  return {
    curve,
    arrive,
    // hand gives files by kind to the server, under names that end in what keyOf makes of them: what is there already is not
    // sent again.
    async hand(files, names, keyOf) {
      const { signal } = stopped = new AbortController();
      const began = performance.now(), total = Object.values(files).flat().reduce((n, f) => n + f.size, 0);
      let before = 0, told = 0;
      const sent = (bytes) => {
        if (performance.now() - told < 250) return;
        told = performance.now();
        tell({ type: "room", what: "handing", room: { done: Math.min(before + bytes, total), total, seconds: (told - began) / 1000 } });
      };
      const handed = {};
      try {
        for (const [kind, list] of Object.entries(files)) {
          const name = `${names[kind].replace(/[^\w.-]+/g, "-").replace(/^[.-]+/, "").slice(0, 40) || kind}-${keyOf(list)}`;
          handed[kind] = "handed:" + name;
          for (const file of list) {
            const there = await fetch(api[kind](handed[kind], file), { method: "HEAD", signal }).catch(() => ({}));
            if (!there.ok) await put(`/api/handed/${name}/${encodeURIComponent(file.name)}`, file, sent, signal);
            before += file.size;
            sent(0);
          }
        }
        tell({ type: "room", what: "handed", room: handed });
      } catch (refusal) {
        tell({ type: "room", what: "handed-refused", room: refusal.code ? refusal : { code: "server", reason: String(refusal.message ?? refusal) } });
      }
    },
    stopHanding() { stopped.abort(); },
    // openRoom opens a room of a run.json, whose owner this tab then is.
    async openRoom(config) {
      const room = await asked("opened", ask("POST", "", { config: JSON.parse(config) }));
      if (!room) return;
      lead(room);
      remember({ ...room, tab: 0, token: "" });
      watch();
    },
    // leadAgain is the way back to the room that was offered.
    leadAgain() {
      remember({ ...led(), tab: 0, token: "" });
      tell({ type: "room", what: "known", room: remembered() });
    },
    // joinRoom takes a seat by a code, or the seat that this tab had.
    async joinRoom(request) {
      const who = JSON.parse(request);
      if (who.token && !(await sit(who.id, who.tab))) {
        remember({ tab: 0, token: "" });
        tell({ type: "room", what: "joined-refused", room: { code: "duplicate", reason: "" } });
        return;
      }
      const seat = await asked("joined", ask("POST", "/join", who));
      if (!seat) return;
      if (!who.token) await sit(seat.id, seat.tab);
      const before = remembered();
      remember({ ...(before.id === seat.id ? {} : { owner: "", code: who.code, addresses: [] }), id: seat.id, tab: seat.tab, token: seat.token, name: seat.name });
      watch();
    },
    watchRoom: watch,
    async planRoom(tabs) {
      const { id, all } = tokens();
      if (id) await asked("planned", ask("POST", `/${id}/plan`, { tabs }, all[0]));
    },
    reportSeat(what) { report = JSON.parse(what); },
    actRoom(op, tab) {
      const { id, owner } = remembered();
      const path = `/${id}/${op}${tab ? `?tab=${tab}` : ""}`;
      (op === "end" ? ask("DELETE", `/${id}`, undefined, owner) : ask("POST", path, undefined, owner)).then(({ ok, content }) => {
        if (!ok) tell({ type: "room", what: "act-refused", room: content });
        else look(turn);
      }, (error) => tell({ type: "room", what: "act-refused", room: unreachable(error) }));
    },
    // leaveRoom gives the seat back; forgetRoom lets go of the room as well.
    async leaveRoom() {
      const { id, tab, token } = remembered();
      remember({ tab: 0, token: "" });
      release();
      report = {};
      if (token) await ask("POST", `/${id}/look`, { left: true, since }, `${tab}.${token}`).catch(() => {});
    },
    forgetRoom() {
      if (led()?.id === remembered().id) lead(null);
      turn++;
      clearTimeout(timer);
      release();
      report = {};
      try { sessionStorage.removeItem(place); } catch {}
    },
    async showRoom(link) {
      if (byId("room-curve")) curve.show(byId("room-curve"));
      const box = byId("qr");
      if (!box || !link) return;
      const { generate } = await import("/lean-qr.js");
      const canvas = document.createElement("canvas");
      generate(link).toCanvas(canvas, { on: [0, 0, 0, 255], off: [255, 255, 255, 255], pad: 4 }); // dark on light in either theme, as scanners expect
      box.replaceChildren(canvas);
    },
  };
};
