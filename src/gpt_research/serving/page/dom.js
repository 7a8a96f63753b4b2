// Builds elements. Data becomes text nodes or properties, never markup.

// element("button", { class: "quiet", onclick: go, "aria-label": "Go" }, "Go") and the like. A function is a listener,
// true or false sets or leaves out an attribute, null is left out.
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function drawing(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "selected" || key === "indeterminate") made[key] = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export const heading = (level, text) => element(`h${level}`, {}, text);
export const paragraph = (text, kind) => element("p", { class: kind }, text);
export const button = (text, onclick, attributes = {}) =>
  element("button", { type: "button", onclick, ...attributes }, text);

// A labelled field: the label's text, then the control.
export function field(text, control, hint) {
  return element("label", { class: "field" }, element("span", {}, text), control, hint && element("small", {}, hint));
}

export function choice(options, chosen, onchange, attributes = {}) {
  const made = element("select", { onchange: (event) => onchange(event.target.value), ...attributes });
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    made.append(element("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return made;
}

// A number, or the text of one, such as 12%.
const isNumber = (value) =>
  typeof value === "number" || (typeof value === "string" && /^([+−-]?[\d.,]+%?|–)$/.test(value));

// A table with a caption. A cell is a text, a number or a node; numbers stand to the right.
export function table(caption, columns, rows) {
  const cell = (value, at) => {
    const number = isNumber(value);
    return element(
      at === 0 ? "th" : "td",
      { scope: at === 0 && "row", class: number && "number" },
      typeof value === "number" ? shown(value) : value,
    );
  };
  return element(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          columns.map((name, at) =>
            element("th", { scope: "col", class: rows.length > 0 && isNumber(rows[0][at]) && "number" }, name),
          ),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((row) => element("tr", {}, row.map(cell))),
      ),
    ),
  );
}

// A number for people: 1,234,567; 12.35; 0.00012.
export function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(4));
}

// A chance as percent: 32%, 4.1%, 0.02%, "under 0.01%".
export function percent(chance) {
  const share = chance * 100;
  if (share >= 99.95) return share > 99.995 ? "100%" : `${share.toFixed(2)}%`;
  if (share >= 10) return `${share.toFixed(0)}%`;
  if (share >= 1) return `${share.toFixed(1)}%`;
  return share >= 0.01 ? `${share.toFixed(2)}%` : "under 0.01%";
}

// A piece of text whose blanks can be seen.
export function visible(text) {
  return text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣") || "∅";
}

let speaker;
// Tells a screen reader something.
export function say(text) {
  speaker ??= document.getElementById("said");
  speaker.textContent = text;
}

// Arrow keys move between the items of a group, of which one can be reached by Tab. `columns` is the number of items in
// a row, for the keys up and down; `chosen` is called with an item that got the focus.
export function moveByArrows(group, items, columns, chosen) {
  const all = () => [...group.querySelectorAll(items)];
  const reach = (target) => {
    for (const item of all()) item.tabIndex = item === target ? 0 : -1;
  };
  reach(all().find((item) => item.getAttribute("aria-checked") === "true") ?? all()[0]);
  group.addEventListener("keydown", (event) => {
    const list = all();
    const at = list.indexOf(document.activeElement);
    const row = columns();
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, Home: -at, End: list.length - 1 - at };
    if (at < 0 || !(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const target = list[at + steps[event.key]];
    if (!target) return;
    reach(target);
    target.focus();
    chosen?.(target);
  });
  return reach;
}
