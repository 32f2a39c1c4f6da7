// What goes wrong between this browser and a hub. The codes are those of server/hub/errors.go, for which Go has the words
// (ui/texts_hub.go); the message and what to do next are in English.

export class HubProblem extends Error {
  // again: the same request may succeed later, at the earliest after wait milliseconds.
  constructor(code, message, { next = "", again = false, wait = 0, ...values } = {}) {
    super(message);
    Object.assign(this, { code, next, again, wait, values });
  }

  // plain is the problem as Go gets it.
  plain() { return { code: this.code, message: this.message, next: this.next, ...this.values }; }
}

export const fail = (code, message, about) => { throw new HubProblem(code, message, about); };
