// A list of tokens with their shares, each with a bar: alternatives, what a head looks at, what a layer would write.
import { element, percent } from "./dom.js";

export const piece = (text) => element("span", { class: "piece" }, text);

// `rows` are { label, share, length, taken, choose, words }: the bar is as long as `length` says
// (from 0 to 1; else as the share);
// a row with `choose` is a button with `words` as its name.
export function sharesList(rows) {
  return element(
    "ol",
    { class: "alternatives" },
    rows.map((row) => element("li", {}, rowOf(row))),
  );
}

function rowOf({ label, share, length = share, taken, choose, words }) {
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", length);
  const parts = [piece(label), element("span", { class: "number" }, percent(share)), bar];
  if (choose)
    return element("button", { type: "button", class: "alternative", "aria-label": words, onclick: choose }, parts);
  return element(
    "div",
    { class: `alternative ${taken ? "taken" : ""}` },
    parts,
    taken && element("span", { class: "said" }, "taken"),
  );
}
