// What the browser stores of rooms. Codes and tokens are sent in bodies and headers, never in an address.

// The tab's room and seat are kept over a reload, in session storage. Where storage is forbidden, nothing is kept.
const tabKey = "llamatab-room";
export const remembered = () => { try { return JSON.parse(sessionStorage.getItem(tabKey)) ?? {}; } catch { return {}; } };
export const remember = (change) => {
  try { sessionStorage.setItem(tabKey, JSON.stringify({ ...remembered(), ...change })); } catch {}
};
export const forget = () => { try { sessionStorage.removeItem(tabKey); } catch {} };

// tokensOf are the tokens of a tab: its seat's and then the owner's, whose view of the room has more in it.
export const tokensOf = ({ owner, tab, token }) => [token && `${tab}.${token}`, owner].filter(Boolean);

// The last room that this browser has opened is kept in local storage: the first screen offers it after its tab was closed.
const ownedKey = "llamatab-led";
export const ownedRoom = () => { try { return JSON.parse(localStorage.getItem(ownedKey)); } catch { return null; } };
export const rememberOwned = (room) => {
  try { room ? localStorage.setItem(ownedKey, JSON.stringify(room)) : localStorage.removeItem(ownedKey); } catch {}
};
