// One document of the data set: its tokens, how the model finds them, and the steps that read them.
import { get, post } from "./api.js";
import { button, element, heading, paragraph, shown, table } from "./dom.js";
import { Slot } from "./problems.js";
import { address } from "./route.js";
import { TokenStrip, chanceLegend, chanceLook } from "./tokens.js";

const PIECE = 512;
const READS = 40;

export class DocumentPart {
  constructor(page) {
    this.page = page;
    this.reads = new Slot();
    this.hard = new Slot();
    this.strip = new TokenStrip({
      label: "Tokens of the document",
      look: plain,
      onchoose: (from, to) => this.choose(from, to),
    });
    this.legend = element("div");
    this.aside = element("div", { class: "chosen-tokens", role: "status" });
  }

  async load(values, signal) {
    const { corpus, split, number } = values;
    this.where = { run: this.page.run().name, corpus, split, number };
    this.offset = Number(values.offset ?? 0);
    const found = (this.found = await get(
      "/api/data/document",
      { ...this.where, offset: this.offset, limit: PIECE },
      signal,
    ));
    this.strip.show(
      found.pieces.map((piece) => ({
        text: piece.special ? "\n" : piece.text,
        label: piece.label,
        id: piece.id,
        special: piece.special,
      })),
    );
    this.tellReads(null, null);
    if (values.token !== undefined) {
      const at = Number(values.token) - this.offset;
      requestAnimationFrame(() => this.strip.reach(at, false));
    }
    const last = this.offset + found.pieces.length;
    const text = [
      heading(2, found.source),
      paragraph(
        `${split === "val" ? "Validation" : "Training"} document ${shown(Number(number))} of ${corpus} ` +
          `· ${shown(found.tokens)} tokens · ${shown(found.bytes)} ` +
          `bytes${found.position ? ` · at ${found.position} in its file` : ""}`,
        "quiet",
      ),
      element(
        "div",
        { class: "row middle" },
        button("Before", () => this.turn(Math.max(0, this.offset - PIECE)), {
          disabled: this.offset === 0,
          class: "small",
        }),
        button("After", () => this.turn(last), { disabled: !found.more, class: "small" }),
        element(
          "span",
          { class: "quiet" },
          `tokens ${shown(this.offset + 1)} to ${shown(last)} of ${shown(found.tokens)}`,
        ),
        button("Colour by the model's chances", () => this.colour(), { class: "small" }),
      ),
      this.hard.node,
      this.legend,
      this.strip.node,
    ];
    const origin = [
      ["file", found.source],
      ["read from", found.root || "not told"],
      ["shard", found.shard],
      ["first token in the split", found.first_token],
      ["SHA-256 of the file", found.sha256 || "not told"],
    ];
    return element(
      "div",
      { class: "with-aside" },
      element("div", { class: "texts" }, text),
      element(
        "aside",
        { class: "beside", "aria-label": "When it was read" },
        this.aside,
        this.reads.node,
        element(
          "details",
          {},
          element("summary", {}, "Where it lies"),
          table("Where it lies", ["what", "value"], origin),
        ),
      ),
    );
  }

  turn(offset) {
    this.page.go("data", { ...this.page.values, offset, token: null });
  }

  colour() {
    this.hard.fill("Asking the model…", async (signal) => {
      const found = await post(
        "/api/analysis",
        {
          model: this.page.model(),
          tokens: this.found.pieces.map((piece) => piece.id),
          start: this.offset === 0,
          top: 0,
        },
        signal,
      );
      const surprise = this.offset === 0 ? found.surprise.slice(1) : found.surprise;
      this.strip.paint((_, at) =>
        chanceLook({ logprob: surprise[at] === null || surprise[at] === undefined ? null : -surprise[at] }),
      );
      this.legend.replaceChildren(chanceLegend());
      return paragraph(
        `Loss of these tokens: ${shown(found.loss)} nats, ${shown(found.bits_per_byte)} bits per byte ` +
          `(${this.page.checkpoint(found)}).`,
        "quiet",
      );
    });
  }

  choose(from, to) {
    if (from === null) this.aside.replaceChildren();
    else {
      const text = this.strip.tokens
        .slice(from, to)
        .map((token) => token.text)
        .join("");
      this.aside.replaceChildren(
        element(
          "div",
          { class: "row middle" },
          element("span", {}, this.named(from, to)),
          element("a", { href: address("trace", { ...this.page.place(), q: text }) }, "Trace these words"),
          element("a", { href: address("inside", { ...this.page.place(), text }) }, "Look inside"),
        ),
      );
    }
    this.tellReads(from, to);
  }

  named(from, to) {
    const [first, last] = [from + 1, to].map((at) => shown(this.offset + at));
    return first === last ? `Token ${first} chosen.` : `Tokens ${first} to ${last} chosen.`;
  }

  // The steps that read the chosen tokens, or the whole piece.
  tellReads(from, to) {
    const first = this.offset + (from ?? 0);
    const last = this.offset + (to ?? this.found.pieces.length);
    this.reads.fill("Asking when it was read…", async (signal) => {
      const found = await get("/api/data/reads", { ...this.where, first, last, limit: READS }, signal);
      const title = from === null ? "When these tokens were read" : "When the chosen tokens were read";
      if (found.why) return [heading(2, title), paragraph(found.why)];
      const never = found.never_read.reduce((all, [a, b]) => all + b - a, 0);
      const whole = found.reads.filter((read) => read.whole).length;
      const words =
        found.total === 0
          ? `No step of the ${shown(found.steps_taken)} so far has read them.`
          : `${shown(found.total)} ${found.total === 1 ? "window" : "windows"} ` +
            `of ${shown(found.steps_taken)} steps ` +
            `held ${from === null ? "parts of them" : "them or parts of them"}${never ? `; ${shown(never)} of ${shown(last - first)} tokens were never read` : ""}.`;
      return [
        heading(2, title),
        paragraph(words),
        found.total > 0 &&
          table(
            `Windows that held them${found.total > READS ? `, the first ${READS}` : ""}`,
            ["step", "pass", "tokens of the document", "held"],
            found.reads.map((read) => [
              element("span", { class: "number" }, shown(read.step)),
              read.pass + 1,
              `${shown(read.first + 1)} to ${shown(read.last)}`,
              read.whole ? "all" : "a part",
            ]),
          ),
        whole === 0 &&
          found.total > 0 &&
          from !== null &&
          paragraph("No window held the chosen tokens whole, so they were read in parts only.", "quiet"),
      ];
    });
  }

  leave() {
    this.reads.leave();
    this.hard.leave();
  }
}

const plain = (token) => ({
  level: null,
  words: token.special ? `${token.label}, the end of the document` : `token ${token.id}`,
});
