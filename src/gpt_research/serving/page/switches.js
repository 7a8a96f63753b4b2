// Switching parts of the model off: what each is worth to this text, and what changes without some of them.
import { post } from "./api.js";
import { button, element, heading, moveByArrows, paragraph, percent, shown, table } from "./dom.js";
import { Slot } from "./problems.js";
import { piece } from "./shares.js";
import { legend } from "./tokens.js";

const MOST_CHANGED = 10;
const KINDS = { h: "heads", a: "attention", m: "mlps", l: "layers" };
// Changes of the surprise of a token, in bits, that begin a stronger colour.
const BITS = [0.1, 0.5, 1, 2];

export class SwitchesPart {
  constructor(inside) {
    this.inside = inside;
    this.off = new Set((inside.page.values.off ?? "").split(",").filter(Boolean));
    this.grid = new Slot();
    this.result = new Slot();
    this.node = element("div", { class: "switches" }, this.grid.node, this.result.node);
    this.grid.fill("Switching off each part in turn…", (signal) => this.loadGrid(signal));
    if (this.off.size) this.apply();
  }

  async loadGrid(signal) {
    const found = await post("/api/switch_off/each", this.inside.question(), signal);
    const layers = found.layers.length;
    const heads = found.heads[0].length;
    const names = [...Array.from({ length: heads }, (_, head) => `head ${head}`), "attention", "MLP", "layer"];
    const most = Math.max(...found.heads.flat(), ...found.attention, ...found.mlps, ...found.layers, 1e-6);
    const rows = Array.from({ length: layers }, (_, layer) => {
      const places = [
        ...found.heads[layer].map((change, head) => [`h${layer}.${head}`, change]),
        [`a${layer}`, found.attention[layer]],
        [`m${layer}`, found.mlps[layer]],
        [`l${layer}`, found.layers[layer]],
      ];
      return element(
        "tr",
        { role: "row" },
        element("th", { scope: "row", role: "rowheader" }, `Layer ${layer}`),
        places.map(([place, change], column) => {
          const made = element(
            "button",
            {
              type: "button",
              class: `switch shade`,
              "aria-pressed": String(this.off.has(place)),
              "data-place": place,
              "aria-label": `Layer ${layer}, ${names[column]}: without it the loss changes by ${signed(change)}`,
              onclick: () => this.toggle(place, made),
            },
            signed(change),
          );
          made.style.setProperty("--share", Math.sqrt(Math.max(0, change) / most) * 0.75);
          return element("td", { role: "gridcell" }, made);
        }),
      );
    });
    const grid = element(
      "table",
      { class: "switch-table", role: "grid", "aria-label": "Parts of the model" },
      element(
        "thead",
        { role: "rowgroup" },
        element(
          "tr",
          { role: "row" },
          element("th", { scope: "col", role: "columnheader" }, element("span", { class: "said" }, "Layer")),
          names.map((name) => element("th", { scope: "col", role: "columnheader" }, name)),
        ),
      ),
      element("tbody", { role: "rowgroup" }, rows),
    );
    moveByArrows(grid, ".switch", () => names.length);
    return [
      paragraph(
        "Each number is the change of this text's mean loss, in nats, without that part alone. Choose " +
          "parts to switch them off together.",
        "quiet",
      ),
      element("div", { class: "wide" }, grid),
    ];
  }

  toggle(place, made) {
    if (!this.off.delete(place)) this.off.add(place);
    made.setAttribute("aria-pressed", String(this.off.has(place)));
    this.inside.page.note({ off: [...this.off].join(",") });
    this.apply();
  }

  apply() {
    if (!this.off.size) {
      this.inside.without = null;
      this.inside.paint("surprise");
      this.result.leave();
      return this.result.node.replaceChildren();
    }
    this.result.fill("Asking the model without them…", async (signal) => {
      const off = {};
      for (const place of this.off) {
        const [layer, head] = place.slice(1).split(".").map(Number);
        (off[KINDS[place[0]]] ??= []).push(place[0] === "h" ? [layer, head] : layer);
      }
      const found = await post("/api/switch_off", { ...this.inside.question(), off, top: 3 }, signal);
      const changes = found.after.surprise.map((after, at) =>
        after === null ? null : (after - found.before.surprise[at]) / Math.LN2,
      );
      this.inside.without = { look: (_, at) => changeLook(changes[at], found, at), legend: changeLegend };
      this.inside.paint("change");
      return this.shown(found, changes);
    });
  }

  shown(found, changes) {
    const order = changes
      .map((change, at) => ({ change, at }))
      .filter(({ change }) => change !== null)
      .sort((a, b) => Math.abs(b.change) - Math.abs(a.change))
      .slice(0, MOST_CHANGED);
    const best = (of, at) => {
      const one = of.top[at - 1]?.[0];
      return one ? piece(`${one.label} ${percent(one.probability)}`) : "–";
    };
    return [
      element(
        "div",
        { class: "row middle" },
        heading(
          2,
          `Loss ${shown(found.before.loss)} → ${shown(found.after.loss)} nats ` +
            `(${signed(found.after.loss - found.before.loss)})`,
        ),
        button(
          "Switch all on",
          () => {
            for (const made of this.grid.node.querySelectorAll('[aria-pressed="true"]'))
              made.setAttribute("aria-pressed", "false");
            this.off.clear();
            this.inside.page.note({ off: null });
            this.apply();
          },
          { class: "small" },
        ),
      ),
      table(
        "The tokens that change most",
        ["token", "place", "bits more", "likeliest before", "likeliest without"],
        order.map(({ change, at }) => [
          piece(found.tokens[at].label),
          at + 1,
          +change.toFixed(2),
          best(found.before, at),
          best(found.after, at),
        ]),
      ),
    ];
  }

  leave() {
    this.grid.leave();
    this.result.leave();
  }
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(Math.abs(value) < 0.1 ? 3 : 2)}`;

function changeLook(change, found, at) {
  if (change === null || change === undefined) return { level: null, words: "the text begins here" };
  const level = BITS.filter((least) => Math.abs(change) >= least).length;
  const chances = [found.before.surprise[at], found.after.surprise[at]].map((surprise) => percent(Math.exp(-surprise)));
  return { level: `s${level} ${change < 0 ? "better" : ""}`, words: `${chances[0]} before, ${chances[1]} without` };
}

function changeLegend() {
  return legend("Without the parts", [
    ["s1", "a little less likely"],
    ["s4", "far less likely"],
    ["s1 better", "a little more likely"],
    ["s4 better", "far more likely"],
  ]);
}
