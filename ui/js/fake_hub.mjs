// A hub for tests in Node: its fetch answers as the hub does to a browser, and fails as a test wants it to. It is the counterpart
// of server/hub/hubtest.
import { createHash } from "node:crypto";

export const endpoint = "https://hub.example";
const bytesOf = (content) => (typeof content === "string" ? new TextEncoder().encode(content) : content);
const hashOf = (name, ...parts) => parts.reduce((hash, part) => hash.update(part), createHash(name)).digest("hex");

// weights is a file of n bytes that do not repeat soon.
export const weights = (n) => Uint8Array.from({ length: n }, (_, i) => i ^ (i >> 8) ^ ((i >> 16) * 7));

export class FakeHub {
  faults = []; // {path, times, …}: what happens to requests whose address contains path; see answer
  requests = [];
  hidden = false; // pages may not read Content-Range, ETag, Retry-After
  constructor(repo, files, commit = "0123456789".repeat(4)) {
    Object.assign(this, { repo, commit, files: new Map(Object.entries(files).map(([path, content]) => [path, bytesOf(content)])) });
  }

  listing() {
    return { id: this.repo, sha: this.commit, gated: false, siblings: [...this.files].map(([rfilename, content]) => ({
      rfilename, size: content.length, blobId: hashOf("sha1", `blob ${content.length}\0`, content),
      ...(rfilename.endsWith(".safetensors") && { lfs: { sha256: hashOf("sha256", content), size: content.length, pointerSize: 134 } }),
    })) };
  }

  fetch = async (url, { headers = {}, signal }) => {
    signal.throwIfAborted();
    const { Range: range } = headers;
    this.requests.push({ url, range, names: Object.keys(headers) });
    const fault = this.faults.find((f) => (f.times ?? 1) > 0 && url.includes(f.path ?? "")) ?? {};
    if ("times" in fault) fault.times--;
    else fault.times = 0;
    return this.answer(new URL(url), range, fault, signal);
  };

  answer(url, range, fault, signal) {
    const refused = (status, code) => new Response(JSON.stringify({ error: code }), { status, headers: { "X-Error-Code": code } });
    if (fault.unreachable) throw new TypeError("Failed to fetch");
    if (fault.status) return new Response("", { status: fault.status, headers: fault.headers });
    if (fault.page) return new Response(fault.page, { headers: { "Content-Length": fault.page.length } });
    const [, list, revision] = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.*)$/.exec(url.pathname) ?? [];
    const [, repo, commit, path] = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.*)$/.exec(url.pathname) ?? [];
    if ((list ?? repo)?.toLowerCase() !== this.repo.toLowerCase()) return refused(401, "RepoNotFound");
    if (list) return revision === "main" || revision === this.commit ? new Response(JSON.stringify(this.listing())) : refused(404, "RevisionNotFound");
    const content = this.files.get(decodeURIComponent(path));
    if (!content || commit !== this.commit) return refused(404, "EntryNotFound");
    return this.file(content, fault.noRange ? undefined : range, fault, signal);
  }

  // file answers with a file from a place on: whole where there is no range.
  file(content, range, { cut = Infinity, stall = Infinity, flip, shift, longer, etag = "same" }, signal) {
    let from = range === undefined ? 0 : Number(/^bytes=(\d+)-$/.exec(range)[1]);
    if (shift) from = 1;
    if (flip) content = content.map((byte, i) => (i === 0 ? byte ^ 1 : byte));
    if (longer) content = new Uint8Array([...content, 1, 2, 3]);
    const body = content.subarray(from), end = Math.min(cut, stall, body.length);
    let sent = 0;
    const stream = new ReadableStream({
      start: (controller) => signal.addEventListener("abort", () => { try { controller.error(signal.reason); } catch {} }),
      pull(controller) {
        if (sent < end) controller.enqueue(body.slice(sent, (sent = Math.min(sent + 10_000, end))));
        else if (stall < body.length) return new Promise(() => {});
        else if (cut < body.length) controller.error(new TypeError("network error"));
        else controller.close();
      },
    });
    const headers = { "Content-Length": body.length };
    if (!this.hidden) Object.assign(headers, { ETag: `"${etag}"`, ...(range !== undefined && { "Content-Range": `bytes ${from}-${content.length - 1}/${content.length}` }) });
    if (longer) delete headers["Content-Length"];
    return new Response(stream, { status: range === undefined ? 200 : 206, headers });
  }
}
