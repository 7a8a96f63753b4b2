// A chart with lines, in the markup of the report's charts (gpt_research/report/charts.py), whose
// script makes it answer to mouse and keyboard.
/* global Chart */
import { drawing, element, shown, table } from "./dom.js";

const UNITS = 1000000;
const COLOURS = 8;
const ROWS = 12;

// { title, note, xLabel, yLabel, zero, lines: [{ label, x, y, dots, dashed }] } -> { node, update }.
// `update(lines)` draws other numbers in the same figure, so that zoom, focus and hidden lines stay.
export function lineFigure(chart) {
  const svg = drawing("svg", { viewBox: `0 0 ${UNITS} ${UNITS}`, preserveAspectRatio: "none", role: "img" });
  const details = element("details", {}, element("summary", {}, "Values as a table"));
  const figure = element(
    "figure",
    { class: "chart" },
    element("figcaption", {}, element("h3", {}, chart.title), chart.note && element("p", {}, chart.note)),
    element(
      "div",
      { class: "frame" },
      element("div", { class: "y-label" }, chart.yLabel),
      element("div", { class: "y-ticks", "aria-hidden": "true" }),
      element("div", { class: "plot" }, element("div", { class: "grid", "aria-hidden": "true" }), svg),
      element("div", { class: "x-ticks", "aria-hidden": "true" }),
      element("div", { class: "x-label" }, chart.xLabel),
    ),
    element(
      "ul",
      { class: "legend" },
      chart.lines.map((line, number) => legendOf(line, number)),
    ),
    details,
  );
  const draw = (lines) => {
    const x = range(
      lines.flatMap((line) => line.x),
      0.01,
    );
    const y = range(
      lines.flatMap((line) => line.y),
      0.05,
      chart.zero,
    );
    figure.dataset.x = `${x[0]} ${x[1]} linear`;
    figure.dataset.y = `${y[0]} ${y[1]} linear`;
    svg.setAttribute("aria-label", inWords(chart, lines));
    svg.replaceChildren(
      ...lines.map((line, number) =>
        drawing(
          "g",
          { "data-line": number, class: kindOf(line, number) },
          drawing("path", { class: "line", d: pathOf(line, x, y) }),
          line.dots && drawing("path", { class: "dots", d: dotsOf(line, x, y) }),
        ),
      ),
    );
    details.querySelector(".wide")?.remove();
    details.append(valuesOf(chart, lines));
  };
  draw(chart.lines);
  const answering = new Chart(figure);
  return {
    node: figure,
    update(lines) {
      const hidden = answering.lines.map((line) => line.button.getAttribute("aria-pressed") === "false");
      draw(lines);
      answering.take();
      answering.lines.forEach((line, number) => line.group.classList.toggle("off", hidden[number]));
      answering.draw();
    },
  };
}

const kindOf = (line, number) =>
  `c${(line.colour ?? number) % COLOURS}${line.faint ? " faint" : ""}${line.dashed ? " dashed" : ""}`;

function legendOf(line, number) {
  return element(
    "li",
    {},
    element(
      "button",
      { type: "button", "aria-pressed": "true", "data-line": number },
      drawing(
        "svg",
        { class: kindOf(line, number), viewBox: "0 0 24 10", "aria-hidden": "true" },
        drawing("path", { class: "line", d: "M1 5H23" }),
        line.dots && drawing("path", { class: "dots", d: "M12 5h0" }),
      ),
      element("span", {}, line.label),
    ),
  );
}

function range(all, margin, zero) {
  const values = all.filter((value) => value !== null && Number.isFinite(value));
  if (zero) values.push(0);
  let low = Infinity,
    high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return [0, 1];
  if (low === high) return [low - 0.5, high + 0.5];
  const free = (high - low) * margin;
  return [zero && low === 0 ? 0 : low - free, high + free];
}

const points = (line, x, y) =>
  line.x.map((at, number) =>
    line.y[number] === null || line.y[number] === undefined
      ? null
      : [
          Math.round(((at - x[0]) / (x[1] - x[0])) * UNITS),
          UNITS - Math.round(((line.y[number] - y[0]) / (y[1] - y[0])) * UNITS),
        ],
  );

function pathOf(line, x, y) {
  const all = points(line, x, y);
  return all
    .map((point, number) => {
      if (!point) return "";
      const begins = number === 0 || !all[number - 1];
      const alone = begins && !all[number + 1];
      return `${begins ? "M" : "L"}${point[0]} ${point[1]}${alone ? "h0" : ""}`;
    })
    .join("");
}

const dotsOf = (line, x, y) =>
  points(line, x, y)
    .filter(Boolean)
    .map(([a, b]) => `M${a} ${b}h0`)
    .join("");

function inWords(chart, lines) {
  const said = lines
    .filter((line) => line.y.some(Number.isFinite))
    .map((line) => {
      const known = line.y
        .map((value, number) => [line.x[number], value])
        .filter(([, value]) => Number.isFinite(value));
      const lowest = known.reduce((a, b) => (b[1] < a[1] ? b : a));
      const last = known[known.length - 1];
      return (
        `${line.label}: from ${shown(known[0][1])} at ${shown(known[0][0])} to ${shown(last[1])} ` +
        `at ${shown(last[0])}; ` +
        `lowest ${shown(lowest[1])} at ${shown(lowest[0])}.`
      );
    });
  return [`${chart.title}: ${chart.yLabel} by ${chart.xLabel}.`, ...said].join(" ");
}

function valuesOf(chart, lines) {
  const longest = lines.reduce((a, b) => (b.x.length > a.x.length ? b : a), lines[0]).x;
  const apart = Math.max(1, (longest.length - 1) / (ROWS - 1));
  const places = [
    ...new Set(Array.from({ length: ROWS }, (_, row) => Math.round(row * apart)).filter((at) => at < longest.length)),
  ];
  return table(
    `${chart.title}: ${chart.yLabel}`,
    [chart.xLabel, ...lines.map((line) => line.label)],
    places.map((at) => [shown(longest[at]), ...lines.map((line) => line.y[line.x.indexOf(longest[at])] ?? "–")]),
  );
}
