// Shows why llamatab cannot run here, and what to do. It is loaded before the page's other scripts, so that it learns of those
// that do not load.
"use strict";

(() => {
  // showGate shows the reason, which is one of those in index.html, and a report with the detail.
  globalThis.showGate = (reason, detail = "") => {
    let chosen = null; // storage may be forbidden
    try { chosen = localStorage.getItem("language"); } catch {}
    const lang = (chosen ?? navigator.languages?.[0] ?? navigator.language).toLowerCase().startsWith("zh") ? "zh" : "en";
    document.documentElement.lang = lang;
    for (const part of document.body.children) part.hidden = part.id !== "gate";
    const gate = document.getElementById("gate");
    for (const part of gate.querySelectorAll("[data-reason], section")) part.hidden = (part.dataset.reason ?? reason) !== reason || (part.lang || lang) !== lang;
    for (const link of gate.querySelectorAll("a[data-reason]")) link.href = "https://" + location.host; // one port serves http and https
    gate.querySelector("pre").textContent = [reason, detail, location.origin, navigator.userAgent].filter(Boolean).join("\n");
  };

  document.getElementById("gate").addEventListener("click", ({ target }) => {
    if (target.dataset.do === "reload") location.reload();
    if (target.dataset.do !== "copy") return;
    getSelection().selectAllChildren(document.querySelector("#gate pre")); // the clipboard of scripts needs a secure context
    document.execCommand("copy");
  });

  // problem says why a file of the page does not load; it is empty where it does.
  const problem = (path) => fetch(path).then(({ ok, status }) => (ok ? "" : `${path}: the server answers with status ${status}`), () => `${path}: no answer`);

  // showMissing names the files of the page that do not load. A module fails where a module that it imports does not load, and
  // the browser names only the first of them.
  globalThis.showMissing = async (detail) => {
    showGate("missing", detail);
    const named = [...document.querySelectorAll("script[src], link[rel=preload], link[rel=modulepreload]")].map((e) => e.src || e.href);
    const asked = performance.getEntriesByType("resource").map((e) => e.name).filter((url) => url.startsWith(location.origin) && !url.includes("/api/"));
    const paths = [...new Set([...named, ...asked])].map((url) => new URL(url).pathname);
    const problems = await Promise.all(paths.map(problem));
    showGate("missing", problems.filter(Boolean).join("\n") || detail);
  };

  addEventListener("error", ({ target }) => {
    if (target instanceof HTMLScriptElement) showMissing(`${new URL(target.src).pathname} did not load`);
  }, true);
})();
