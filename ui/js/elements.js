// Elements whose content vugu does not change. A change to one waits until vugu has created the element.

const byId = (id) => document.getElementById(id);
const waiting = new Map(); // changes that wait, {id, act, ready}, by subject: a later change replaces an earlier one

// whenThere acts on the element with the id once it is there and ready, after the next render.
export const whenThere = (id, act, { subject = id, ready = () => true } = {}) => waiting.set(subject, { id, act, ready });

// rendered is called after each render of vugu's.
export const rendered = () => {
  for (const [subject, { id, act, ready }] of waiting) {
    const element = byId(id);
    if (!element || !ready(element)) continue;
    waiting.delete(subject);
    act(element);
  }
};

// setText replaces an element's text, or a control's value unless the person is typing in it.
export const setText = (id, text) => whenThere(id, (element) => {
  const property = "value" in element ? "value" : "textContent";
  if (element !== document.activeElement && element[property] !== text) element[property] = text;
});

// appendText adds to an element's text, after a change that still waits.
export const appendText = (id, text) => {
  const before = waiting.get(id)?.act;
  if (before) whenThere(id, (element) => { before(element); element.append(text); });
  else byId(id)?.append(text);
};

// takeText empties a control, also while the person is typing in it.
export const takeText = (id) => {
  const element = byId(id);
  if (element) element.value = "";
};

// restoreText puts a text into a control in which nothing stands.
export const restoreText = (id, text) => whenThere(id, (element) => { if (!element.value.trim()) element.value = text; }, { subject: "restore#" + id });

// focus moves the keyboard focus to an element once it is visible.
export const focus = (id) => whenThere(id, (element) => element.focus(), { subject: "focus#" + id, ready: (element) => element.offsetParent });

// focusFirst moves it to the first of several elements that is visible.
export const focusFirst = (ids) => {
  for (const id of ids) {
    const act = (element) => { for (const other of ids) waiting.delete("focus#" + other); element.focus(); };
    whenThere(id, act, { subject: "focus#" + id, ready: (element) => element.offsetParent });
  }
};

// valueOf is the value of a control, "" where the control does not exist.
export const valueOf = (id) => byId(id)?.value ?? "";
