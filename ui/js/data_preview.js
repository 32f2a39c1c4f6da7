// The first rows of the dataset, token by token: the turns of a row one below the other, trained tokens marked, special ones framed.

import { whenThere } from "./elements.js";

// element makes an element with a class and children.
const element = (tag, className, ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
};

// fill replaces the {names} of a text.
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

// textOf is the text of a token, or its id where no token of the rows has a text, as without a tokenizer.
const textOf = (token, idsOnly) => (idsOnly ? token.id + " " : token.text);

// withBreaks is a text with each line break in an element of its own, before which the page shows a sign.
const withBreaks = (text) => text.split("\n").flatMap((line, i) => (i ? [element("span", "break", "\n"), line] : [line])).filter((part) => part !== "");

// tokensIn shows tokens. Those that follow each other and are trained stand in one mark, which is named for screen readers.
const tokensIn = (target, tokens, words, idsOnly) => {
  let mark = null;
  const close = () => {
    if (mark) target.append(element("span", "unseen", words["preview.end"]));
    mark = null;
  };
  for (const token of tokens) {
    if (token.trained && !mark) {
      mark = element("mark");
      target.append(element("span", "unseen", words["preview.begin"]), mark);
    } else if (!token.trained) {
      close();
    }
    const shown = element("span", token.special ? "special" : "token", ...withBreaks(textOf(token, idsOnly)));
    shown.title = `${token.id}${token.trained ? " · " + words["preview.trained"] : ""}`;
    (mark ?? target).append(shown);
  }
  close();
};

// turnsOf cuts a row into its turns. A row without turns is one, without a role.
export const turnsOf = ({ tokens, turns }) => {
  const begins = turns?.length ? turns : [{ role: "", from: 0 }];
  return begins.map(({ role, from }, i) => ({ role, tokens: tokens.slice(from, begins[i + 1]?.from) }));
};

const draw = (target, rows, words) => {
  const idsOnly = rows.every((row) => row.tokens.every((token) => !token.text));
  target.replaceChildren(...rows.map((row, n) => {
    const section = element("section", "preview-row", element("h4", "", fill(words["preview.row"], { n: n + 1, line: row.line, tokens: row.length })));
    section.dataset.row = n + 1;
    for (const { role, tokens } of turnsOf(row)) {
      const text = element("p", "tokens");
      tokensIn(text, tokens, words, idsOnly);
      const turn = element("div", "preview-turn", text);
      if (role) {
        turn.dataset.role = role;
        turn.prepend(element("strong", "role", words["role." + role] ?? role));
      }
      section.append(turn);
    }
    if (row.length > row.tokens.length) section.append(element("p", "more", fill(words["preview.more"], { n: row.length - row.tokens.length })));
    if (row.label) section.append(element("p", "label", fill(words["preview.label"], { label: row.label })));
    return section;
  }));
};

// showPreview shows the engine's answer. words are the page's, by their keys.
export const showPreview = (preview, words) => {
  const { rows } = JSON.parse(preview), said = JSON.parse(words);
  whenThere("preview-rows", (target) => draw(target, rows, said));
};
