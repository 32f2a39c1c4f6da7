// What this browser remembers of rooms. Codes and tokens travel in bodies and headers, never in an address that is sent anywhere.

// This tab's room and seat outlive a reload, not the tab. Storage may be forbidden: a reload then is a new tab.
const tabPlace = "llamatab-room";
export const remembered = () => { try { return JSON.parse(sessionStorage.getItem(tabPlace)) ?? {}; } catch { return {}; } };
export const remember = (change) => {
  try { sessionStorage.setItem(tabPlace, JSON.stringify({ ...remembered(), ...change })); } catch {}
};
export const forget = () => { try { sessionStorage.removeItem(tabPlace); } catch {} };

// tokensOf are the tokens with which a tab speaks to its room: its seat's and, last as it is told more, the owner's.
export const tokensOf = ({ owner, tab, token }) => [token && `${tab}.${token}`, owner].filter(Boolean);

// The last room that was opened here outlives its tab: who has closed that finds it again on the first screen.
const ledPlace = "llamatab-led";
export const led = () => { try { return JSON.parse(localStorage.getItem(ledPlace)); } catch { return null; } };
export const rememberLed = (room) => {
  try { room ? localStorage.setItem(ledPlace, JSON.stringify(room)) : localStorage.removeItem(ledPlace); } catch {}
};
