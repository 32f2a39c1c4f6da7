// The first rows of the dataset, token by token, with the trained tokens marked.

import { whenThere } from "./elements.js";

// textOf is the text of a token, or its id where no token of the rows has a text, as without a tokenizer.
const textOf = (token, idsOnly) => (idsOnly ? token.id + " " : token.text);

const draw = (target, rows, words) => {
  const idsOnly = rows.every((row) => row.tokens.every((token) => !token.text));
  target.replaceChildren(...rows.map((row, n) => {
    const paragraph = document.createElement("p");
    paragraph.className = "tokens";
    paragraph.dataset.row = n + 1;
    for (const token of row.tokens) {
      const element = document.createElement(token.trained ? "mark" : "span");
      element.title = `${token.id}${token.trained ? " · " + words.trained : ""}`;
      element.textContent = textOf(token, idsOnly);
      paragraph.append(element);
    }
    if (row.length > row.tokens.length) paragraph.append(` … +${row.length - row.tokens.length}`);
    return paragraph;
  }));
};

// showPreview shows the engine's answer. words.trained says what a mark means.
export const showPreview = (preview, words) => {
  const { rows } = JSON.parse(preview), said = JSON.parse(words);
  whenThere("preview-rows", (target) => draw(target, rows, said));
};
