// Messages from the page's JavaScript to its Go program. Each has a topic and a content; Go has one type and one function for
// each topic (ui/messages.go). Messages wait here until Go fetches them, so that Go decides how often the page is rendered.

const waiting = []; // JSON texts
const batch = 256; // messages that Go gets at once: reading more would block the page for long
let wake = () => {};

// tellText sends a message whose content is JSON text already.
export const tellText = (topic, content) => {
  if (waiting.push(`{"topic":"${topic}","content":${content}}`) === 1) wake();
};

// tell sends a message whose content is a plain value.
export const tell = (topic, content) => tellText(topic, JSON.stringify(content));

// tellProblem sends the failure of something that the browser did.
export const tellProblem = (code) => (error) => tell("problem", { code, text: String(error?.message ?? error) });

// listen takes the function that tells Go that messages are waiting.
export const listen = (f) => {
  wake = f;
  if (waiting.length) wake();
};

// drain returns the next messages as a JSON array. It calls wake once more where others are left, after Go has this answer.
export const drain = () => {
  const text = `[${waiting.splice(0, batch).join(",")}]`;
  if (waiting.length) queueMicrotask(wake);
  return text;
};
