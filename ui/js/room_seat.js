// A seat is one tab's: a tab that was duplicated has the same memory, and finds the seat's lock held.

const patience = 2000; // milliseconds: a page that was reloaded may still be letting go
let release = () => {};

// takeSeat takes the lock of a seat, and lets go of the last one. It resolves to whether it was free.
export const takeSeat = (room, tab) => new Promise((done) => {
  release();
  navigator.locks.request(`llamatab-seat-${room}-${tab}`, { signal: AbortSignal.timeout(patience) }, () => {
    done(true);
    return new Promise((free) => { release = free; });
  }).catch(() => done(false));
});

export const leaveSeat = () => release();
