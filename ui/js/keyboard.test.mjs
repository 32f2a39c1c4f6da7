import assert from "node:assert/strict";
import test from "node:test";
import { actionOf, sends } from "./keyboard.js";

// on is an element that is what the given selectors name.
const on = (...selectors) => ({ closest: (list) => list.split(", ").some((s) => selectors.includes(s)) });
const action = (key, { target = on(), waited = Infinity, enabled = true, ...keys } = {}) => actionOf({ key, target, ...keys }, waited, enabled);

test("keys press buttons, and g with another key leads to a screen", () => {
  assert.deepEqual(action(" "), { press: "pause" });
  assert.deepEqual(action("."), { press: "single" });
  assert.deepEqual(action("?"), { press: "help" });
  assert.deepEqual(action("/"), { prompt: true });
  assert.deepEqual(action("g"), { wait: true });
  assert.deepEqual(action("s", { waited: 100 }), { go: "studio" });
  assert.deepEqual(action("c", { waited: 100 }), { go: "room" });
  assert.equal(action("s"), null);
  assert.equal(action("toString", { waited: 100 }), null);
});

test("no key reaches through to a text, and none stands in for a browser's shortcut", () => {
  for (const key of [" ", ".", "g", "/", "?"]) {
    assert.equal(action(key, { target: on("textarea") }), null, key);
    assert.equal(action(key, { ctrlKey: true }), null, key);
    assert.equal(action(key, { metaKey: true }), null, key);
  }
});

test("the space bar belongs to the button that has the focus", () => {
  assert.equal(action(" ", { target: on("button") }), null);
  assert.deepEqual(action(".", { target: on("button") }), { press: "single" });
});

test("who speaks to the computer can switch single keys off", () => {
  for (const key of [" ", ".", "g", "/", "?"]) assert.equal(action(key, { enabled: false }), null, key);
});

test("Enter sends a message, unless with Shift or while a character is composed", () => {
  const target = { matches: (selector) => selector === "[data-enter=submit]" };
  assert.equal(sends({ key: "Enter", target }), true);
  for (const other of [{ key: "a" }, { shiftKey: true }, { isComposing: true }, { keyCode: 229 }, { target: { matches: () => false } }])
    assert.equal(sends({ key: "Enter", target, ...other }), false, JSON.stringify(other));
});
