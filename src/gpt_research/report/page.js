// Charts that answer: values under the pointer, zoom, hidden curves, all of it from the keyboard too.
// The numbers come from the paths, which hold them in units from 0 to UNITS.
"use strict";
const UNITS = 1000000, MARGIN = 0.04, X_TICKS = 7, Y_TICKS = 5, CLOSEST = 200;

const scale = (text) => {
  const [low, high, kind] = text.split(" ");
  const isLog = kind === "log", plain = (value) => (isLog ? Math.log10(value) : value);
  const from = plain(+low), to = plain(+high);
  return {
    isLog,
    value: (units) => { const at = from + (units / UNITS) * (to - from); return isLog ? 10 ** at : at; },
    units: (value) => ((plain(value) - from) / (to - from)) * UNITS,
  };
};

// The rules of scales.py.
function ticks(low, high, isLog, most) {
  if (isLog) {
    const first = Math.ceil(Math.log10(low)), last = Math.floor(Math.log10(high)), decades = last - first + 1, found = [];
    if (decades > most) {
      for (let power = first; power <= last; power += Math.ceil(decades / most)) found.push(10 ** power);
      return found;
    }
    if (decades >= 2) {
      for (let power = first - 1; power <= last; power++)
        for (const factor of decades > most / 2 ? [1] : [1, 3]) found.push(factor * 10 ** power);
      return found.filter((value) => low <= value && value <= high);
    }
  }
  const span = high - low;
  let step = 10 ** Math.floor(Math.log10(span / most));
  step *= [1, 2, 5, 10, 20].find((factor) => span / (step * factor) <= most);
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); number <= Math.floor(high / step + 1e-9); number++) found.push(number * step);
  return found;
}

function tickLabel(value, all) {
  let size = Math.max(...all.map(Math.abs));
  const gaps = all.slice(1).map((tick, at) => tick - all[at]), last = gaps.length - 1;
  let apart = gaps.length ? Math.min(...gaps) : size || 1;
  if (value === 0) return "0";
  const isLog = all[0] > 0 && all[last + 1] >= 10 * all[0] && (last === 0 || gaps[last] > 1.5 * gaps[0]);
  if (isLog) size = apart = Math.abs(value);
  if (size >= 1e4) {
    const [unit, letter] = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]].find(([least]) => size >= least);
    return fixed(value / unit, apart / unit) + letter;
  }
  if (size < 0.001) {
    const power = Math.floor(Math.log10(size));
    return `${fixed(value / 10 ** power, apart / 10 ** power)}e${power}`;
  }
  return fixed(value, Math.min(apart, Math.abs(value)));
}

function fixed(value, gap) {
  let decimals = 0;
  while (decimals < 6 && Math.abs(gap * 10 ** decimals - Math.round(gap * 10 ** decimals)) >= 1e-6 * 10 ** decimals * gap) decimals++;
  return value.toFixed(decimals);
}

const shown = (value) => {
  const size = Math.abs(value);
  if (size >= 1e4) return (+value.toPrecision(6)).toLocaleString("en");
  return size && size < 1e-3 ? value.toExponential(3) : String(+value.toPrecision(5));
};

const make = (name, className, parent) => {
  const made = document.createElement(name);
  made.className = className;
  if (parent) parent.append(made);
  return made;
};

// The points [x, y] of a path; of a band [x, upper, lower].
function points(path) {
  const found = [];
  for (const stretch of path.getAttribute("d").split("M").slice(1)) {
    const numbers = stretch.replace(/h0|Z/g, "").split(/[L ]/).map(Number), pairs = [];
    for (let at = 0; at + 1 < numbers.length; at += 2) pairs.push([numbers[at], numbers[at + 1]]);
    if (path.classList.contains("band")) {
      const half = pairs.length / 2;
      for (let at = 0; at < half; at++) found.push([...pairs[at], pairs[pairs.length - 1 - at][1]]);
    } else found.push(...pairs);
  }
  return found;
}

