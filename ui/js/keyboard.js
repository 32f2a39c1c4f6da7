// Keyboard shortcuts of a single character, and Enter in a message. They do nothing in inputs, the person can switch them off, and none of them
// deletes anything.

import { focusFirst } from "./elements.js";
import { remembered } from "./preferences.js";

const screens = { h: "home", s: "studio", r: "run", t: "try", e: "export", c: "room" }; // after "g"
const buttons = { ".": "single", "?": "help" }; // by the ids of the page
const patience = 1500; // milliseconds between "g" and the key of a screen
const typing = "input:not([type=checkbox],[type=radio]), textarea, select, [contenteditable]";
const pressedBySpace = "button, a, summary, [type=checkbox], [type=radio], [role=button]";

// actionOf is what a key does: {press: id of a button}, {go: screen}, {prompt: true}, {wait: true} after "g", which the key of a
// screen follows, or null. waited is the time since "g" in milliseconds; on says whether the shortcuts are switched on.
export const actionOf = (event, waited, on) => {
  const { key, target } = event;
  if (!on && key.length === 1) return null;
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest(typing)) return null;
  if (key === "g") return { wait: true };
  if (waited < patience && Object.hasOwn(screens, key)) return { go: screens[key] };
  if (key === " ") return target.closest(pressedBySpace) ? null : { press: "pause" };
  if (Object.hasOwn(buttons, key)) return { press: buttons[key] };
  return key === "/" ? { prompt: true } : null;
};

// sends reports whether a key sends the text in a control with data-enter="submit": Enter does, and with Shift it begins a new line.
// Enter that ends the composition of a character belongs to the input method.
export const sends = ({ key, shiftKey, isComposing, keyCode, target }) =>
  key === "Enter" && !shiftKey && !isComposing && keyCode !== 229 && target.matches?.("[data-enter=submit]");

let waitingSince = 0;
const pressed = (event) => {
  if (sends(event)) {
    event.preventDefault();
    event.target.form.requestSubmit();
    return;
  }
  const action = actionOf(event, Date.now() - waitingSince, remembered("keys") !== "off");
  if (!action) return;
  if (action.wait) waitingSince = Date.now();
  if (action.go) {
    waitingSince = 0;
    location.hash = "#" + action.go;
  }
  if (action.press) {
    const button = document.getElementById(action.press);
    if (!button || button.disabled || !button.offsetParent) return;
    event.preventDefault();
    button.click();
  }
  if (action.prompt) {
    event.preventDefault();
    location.hash = "#try";
    focusFirst(["talk-message", "prompt"]);
  }
};

export const watchKeyboard = () => {
  document.addEventListener("keydown", pressed);
  document.addEventListener("keypress", (event) => { if (sends(event)) event.preventDefault(); }); // no line break is left behind
};
