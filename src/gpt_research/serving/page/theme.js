// Light or dark: as the system says, or as the switch says. The report's style sheet has one rule for dark screens;
// the switch turns it on or off. This script runs before the first paint, so nothing flashes.
"use strict";
const THEMES = ["system", "light", "dark"];

function darkRules() {
  const found = [];
  for (const sheet of document.styleSheets)
    for (const rule of sheet.cssRules)
      if (rule instanceof CSSMediaRule && (rule.dark ||= rule.conditionText.includes("prefers-color-scheme: dark")))
        found.push(rule);
  return found;
}

function setTheme(theme) {
  const media = { system: "screen and (prefers-color-scheme: dark)", light: "not all", dark: "screen" }[theme];
  for (const rule of (setTheme.rules ??= darkRules())) rule.media.mediaText = media;
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    /* A browser without storage forgets the choice. */
  }
  dispatchEvent(new Event("theme"));
}

function savedTheme() {
  try {
    const saved = localStorage.getItem("theme");
    return THEMES.includes(saved) ? saved : "system";
  } catch {
    return "system";
  }
}

setTheme(savedTheme());
