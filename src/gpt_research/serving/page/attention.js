// Attention: every head as a small picture, and one of them large.
import { post } from "./api.js";
import { choice, element, field, heading, moveByArrows, paragraph, percent, shown, visible } from "./dom.js";
import { Slot } from "./problems.js";
import { piece, sharesList } from "./shares.js";

const LARGEST_PX = 560;
const MOST_LISTED = 6;

export class AttentionPart {
  constructor(inside) {
    this.inside = inside;
    this.query = null;
    this.grid = new Slot();
    this.large = new Slot({ class: "slot large-head" });
    this.node = element("div", { class: "attention" }, this.grid.node, this.large.node);
    this.redraw = () => {
      this.drawGrid?.();
      this.drawLarge?.();
    };
    addEventListener("theme", this.redraw);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.redraw);
    this.grid.fill("Asking each head…", (signal) => this.loadGrid(signal));
  }

  async loadGrid(signal) {
    const found = await post("/api/attention", this.inside.question(), signal);
    const cells = element("div", { class: "heads", role: "radiogroup", "aria-label": "Heads" });
    const pictures = [];
    cells.style.setProperty("--heads", found.heads);
    const [layer, head] = this.wanted(found);
    for (let row = 0; row < found.layers; row++) {
      cells.append(element("span", { class: "layer", "aria-hidden": "true" }, `Layer ${row}`));
      for (let column = 0; column < found.heads; column++) {
        const canvas = element("canvas", { width: found.size, height: found.size });
        pictures.push([canvas, found.grid[row][column]]);
        const chosen = row === layer && column === head;
        const said = wordsFor(found.summary[row][column]);
        cells.append(
          element(
            "button",
            {
              type: "button",
              role: "radio",
              class: "head",
              "aria-checked": String(chosen),
              title: said,
              "data-place": `${row}.${column}`,
              "aria-label": `Layer ${row}, head ${column}: ${said}`,
              onclick: (event) => this.pick(event.currentTarget),
            },
            canvas,
          ),
        );
      }
    }
    this.drawGrid = () => pictures.forEach(([canvas, bytes]) => paintBytes(canvas, bytes));
    this.drawGrid();
    moveByArrows(
      cells,
      "[role=radio]",
      () => found.heads,
      (item) => this.pick(item),
    );
    this.cells = cells;
    this.summary = found.summary;
    this.showHead(layer, head);
    return [
      paragraph(
        "Each square is a head: down the side the tokens that look, along the top the tokens they look " +
          "at. Choose one to see it large.",
        "quiet",
      ),
      cells,
    ];
  }

  // The head that the address names, or the one that looks least at the first token, because such a head says more.
  wanted(found) {
    const [layer, head] = (this.inside.page.values.head ?? "").split(".").map(Number);
    if (layer < found.layers && head < found.heads) return [layer, head];
    const all = found.summary.flatMap((row, at) => row.map((one, column) => [at, column, one.to_first + one.to_self]));
    return all.reduce((a, b) => (b[2] < a[2] ? b : a)).slice(0, 2);
  }

  pick(item) {
    for (const other of this.cells.querySelectorAll("[role=radio]"))
      other.setAttribute("aria-checked", String(other === item));
    this.inside.page.note({ head: item.dataset.place });
    this.showHead(...item.dataset.place.split(".").map(Number));
  }

  showHead(layer, head) {
    this.large.fill("Asking the head…", async (signal) => {
      const found = await post("/api/attention/head", { ...this.inside.question(), layer, head }, signal);
      this.weights = found.weights;
      const count = found.weights.length;
      const canvas = element("canvas", {
        width: count,
        height: count,
        role: "img",
        "aria-label":
          `Weights of layer ${layer}, head ${head}. Move to a token of the text above: the text then ` +
          `shows what this token looks at.`,
      });
      canvas.style.width = `${Math.min(LARGEST_PX, Math.max(220, count * 9))}px`;
      canvas.addEventListener("pointermove", (event) => this.point(place(canvas, event, count)));
      canvas.addEventListener("pointerleave", () => this.point(null));
      this.canvas = canvas;
      this.drawLarge = () => this.drawMatrix();
      this.drawMatrix();
      this.list = element("div", { class: "looks", "aria-live": "polite" });
      this.way = this.way ?? "from";
      this.tell(this.query ?? this.inside.strip.chosen?.[0] ?? count - 1);
      return [
        heading(2, `Layer ${layer}, head ${head}`),
        paragraph(`On average it looks ${wordsFor(this.summary[layer][head])}.`, "quiet"),
        element(
          "div",
          { class: "head-large" },
          canvas,
          element(
            "div",
            {},
            field(
              "For a token show",
              choice(
                [
                  ["from", "what it looks at"],
                  ["to", "what looks at it"],
                ],
                this.way,
                (way) => {
                  this.way = way;
                  this.tell(this.query);
                },
              ),
            ),
            this.list,
          ),
        ),
      ];
    });
  }

  drawMatrix() {
    const count = this.weights.length;
    const bytes = new Uint8Array(count * count);
    this.weights.forEach((row, at) =>
      row.forEach((weight, key) => {
        bytes[at * count + key] = Math.round(weight * 255);
      }),
    );
    paintValues(this.canvas, bytes);
  }

  // A token of the text, or a row of the picture, has pointer or focus.
  point(at) {
    if (!this.weights) return;
    if (at === null) this.inside.colourFor(null);
    else if (at < this.weights.length) {
      const shares = this.shares(at);
      const most = Math.max(...shares, 1e-6);
      this.inside.colourFor((_, other) =>
        other === at
          ? { level: "query", words: this.says(at, other, shares) }
          : { level: "shade", share: Math.sqrt(shares[other] / most), words: this.says(at, other, shares) },
      );
      this.tell(at);
    }
  }

  chosen(from) {
    if (from !== null && this.weights) this.tell(from);
  }

  says(at, other, shares) {
    if (other === at) return `this token; ${percent(shares[at])} to itself`;
    return this.way === "from"
      ? `${percent(shares[other])} of the look of token ${at + 1}`
      : `it gives token ${at + 1} ${percent(shares[other])} of its look`;
  }

  shares(at) {
    return this.weights.map((row, other) => (this.way === "from" ? (this.weights[at][other] ?? 0) : (row[at] ?? 0)));
  }

  tell(at) {
    if (at === null || !this.weights?.[at]) return;
    this.query = at;
    const tokens = this.inside.tokens;
    const shares = this.shares(at);
    const label = (other) => visible(tokens[other].text || tokens[other].label);
    const order = shares
      .map((share, other) => [share, other])
      .sort((a, b) => b[0] - a[0])
      .slice(0, MOST_LISTED)
      .filter(([share]) => share > 0.001);
    this.list.replaceChildren(
      heading(3, [piece(label(at)), this.way === "from" ? " looks at" : " is looked at by"]),
      sharesList(order.map(([share, other]) => ({ label: label(other), share }))),
    );
  }

  leave() {
    this.grid.leave();
    this.large.leave();
    removeEventListener("theme", this.redraw);
    this.dark.removeEventListener("change", this.redraw);
  }
}

function wordsFor(one) {
  return (
    `${shown(one.distance)} tokens back; ${percent(one.to_first)} to the first ` +
    `token, ${percent(one.to_previous)} to the one before, ${percent(one.to_self)} to itself`
  );
}

function place(canvas, event, count) {
  const box = canvas.getBoundingClientRect();
  return Math.max(0, Math.min(count - 1, Math.floor(((event.clientY - box.top) / box.height) * count)));
}

function paintBytes(canvas, text) {
  const raw = atob(text);
  paintValues(
    canvas,
    Uint8Array.from(raw, (character) => character.charCodeAt(0)),
  );
}

// Weights as the strength of one colour; the square root lets small ones be seen.
function paintValues(canvas, bytes) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const [red, green, blue] = colour("--c0");
  bytes.forEach((value, at) => image.data.set([red, green, blue, Math.sqrt(value / 255) * 255], at * 4));
  context.putImageData(image, 0, 0);
}

// A colour of the style sheet as numbers.
export function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
  const whole = text.length === 3 ? [...text].map((digit) => digit + digit).join("") : text;
  return [0, 2, 4].map((at) => parseInt(whole.slice(at, at + 2), 16));
}
