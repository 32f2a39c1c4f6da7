// The person's choices, in local storage. Where storage is forbidden, nothing is remembered.

export const remember = (name, value) => { try { localStorage.setItem(name, value); } catch {} };

// remembered is the value of a name, or null.
export const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };

// language is the tag of the language to begin with.
export const language = () => remembered("language") ?? navigator.languages?.[0] ?? navigator.language;

// setLanguage sets the document's language, and remembers it if the person has chosen it.
export const setLanguage = (tag, chosen) => {
  document.documentElement.lang = tag;
  if (chosen) remember("language", tag);
};

// theme is "auto", "light" or "dark".
export const theme = () => remembered("theme") ?? "auto";

// applyTheme sets the document's theme; "auto" follows the system.
export const applyTheme = (name) => {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
};
