// The address: screens are its fragment, so that the browser's buttons lead back. Go reads the fragment (ui/address.go), which
// may also carry settings or the code of a room.

import { tell } from "./inbox.js";

let shown; // the screen's name

// tellAddress sends the fragment as it stands. Another screen is read from its top.
export const tellAddress = () => {
  const fragment = location.hash.slice(1), screen = fragment.split("?")[0];
  if (shown !== undefined && shown !== screen) scrollTo(0, 0);
  shown = screen;
  tell("address", { fragment, origin: location.origin });
};

export const watchAddress = () => addEventListener("hashchange", tellAddress);

// goTo asks for a screen, which comes back as an address.
export const goTo = (screen) => { if (location.hash !== "#" + screen) location.hash = screen; };

// replaceAddress puts a bare screen in place of a fragment that Go has read, unless the address has changed since.
export const replaceAddress = (read, screen) => { if (location.hash.slice(1) === read) history.replaceState(null, "", "#" + screen); };

export const reload = () => location.reload();
