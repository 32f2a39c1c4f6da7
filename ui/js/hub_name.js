// Names of a hub's models, read exactly as server/hub/name.go reads them: server/hub/testdata/names.json holds the two together.

import { fail } from "./hub_problem.js";

const defaultRevision = "main";
const hubHosts = ["huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com", "www.hf-mirror.com"];
const namePart = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$/;
const revisionPart = /^[A-Za-z0-9_]([A-Za-z0-9_.+-]*[A-Za-z0-9_+-])?$/;
const noModels = ["api", "docs", "blog", "collections", "papers", "models", "settings", "join", "login", "tasks", "learn", "posts"];
export const commitHash = /^[0-9a-f]{40}$/;

const refuse = (message) => fail("hub_name", message);

// nameText is "org/name", followed by "@revision" unless that is the default one.
export const nameText = ({ repo, revision }) => (revision === defaultRevision ? repo : `${repo}@${revision}`);

// newName checks the parts of a name.
export const newName = (org, name, revision) => {
  for (const part of [org, name]) {
    if (!namePart.test(part) || part.includes("--") || part.includes("..") || part.toLowerCase().endsWith(".git")) {
      refuse(`"${org}/${name}" is not the name of a model: want org/name, org/name@revision or the address of a model's page`);
    }
  }
  if (revision.length > 200 || revision.includes("..") || !revision.split("/").every((part) => revisionPart.test(part) && !part.endsWith(".lock"))) {
    refuse(`"${revision}" is not a revision: want a branch, a tag or a commit`);
  }
  return { repo: `${org}/${name}`, revision };
};

// cut parts a text at the first separator.
const cut = (text, separator) => {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
};

const parseShort = (text) => {
  const [repo, revision = defaultRevision] = cut(text, "@"), [org, name = ""] = cut(repo, "/");
  return newName(org, name, revision);
};

// parsePath reads the parts of the path of an address.
const parsePath = (parts, text) => {
  if (parts.length > 2 && parts[0] === "api" && parts[1] === "models") parts = parts.slice(2);
  if (["datasets", "spaces"].includes(parts[0])) refuse(`"${text}" is the address of one of the hub's ${parts[0]}, not of a model`);
  if (noModels.includes(parts[0])) refuse(`"${text}" is not the address of a model`);
  if (parts.length < 2) refuse(`"${text}" names no model: want the address of a model's page, which ends with /org/name`);
  let revision = defaultRevision;
  if (parts.length > 3 && ["tree", "blob", "resolve", "raw", "commits", "commit", "revision"].includes(parts[2])) {
    revision = parts[3];
    const folder = parts[2] === "tree" ? parts.slice(4) : parts.slice(4, -1); // the last part is a file
    if (folder.length) refuse(`"${text}" leads to the folder ${folder.join("/")} of a repository, and models are read from the top of one only`);
  }
  return newName(parts[0], parts[1], revision);
};

const parseAddress = (text, endpoint) => {
  if (text.startsWith("hf://")) return parseShort(text.slice(5).replace(/^models\//, ""));
  const bad = () => refuse(`"${text}" is not the address of a model`);
  if (!text.includes("://")) text = "https://" + text;
  // The path is read as it is written: URL would take "%2e%2e" for the folder above.
  const [, path = ""] = /^https?:\/\/[^/?#]*([^?#]*)/i.exec(text) ?? bad();
  let url;
  try { url = new URL(text); } catch { bad(); }
  if (url.username || url.password) bad();
  if (!hubHosts.includes(url.hostname) && (!endpoint || new URL(endpoint).host !== url.host)) {
    refuse(`${url.host} is not a host of a hub: to fetch from it, set it as the endpoint (--hub-endpoint or HF_ENDPOINT)`);
  }
  let parts;
  try { parts = path.replace(/^\/+|\/+$/g, "").split("/").map(decodeURIComponent); } catch { bad(); }
  return parsePath(parts, text);
};

// parseName reads org/name, org/name@revision, or an address of a repository or of one of its files. endpoint is the hub's own
// address, whose host is also accepted. It returns {repo, revision}.
export const parseName = (text, endpoint) => {
  text = text.trim();
  if (new TextEncoder().encode(text).length > 2000) refuse(`"${text.slice(0, 40)}…" is too long for the name of a model`);
  const [host] = cut(text, "/");
  const isAddress = text.includes("://") || (hubHosts.includes(host.toLowerCase()) && text.split("/").length > 2);
  return isAddress ? parseAddress(text, endpoint) : parseShort(text);
};
