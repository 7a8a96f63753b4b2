// A text as a strip of tokens: coloured, read by hover or focus, chosen by click or arrow keys.
import { element, percent, visible } from "./dom.js";

// How a chance is coloured: the first level whose least chance it reaches. The line under a token grows with the level,
// so the colour alone says nothing.
const LEVELS = [
  [0.5, "50% and more"],
  [0.2, "20 to 50%"],
  [0.05, "5 to 20%"],
  [0.01, "1 to 5%"],
  [0, "under 1%"],
];
const BITS = Math.LN2;

export const levelOf = (chance) => LEVELS.findIndex(([least]) => chance >= least);
export const bitsOf = (logprob) => -logprob / BITS;

// The words for a token whose log chance is known.
function chanceWords(logprob) {
  return `${percent(Math.exp(logprob))}, ${bitsOf(logprob).toFixed(1)} bits of surprise`;
}

export function chanceLook(token) {
  if (token.logprob === null || token.logprob === undefined)
    return { level: null, words: "no chance: the text begins here" };
  return { level: `s${levelOf(Math.exp(token.logprob))}`, words: chanceWords(token.logprob) };
}

export function chanceLegend() {
  return legend(
    "Chance of each token",
    LEVELS.map(([, text], level) => [`s${level}`, text]),
  );
}

// Swatches, each with its words: [[class, text], ...].
export function legend(title, swatches) {
  return element(
    "div",
    { class: "scale" },
    element("span", { class: "quiet" }, title),
    element(
      "ul",
      {},
      swatches.map(([kind, text]) =>
        element("li", {}, element("span", { class: `t swatch ${kind}`, "aria-hidden": "true" }, "abc"), text),
      ),
    ),
  );
}

