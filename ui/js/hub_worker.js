// The worker that fetches models straight from a hub. The page posts {act, name, endpoint}; see hub_fetches.js for what it posts.

import "/store.js";
import { sha1 } from "/legacy.js"; // of @noble/hashes, as sha2.js
import { sha256 } from "/sha2.js";
import { checksums } from "./checksum.js";
import { Fetches } from "./hub_fetches.js";
import { ofBrowser } from "./hub_net.js";

const fetches = new Fetches({ disk: llamatabStore, net: ofBrowser(), locks: navigator.locks, checksumOf: checksums({ sha256, sha1 }), post: (message) => postMessage(message) });
addEventListener("message", ({ data: { act, name, endpoint } }) => fetches[act](name, endpoint));
