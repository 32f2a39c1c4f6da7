// Messages from the page's JavaScript to its Go program. Each has a topic and a content; Go has one type and one function for
// each topic (ui/messages.go). Messages wait here until Go fetches them, so that Go decides how often the page is rendered.

const waiting = []; // JSON texts
const batch = 256; // messages that Go gets at a time: decoding more would block the page
let wake = () => {};

// tellText sends a message whose content is JSON text already.
export const tellText = (topic, content) => {
  if (waiting.push(`{"topic":"${topic}","content":${content}}`) === 1) wake();
};

// tell sends a message whose content is a plain value.
export const tell = (topic, content) => tellText(topic, JSON.stringify(content));

// tellProblem sends the failure of something that the browser did.
export const tellProblem = (code) => (error) => tell("problem", { code, text: String(error?.message ?? error) });

// listen sets the function that tells Go that messages are waiting.
export const listen = (f) => {
  wake = f;
  if (waiting.length) wake();
};

// drain returns the next messages as a JSON array. If more are waiting, it calls wake again after Go has received these.
export const drain = () => {
  const text = `[${waiting.splice(0, batch).join(",")}]`;
  if (waiting.length) queueMicrotask(wake);
  return text;
};