function nearest(found, x) {
  let low = 0, high = found.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (found[middle][0] < x) low = middle; else high = middle;
  }
  return Math.abs(found[low][0] - x) <= Math.abs(found[high][0] - x) ? found[low] : found[high];
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.svg = this.plot.querySelector("svg");
    this.view = [0, UNITS];
    this.at = null;
    this.title = figure.querySelector("h3").textContent;
    this.xLabel = figure.querySelector(".x-label").textContent;
    this.take();
    this.addParts();
    this.listen();
  }

  // Takes scales and numbers from the figure; again, if a page has given it others.
  take() {
    const { figure } = this;
    this.x = scale(figure.dataset.x);
    this.y = scale(figure.dataset.y);
    this.lines = [...figure.querySelectorAll(".legend button")].map((button) => {
      const group = this.svg.querySelector(`[data-line="${button.dataset.line}"]`), band = group.querySelector(".band");
      return { button, group, label: button.textContent.trim(), colour: group.classList[0],
        points: points(group.querySelector(".line")), band: band ? points(band) : [] };
    });
  }

  addParts() {
    this.cursor = make("div", "cursor", this.plot);
    this.chosen = make("div", "chosen", this.plot);
    this.tip = make("div", "tip", this.plot);
    for (const part of [this.cursor, this.chosen, this.tip]) { part.hidden = true; part.setAttribute("aria-hidden", "true"); }
    this.said = make("p", "said", this.figure);
    this.said.setAttribute("aria-live", "polite");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "application");
    this.plot.setAttribute("aria-roledescription", "chart");
    this.plot.setAttribute("aria-label",
      `${this.title}. Left and right arrows read values, plus and minus zoom, 0 shows everything, Escape ends reading.`);
    const tools = make("div", "tools");
    this.figure.prepend(tools);
    const buttons = [["in", "+", "Zoom in"], ["out", "−", "Zoom out"], ["all", "All", "Show everything"]];
    for (const [how, text, says] of buttons) {
      const button = make("button", "", tools);
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `${says}: ${this.title}`);
      button.addEventListener("click", () => this.zoom(how));
    }
    this.draw();
  }

  listen() {
    for (const line of this.lines) line.button.addEventListener("click", () => {
      const hidden = line.button.getAttribute("aria-pressed") === "true";
      line.button.setAttribute("aria-pressed", String(!hidden));
      line.group.classList.toggle("off", hidden);
      this.draw();
      this.read(null);
    });
    const place = (event) => {
      const box = this.plot.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      return this.view[0] + share * (this.view[1] - this.view[0]);
    };
    let start = null;
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = event.pointerType === "mouse" ? place(event) : null;
      if (start === null) this.read(place(event));
    });
    this.plot.addEventListener("pointermove", (event) => {
      const here = place(event);
      this.read(here);
      if (start === null) return;
      const [low, high] = [Math.min(start, here), Math.max(start, here)].map((units) => this.share(units) * 100);
      this.chosen.hidden = high - low < 1;
      this.chosen.style.left = `${low}%`;
      this.chosen.style.width = `${high - low}%`;
    });
    addEventListener("pointerup", (event) => {
      if (start === null) return;
      const here = place(event), low = Math.min(start, here), high = Math.max(start, here);
      start = null;
      this.chosen.hidden = true;
      if (high - low > CLOSEST && this.share(high) - this.share(low) > 0.01) this.show(low, high);
    });
    this.plot.addEventListener("pointerleave", () => this.read(null));
    this.plot.addEventListener("dblclick", () => this.zoom("all"));
    this.plot.addEventListener("blur", () => this.read(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    const zooms = { "+": "in", "=": "in", "-": "out", 0: "all" };
    if (event.key in steps) this.step(event.shiftKey ? steps[event.key] * 10 : steps[event.key]);
    else if (event.key in zooms) this.zoom(zooms[event.key]);
    else if (event.key === "Escape") this.read(null);
    else return;
    event.preventDefault();
  }

  share(units) { return (units - this.view[0]) / (this.view[1] - this.view[0]); }

  visible() { return this.lines.filter((line) => !line.group.classList.contains("off")); }

  // Moves the cursor by points of the visible lines.
  step(by) {
    const all = new Set(this.visible().flatMap((line) => line.points.map((point) => point[0])));
    const places = [...all].filter((x) => this.view[0] <= x && x <= this.view[1]).sort((a, b) => a - b);
    if (!places.length) return;
    const found = places.findIndex((x) => x >= this.at - 0.5), now = found < 0 ? places.length - 1 : found;
    const from = this.at !== null ? now : by > 0 ? -1 : places.length;
    this.read(places[Math.min(places.length - 1, Math.max(0, from + by))], true);
  }

  // Shows the values at a place; null shows none. `aloud` tells them to a screen reader.
  read(x, aloud = false) {
    this.at = x;
    const found = x === null ? [] : this.visible().filter((line) => line.points.length)
      .map((line) => ({ line, point: nearest(line.points, x) }));
    this.cursor.hidden = this.tip.hidden = !found.length;
    if (!found.length) { this.said.textContent = ""; return; }
    const closest = found.reduce((a, b) => (Math.abs(b.point[0] - x) < Math.abs(a.point[0] - x) ? b : a)).point[0];
    const head = this.place(closest);
    const texts = found.map(({ line, point }) => {
      const band = line.band.length ? nearest(line.band, point[0]) : null;
      const up = (units) => shown(this.y.value(UNITS - units));
      const place = Math.abs(point[0] - closest) > UNITS / 200 ? ` at ${this.place(point[0])}` : "";
      return `${line.label}: ${up(point[1])}${band ? ` (${up(band[2])} to ${up(band[1])})` : ""}${place}`;
    });
    this.tip.replaceChildren();
    make("b", "", this.tip).textContent = head;
    found.forEach(({ line }, number) => { make("div", line.colour, this.tip).textContent = texts[number]; });
    const share = this.share(closest);
    this.cursor.style.left = `${share * 100}%`;
    this.tip.style.left = share < 0.5 ? `calc(${share * 100}% + .7rem)` : "auto";
    this.tip.style.right = share < 0.5 ? "auto" : `calc(${(1 - share) * 100}% + .7rem)`;
    if (aloud) this.said.textContent = `${head}. ${texts.join(". ")}.`;
  }

  // A place on the x axis in words; steps are whole.
  place(units) {
    const value = this.x.value(units);
    return `${this.xLabel} ${this.xLabel === "step" ? Math.round(value).toLocaleString("en") : shown(value)}`;
  }

  zoom(how) {
    const [low, high] = this.view;
    if (how === "all") this.show(0, UNITS);
    else {
      const middle = this.at === null ? (low + high) / 2 : this.at, factor = how === "in" ? 0.5 : 2;
      const from = middle - (middle - low) * factor, width = (high - low) * factor;
      const begin = Math.max(0, Math.min(from, UNITS - width));
      this.show(begin, Math.min(UNITS, begin + width));
    }
    this.said.textContent = `Shows ${this.place(this.view[0])} to ${this.place(this.view[1])}.`;
  }

  show(low, high) {
    if (high - low < CLOSEST) return;
    this.view = [low, high];
    this.draw();
    if (this.at !== null) this.read(this.at);
  }

  // The part of the y axis that holds what is seen; all of it if all is seen.
  height() {
    const [low, high] = this.view, lines = this.visible();
    if (low <= 0 && high >= UNITS && lines.length === this.lines.length) return [0, UNITS];
    let top = Infinity, bottom = -Infinity;
    for (const { points: own, band } of lines) for (const found of [own, band]) found.forEach((point, number) => {
      // A neighbour outside counts too, because the line to it is seen.
      const inside = (other) => other && low <= other[0] && other[0] <= high;
      if (inside(point) || (inside(found[number - 1]) || inside(found[number + 1])))
        for (const value of point.slice(1)) { top = Math.min(top, value); bottom = Math.max(bottom, value); }
    });
    if (top > bottom) return [0, UNITS];
    const free = Math.max((bottom - top) * MARGIN, 1);
    return [top - free, bottom + free];
  }

  draw() {
    const [low, high] = this.view, [top, bottom] = this.height();
    this.svg.setAttribute("viewBox", `${low} ${top} ${high - low} ${bottom - top}`);
    const grid = this.figure.querySelector(".grid");
    const axis = (where, side, from, to, own, most) => {
      const all = ticks(own.value(from), own.value(to), own.isLog, most), holder = this.figure.querySelector(where);
      holder.replaceChildren();
      for (const tick of all) {
        const place = `${((own.units(tick) - from) / (to - from)) * 100}%`;
        const label = make("span", "", holder), mark = make("i", side === "left" ? "x" : "y", grid);
        label.textContent = tickLabel(tick, all);
        label.style[side] = mark.style[side] = place;
      }
    };
    grid.replaceChildren();
    axis(".x-ticks", "left", low, high, this.x, X_TICKS);
    axis(".y-ticks", "bottom", UNITS - bottom, UNITS - top, this.y, Y_TICKS);
  }
}

document.documentElement.classList.add("script");
for (const figure of document.querySelectorAll("figure.chart")) new Chart(figure);

// Paper has nothing to open: what is worth printing is open, and closed again afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.printed:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
