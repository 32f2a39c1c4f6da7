// A Web Lock holds the seat of a tab. A duplicate of the tab has the same session storage, and finds the lock taken.

const patience = 2000; // milliseconds in which a page that is being reloaded releases the lock
let release = () => {};

// takeSeat releases the lock of the last seat and takes that of another. It resolves to whether the lock was free.
export const takeSeat = (room, tab) => new Promise((done) => {
  release();
  navigator.locks.request(`llamatab-seat-${room}-${tab}`, { signal: AbortSignal.timeout(patience) }, () => {
    done(true);
    return new Promise((free) => { release = free; });
  }).catch(() => done(false));
});

export const leaveSeat = () => release();
