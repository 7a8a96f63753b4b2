// Two parts of Look inside: surprise and uncertainty along the text, and the loss by position over
// the validation split.
import { get } from "./api.js";
import { element, heading, paragraph, shown, table, visible } from "./dom.js";
import { lineFigure } from "./figure.js";
import { Slot } from "./problems.js";
import { piece } from "./shares.js";

const MOST_SURPRISING = 8;
const AGAIN_MS = 1000;

export class CurvesPart {
  constructor({ tokens }) {
    const places = tokens.map((_, at) => at + 1);
    const bits = (value) => (value === null || value === undefined ? null : value / Math.LN2);
    const chart = lineFigure({
      title: "Surprise and uncertainty",
      xLabel: "token",
      yLabel: "bits",
      note:
        "Surprise is what the token cost. Uncertainty is what the model expected it to cost. A token " +
        "far above was a true surprise.",
      lines: [
        {
          label: "surprise",
          x: places,
          y: tokens.map((token) => (token.logprob === null ? null : bits(-token.logprob))),
        },
        {
          label: "uncertainty",
          x: places,
          y: tokens.map((_, at) => (at ? bits(tokens[at - 1].entropy) : null)),
          dashed: true,
        },
      ],
    });
    const most = tokens
      .map((token, at) => ({ token, at }))
      .filter(({ token }) => token.logprob !== null)
      .sort((a, b) => a.token.logprob - b.token.logprob)
      .slice(0, MOST_SURPRISING);
    this.node = element(
      "div",
      {},
      chart.node,
      heading(2, "The greatest surprises"),
      table(
        "Tokens by surprise",
        ["token", "place", "bits", "expected instead"],
        most.map(({ token, at }) => [
          piece(visible(token.text)),
          at + 1,
          bits(-token.logprob),
          piece(
            token.top
              .slice(0, 3)
              .map((other) => visible(other.text))
              .join("  "),
          ),
        ]),
      ),
    );
  }
}

export class PositionsPart {
  constructor(inside) {
    this.slot = new Slot();
    this.node = this.slot.node;
    this.load(inside.page.model());
  }

  load(model) {
    this.slot.fill("Asking…", async (signal) => {
      const found = await get("/api/positions", { model }, signal);
      if (found.state === "running") {
        this.timer = setTimeout(() => this.load(model), AGAIN_MS);
        return progress("The loss over the validation split is being computed", found.progress);
      }
      if (found.state === "failed") return paragraph(found.why, "problem");
      const chart = lineFigure({
        title: "Loss by position in the context",
        xLabel: "position",
        yLabel: "nats a token",
        note:
          `Mean over ${shown(found.tokens.reduce((all, one) => all + one, 0))} tokens of the validation ` +
          `split. It falls for as long as the model makes use of what stands before.`,
        lines: [
          {
            label: `validation, step ${found.step}`,
            x: found.position,
            y: found.loss,
            dots: found.position.length < 40,
          },
        ],
      });
      return chart.node;
    });
  }

  leave() {
    clearTimeout(this.timer);
    this.slot.leave();
  }
}

export function progress(words, share) {
  return element(
    "div",
    { class: "progress" },
    element("label", {}, `${words}: ${Math.round(share * 100)}% `, element("progress", { max: "1", value: share })),
  );
}