let tip;
function showTip(target, words) {
  tip ??= document.body.appendChild(element("div", { class: "tip token-tip", "aria-hidden": "true", hidden: true }));
  tip.hidden = !words;
  if (!words) return;
  tip.replaceChildren(
    element("b", {}, target.textContent ? visible(target.textContent) : (target.dataset.label ?? "")),
    words,
  );
  const box = target.getClientRects()[0] ?? target.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - own.width - 8));
  const above = box.top - own.height - 6;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 0 ? above : box.bottom + 6}px`;
}
const hideTip = () => {
  if (tip) tip.hidden = true;
};
addEventListener("scroll", hideTip, { passive: true, capture: true });

export class TokenStrip {
  // `look(token, at)` gives the level (a class) and the words of a token; `onchoose(from, to)` is called with the first
  // token chosen and the one after the last, `onpoint(at)` with the token under pointer or focus, or null.
  constructor({ label, look = chanceLook, onchoose, onpoint }) {
    this.look = look;
    this.onchoose = onchoose;
    this.onpoint = onpoint;
    this.tokens = [];
    this.chosen = null;
    this.node = element("div", {
      class: "strip",
      role: "listbox",
      "aria-label": label,
      "aria-multiselectable": "true",
    });
    this.listen();
  }

  get empty() {
    return this.tokens.length === 0;
  }

  clear() {
    this.tokens = [];
    this.chosen = null;
    this.node.replaceChildren();
    hideTip();
  }

  show(tokens) {
    this.clear();
    this.append(tokens);
  }

  append(tokens) {
    const piece = document.createDocumentFragment();
    for (const token of tokens) {
      const at = this.tokens.push(token) - 1;
      const span = document.createElement("span");
      span.textContent = token.text;
      span.setAttribute("role", "option");
      span.setAttribute("aria-selected", "false");
      span.tabIndex = at === 0 ? 0 : -1;
      this.dress(span, token, at);
      piece.append(span);
    }
    this.node.append(piece);
  }

  dress(span, token, at) {
    const { level, words, share } = this.look(token, at);
    const blank =
      token.kind === "special" ? "" : /^\s*\n\s*$/.test(token.text) ? "newline" : token.text === "" ? "empty" : "";
    span.className = `t ${blank} ${token.kind || ""} ${level ?? ""}`;
    if (share !== undefined) span.style.setProperty("--share", share);
    span.setAttribute(
      "aria-label",
      `${token.text ? visible(token.text) : (token.label ?? "part of a character")}: ${words}`,
    );
    span.words = words;
  }

  // Colours all tokens anew, by another look.
  paint(look = this.look) {
    this.look = look;
    this.tokens.forEach((token, at) => this.dress(this.node.children[at], token, at));
    if (this.chosen) this.mark(...this.chosen);
  }

  mark(from, to) {
    for (const marked of this.node.querySelectorAll("[aria-selected=true]"))
      marked.setAttribute("aria-selected", "false");
    for (let at = from; at < to; at++) this.node.children[at]?.setAttribute("aria-selected", "true");
  }

  choose(from, to, quietly = false) {
    const some = to > from;
    this.chosen = some ? [from, to] : null;
    this.mark(from, to);
    if (!quietly) this.onchoose?.(some ? from : null, some ? to : null);
  }

  focus(at) {
    const span = this.node.children[at];
    if (!span) return;
    this.node.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    span.tabIndex = 0;
    span.focus({ preventScroll: false });
  }

  at(node) {
    const span = (node?.nodeType === Node.TEXT_NODE ? node.parentElement : node)?.closest?.(".t");
    return span?.parentElement === this.node ? [...this.node.children].indexOf(span) : -1;
  }

  listen() {
    const { node } = this;
    node.addEventListener("pointerover", (event) => this.point(this.at(event.target)));
    node.addEventListener("pointerleave", () => this.point(-1));
    node.addEventListener("focusin", (event) => {
      if (event.target.matches(":focus-visible")) this.point(this.at(event.target));
    });
    node.addEventListener("focusout", () => this.point(-1));
    node.addEventListener("pointerup", (event) => {
      const text = getSelection();
      const at = this.at(event.target);
      if (event.shiftKey && at >= 0) return this.reach(at, true);
      const first = this.at(text.anchorNode);
      const last = this.at(text.focusNode);
      if (!text.isCollapsed && first >= 0 && last >= 0) this.choose(Math.min(first, last), Math.max(first, last) + 1);
      else if (at >= 0) this.reach(at, false);
    });
    // Shift and a click choose tokens; the browser would mark text as well.
    node.addEventListener("pointerdown", () => getSelection().removeAllRanges());
    node.addEventListener("mousedown", (event) => {
      if (event.shiftKey) event.preventDefault();
    });
    node.addEventListener("keydown", (event) => this.key(event));
  }

  point(at) {
    const span = this.node.children[at];
    if (span) showTip(span, span.words);
    else hideTip();
    this.onpoint?.(span ? at : null);
  }

  // Chooses a token, or stretches what is chosen to it.
  reach(at, stretch) {
    this.focus(at);
    const anchor = stretch && this.chosen ? this.anchor : at;
    this.anchor = anchor;
    this.choose(Math.min(anchor, at), Math.max(anchor, at) + 1);
  }

  key(event) {
    const at = this.at(document.activeElement);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.tokens.length - 1;
    const places = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (event.key === "ArrowUp" || event.key === "ArrowDown")
      places[event.key] = this.line(at, event.key === "ArrowUp" ? -1 : 1);
    if (event.key in places) {
      const target = Math.max(0, Math.min(last, places[event.key]));
      if (event.shiftKey) this.reach(target, true);
      else this.focus(target);
    } else if (event.key === "Enter" || event.key === " ") this.reach(at, event.shiftKey);
    else if (event.key === "Escape" && this.chosen) this.choose(0, 0);
    else return;
    event.preventDefault();
  }

  // The token above or below, as near as one is.
  line(at, by) {
    const spans = [...this.node.children];
    const box = spans[at].getBoundingClientRect();
    const middle = (own) => (own.top + own.bottom) / 2;
    let best = at,
      least = Infinity;
    for (let other = at + by; other >= 0 && other < spans.length; other += by) {
      const own = spans[other].getBoundingClientRect();
      const down = by * (middle(own) - middle(box));
      if (down < box.height / 2) continue;
      if (down > 4 * box.height) break;
      const distance = Math.abs(own.left - box.left) + 20 * down;
      if (distance < least) [best, least] = [other, distance];
    }
    return best;
  }
}
