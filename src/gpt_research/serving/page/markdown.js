// The Markdown that the data card has, as elements: headings, paragraphs, lists, tables, code.
import { element } from "./dom.js";

export function markdown(text, firstLevel = 2) {
  const lines = text.split("\n");
  const made = [];
  let under = "",
    tables = 0;
  while (lines.length) {
    const line = lines.shift();
    const title = /^(#+) (.*)/.exec(line);
    if (!line.trim()) continue;
    if (title) {
      under = title[2];
      made.push(element(`h${Math.min(6, title[1].length + firstLevel - 1)}`, {}, inline(title[2])));
    } else if (line.startsWith("```"))
      made.push(
        element(
          "pre",
          { tabindex: "0", role: "region", "aria-label": "Commands" },
          element("code", {}, taken(lines, (next) => !next.startsWith("```"), true).join("\n")),
        ),
      );
    else if (line.startsWith("|"))
      made.push(tableOf([line, ...taken(lines, (next) => next.startsWith("|"))], `Table ${++tables}: ${plain(under)}`));
    else if (/^[-*] /.test(line))
      made.push(
        element(
          "ul",
          {},
          [line, ...taken(lines, (next) => /^[-*] /.test(next))].map((item) =>
            element("li", {}, inline(item.slice(2))),
          ),
        ),
      );
    else
      made.push(
        element(
          "p",
          {},
          inline([line, ...taken(lines, (next) => next.trim() && !/^(#|\||```|[-*] )/.test(next))].join(" ")),
        ),
      );
  }
  return made;
}

function taken(lines, wanted, andNext = false) {
  const found = [];
  while (lines.length && wanted(lines[0])) found.push(lines.shift());
  if (andNext) lines.shift();
  return found;
}

function tableOf(lines, name) {
  const cells = (line) =>
    line
      .replace(/^\||\|\s*$/g, "")
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim());
  const [head, marks, ...rows] = lines.map(cells);
  const number = (at) => (marks?.[at]?.endsWith(":") ? "number" : null);
  const filled = head.some(Boolean);
  return element(
    "div",
    { class: "wide", tabindex: "0", role: "region", "aria-label": name },
    element(
      "table",
      {},
      filled &&
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            head.map((cell, at) => element("th", { scope: "col", class: number(at) }, inline(cell))),
          ),
        ),
      element(
        "tbody",
        {},
        rows.map((row) =>
          element(
            "tr",
            {},
            row.map((cell, at) =>
              element(at ? "td" : "th", { scope: at ? null : "row", class: number(at) }, inline(cell)),
            ),
          ),
        ),
      ),
    ),
  );
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.length > 2) return element("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return element("strong", {}, plain(part.slice(2, -2)));
    return plain(part);
  });
}

const plain = (text) =>
  text
    .replace(/\\([\\`*_{}[\]()#+\-.!|<>~])/g, "$1")
    .replace(/\[([^\]]+)\]\([^)]*\)/g, "$1")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
