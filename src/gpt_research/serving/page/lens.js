// The logit lens: what each layer would say comes next, were it the last.
import { post } from "./api.js";
import { button, element, heading, moveByArrows, paragraph, percent, shown, visible } from "./dom.js";
import { Slot } from "./problems.js";
import { piece, sharesList } from "./shares.js";
import { levelOf } from "./tokens.js";

const ROWS = 160;
const TOP = 5;

export class LensPart {
  constructor(inside) {
    this.inside = inside;
    this.slot = new Slot();
    this.detail = element("div", { class: "lens-detail", "aria-live": "polite" });
    this.node = element(
      "div",
      { class: "lens" },
      paragraph(
        "One row for each token: what every layer would write after it. The number is its chance in " +
          "percent, and the colour too; ✓ marks the token that came.",
        "quiet",
      ),
      element("div", { class: "lens-parts" }, this.slot.node, this.detail),
    );
    this.slot.fill("Reading out each layer…", async (signal) => {
      this.found = await post("/api/lens", { ...inside.question(), top: TOP }, signal);
      this.tell(this.found.layers.length - 1, Math.max(0, this.found.tokens.length - 2));
      return this.draw(0);
    });
  }

  draw(first) {
    const { found } = this;
    const { tokens } = this.inside;
    const last = Math.min(found.tokens.length, first + ROWS);
    const head = element(
      "tr",
      { role: "row" },
      element("th", { scope: "col", role: "columnheader" }, "after"),
      found.layers.map((name) => element("th", { scope: "col", role: "columnheader" }, name)),
    );
    const rows = Array.from({ length: last - first }, (_, row) => this.row(first + row, tokens));
    const grid = element(
      "table",
      { class: "lens-table", role: "grid", "aria-label": "Logit lens" },
      element("thead", { role: "rowgroup" }, head),
      element("tbody", { role: "rowgroup" }, rows),
    );
    moveByArrows(
      grid,
      ".cell",
      () => found.layers.length,
      (cell) => this.tell(Number(cell.dataset.layer), Number(cell.dataset.at)),
    );
    const more =
      found.tokens.length > ROWS &&
      element(
        "div",
        { class: "row" },
        first > 0 && button("Tokens before", () => this.slot.node.replaceChildren(...[this.draw(first - ROWS)].flat())),
        last < found.tokens.length &&
          button("Tokens after", () => this.slot.node.replaceChildren(...[this.draw(last)].flat())),
      );
    return [element("div", { class: "wide lens-scroll" }, grid), more].filter(Boolean);
  }

  row(at, tokens) {
    const { found } = this;
    const token = tokens[at];
    const next = found.tokens[at + 1];
    return element(
      "tr",
      { role: "row", "data-row": at },
      element(
        "th",
        { scope: "row", role: "rowheader", class: "piece" },
        visible(token.text) === "∅" ? token.label : visible(token.text),
      ),
      found.layers.map((name, layer) => {
        const best = found.top[layer][at][0];
        const right = next && best.id === next.id;
        return element(
          "td",
          { role: "gridcell" },
          element(
            "button",
            {
              type: "button",
              class: `cell t s${levelOf(best.probability)} ${right ? "found" : "better"}`,
              "data-layer": layer,
              "data-at": at,
              "aria-label": `${name} after ${token.label}: ${best.label}, ${percent(best.probability)}${right ? ", right" : ""}`,
              onclick: (event) => {
                event.currentTarget.focus();
                this.tell(layer, at);
              },
            },
            element("span", { class: "word" }, best.label, right ? " ✓" : ""),
            element("span", { class: "chance", "aria-hidden": "true" }, Math.round(best.probability * 100)),
          ),
        );
      }),
    );
  }

  tell(layer, at) {
    const { found } = this;
    const next = found.tokens[at + 1];
    const rank = found.rank[layer][at];
    this.detail.replaceChildren(
      heading(2, [`${found.layers[layer]}, after `, piece(found.tokens[at].label)]),
      sharesList(
        found.top[layer][at].map(({ id, label, probability }) => ({
          label,
          share: probability,
          taken: next && id === next.id,
        })),
      ),
      next
        ? paragraph([
            piece(next.label),
            ` came: ${percent(found.probability[layer][at])}, ${rank === 0 ? "the likeliest" : `place ${shown(rank + 1)}`} at this layer.`,
          ])
        : paragraph("The text ends here.", "quiet"),
      paragraph(
        `${shown(found.entropy[layer][at] / Math.LN2)} bits of ` +
          `uncertainty; ${shown(found.kl[layer][at] / Math.LN2)} bits from what the model says in the end.`,
        "quiet",
      ),
    );
  }

  // The row of the token that has pointer or focus.
  point(at) {
    this.node.querySelector(".pointed")?.classList.remove("pointed");
    if (at !== null) this.node.querySelector(`[data-row="${at}"]`)?.classList.add("pointed");
  }

  leave() {
    this.slot.leave();
  }
}
