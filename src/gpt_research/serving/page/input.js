// The text that a view asks about, with its buttons.
import { element } from "./dom.js";

// The section of a view in which its text is written; `more` stands below.
export function inputSection(parts, ...more) {
  return element("section", { class: "controls", "aria-label": "Input" }, inputFields(parts), ...more);
}

// A label, the text, what is offered instead, the buttons, and the keys that do the same.
export function inputFields({ label, text, offer, buttons, keys }) {
  return [
    element("label", { class: "field", for: text.id }, element("span", {}, label)),
    text,
    offer,
    element("div", { class: "row middle" }, buttons, element("span", { class: "quiet keys" }, keys)),
  ];
}

// A text about which Ctrl + Enter asks.
export function textToAsk(value, placeholder, ask, rows = 3) {
  return element("textarea", {
    id: "text",
    rows,
    value,
    placeholder,
    onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
    },
  });
}
