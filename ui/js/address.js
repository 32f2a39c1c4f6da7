// The address: its fragment names the screen, so that the browser's back button works. Go reads the fragment (ui/address.go), which
// may also have settings or the code of a room.

import { tell } from "./inbox.js";

let shown; // the screen's name

// tellAddress sends Go the fragment. A new screen is scrolled to its top.
export const tellAddress = () => {
  const fragment = location.hash.slice(1), screen = fragment.split("?")[0];
  if (shown !== undefined && shown !== screen) scrollTo(0, 0);
  shown = screen;
  tell("address", { fragment, origin: location.origin });
};

export const watchAddress = () => addEventListener("hashchange", tellAddress);

// goTo writes a screen into the address, which then goes to Go as a message.
export const goTo = (screen) => { if (location.hash !== "#" + screen) location.hash = screen; };

// replaceAddress replaces a fragment that Go has read by the screen alone, unless the address has changed since.
export const replaceAddress = (read, screen) => { if (location.hash.slice(1) === read) history.replaceState(null, "", "#" + screen); };

export const reload = () => location.reload();
