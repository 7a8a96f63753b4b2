// The view Look inside: one text, token by token, and what the model does with it.
import { post } from "./api.js";
import { button, choice, element, field, moveByArrows, paragraph, shown } from "./dom.js";
import { AttentionPart } from "./attention.js";
import { exampleText } from "./example.js";
import { CurvesPart, PositionsPart } from "./curves.js";
import { inputSection, textToAsk } from "./input.js";
import { inspector } from "./inspector.js";
import { LensPart } from "./lens.js";
import { Slot } from "./problems.js";
import { SwitchesPart } from "./switches.js";
import { TokenStrip, chanceLegend, chanceLook, legend } from "./tokens.js";

const PARTS = {
  attention: ["Attention", AttentionPart],
  lens: ["Layer by layer", LensPart],
  curves: ["Surprise", CurvesPart],
  off: ["Switch off", SwitchesPart],
  positions: ["By position", PositionsPart],
};
const TOP = 10;
const EXAMPLE_TOKENS = 60;

export function show(page) {
  return new Inside(page);
}

class Inside {
  constructor(page) {
    this.page = page;
    this.text = textToAsk(page.values.text ?? "", "A text to look into", () => this.look());
    this.aside = element("aside", { class: "beside", "aria-label": "What is chosen" });
    this.analysis = new Slot();
    this.strip = new TokenStrip({
      label: "Text that is looked into",
      onchoose: (from, to) => this.choose(from, to),
      onpoint: (at) => this.part?.point?.(at),
    });
    this.colours = element("div", { class: "row middle" });
    this.tabs = element("div", { class: "choices tabs", role: "tablist", "aria-label": "What is shown of it" });
    this.panel = element("div", { role: "tabpanel", id: "part", class: "panel" });
    this.below = element(
      "section",
      { class: "block", "aria-label": "Parts of the model", hidden: true },
      this.tabs,
      this.panel,
    );
    this.node = element(
      "div",
      { class: "view with-aside" },
      inputSection({
        label: "Text",
        text: this.text,
        buttons: [
          button("Look", () => this.look(), { class: "main" }),
          button("Take a validation text", () => this.take()),
        ],
        keys: "Ctrl + Enter looks",
      }),
      element("section", { class: "texts", "aria-label": "Tokens" }, this.analysis.node),
      this.aside,
      this.below,
    );
    this.drawTabs();
    this.choose(null, null);
  }

  shown() {
    if (this.page.values.text) this.analyse();
    else this.take();
  }

  look() {
    this.page.go("inside", { ...this.page.values, text: this.text.value, at: null });
  }

  // Looks into a validation text.
  take() {
    this.analysis.fill("Reading the validation split…", async (signal) => {
      const text = await exampleText(this.page, EXAMPLE_TOKENS, signal);
      if (text === null)
        return paragraph("Give a text: what the model makes of each of its tokens is shown here.", "quiet");
      this.text.value = text;
      this.page.note({ text });
      this.analyse();
    });
  }

  // The same question to the server, for each part of the view.
  question() {
    return { model: this.page.model(), text: this.page.values.text };
  }

  analyse() {
    this.analysis.fill("Asking the model…", async (signal) => {
      const found = await post("/api/analysis", { ...this.question(), top: TOP }, signal);
      this.found = found;
      this.tokens = found.tokens.map((token, at) => ({
        text: token.special ? "" : token.text,
        label: token.label,
        id: token.id,
        kind: token.special && "special",
        entropy: found.entropy[at],
        logprob: found.surprise[at] === null ? null : -found.surprise[at],
        top: at
          ? found.top[at - 1].map((other) => ({
              text: other.label,
              id: other.id,
              logprob: Math.log(other.probability),
            }))
          : [],
      }));
      this.strip.show(this.tokens);
      this.below.hidden = false;
      this.paint(this.page.values.colour ?? "surprise");
      this.open(this.page.values.part ?? "attention");
      return [this.summary(found), this.colours, this.strip.node];
    });
  }

  summary(found) {
    const parts = [
      `${found.scored} tokens`,
      `loss ${shown(found.loss)} nats a token`,
      `perplexity ${shown(found.perplexity)}`,
      `${shown(found.bits_per_byte)} bits per byte`,
    ];
    return paragraph(`${parts.join(" · ")} · ${this.page.checkpoint(found)}`, "summary");
  }

  // Colours the text by one of its numbers.
  paint(name) {
    const looks = { surprise: chanceLook, entropy: entropyLook, ...(this.without && { change: this.without.look }) };
    const names = { surprise: "chance", entropy: "uncertainty before it", change: "change by what is off" };
    const chosen = looks[name] ? name : "surprise";
    this.legend ??= element("div");
    this.legend.replaceChildren(
      { surprise: chanceLegend, entropy: entropyLegend, change: this.without?.legend }[chosen](),
    );
    this.colours.replaceChildren(
      element(
        "div",
        { class: "inline" },
        field(
          "Colour by",
          choice(
            Object.keys(looks).map((key) => [key, names[key]]),
            chosen,
            (value) => {
              this.page.note({ colour: value });
              this.paint(value);
            },
          ),
        ),
      ),
      this.legend,
    );
    this.strip.paint((token, at) => looks[chosen](token, at, this.tokens));
    this.painted = chosen;
  }

  // A part may colour the strip for a while; `look` null gives it back.
  colourFor(look) {
    if (look) this.strip.paint(look);
    else this.paint(this.painted);
  }

  choose(from, to) {
    const tokens = this.tokens ?? [];
    const text = () =>
      tokens
        .slice(from, to)
        .map((token) => token.text)
        .join("");
    this.aside.classList.toggle("open", from !== null);
    this.aside.replaceChildren(
      inspector({
        tokens,
        from,
        to,
        close: () => this.strip.choose(0, 0),
        branch: null,
        actions: [
          [
            "Trace these words",
            () =>
              this.page.go("trace", {
                ...this.page.place(),
                q: text(),
                before: tokens
                  .slice(0, from)
                  .map((token) => token.text)
                  .join(""),
              }),
          ],
          [
            "Write on from here",
            () =>
              this.page.go("write", {
                ...this.page.place(),
                prompt: tokens
                  .slice(0, to)
                  .map((token) => token.text)
                  .join(""),
              }),
          ],
        ],
      }),
    );
    this.part?.chosen?.(from, to);
  }

  drawTabs() {
    this.tabs.replaceChildren(
      ...Object.entries(PARTS).map(([name, [title]]) =>
        element(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${name}`,
            "aria-selected": "false",
            "aria-controls": "part",
            onclick: () => {
              this.page.note({ part: name });
              this.open(name);
            },
          },
          title,
        ),
      ),
    );
    this.reachTab = moveByArrows(
      this.tabs,
      "[role=tab]",
      () => 1,
      (tab) => tab.click(),
    );
  }

  open(name) {
    const chosen = PARTS[name] ? name : "attention";
    for (const tab of this.tabs.children) tab.setAttribute("aria-selected", String(tab.id === `tab-${chosen}`));
    this.reachTab(document.getElementById(`tab-${chosen}`) ?? this.tabs.children[0]);
    this.panel.setAttribute("aria-labelledby", `tab-${chosen}`);
    this.part?.leave?.();
    this.part = new PARTS[chosen][1](this);
    this.panel.replaceChildren(this.part.node);
  }

  leave() {
    this.analysis.leave();
    this.part?.leave?.();
  }
}

// Uncertainty in bits, of the prediction of a token: how many even choices it stands for.
const ENTROPY_BITS = [1, 2.5, 4, 6];
function entropyLook(token, at, tokens) {
  if (at === 0) return { level: null, words: "the text begins here" };
  const bits = tokens[at - 1].entropy / Math.LN2;
  return {
    level: `s${ENTROPY_BITS.filter((least) => bits >= least).length} better`,
    words: `${bits.toFixed(1)} bits of uncertainty, as between ${shown(Math.round(2 ** bits))} equal choices`,
  };
}

function entropyLegend() {
  return legend(
    "Uncertainty before each token",
    ["under 1 bit", "1 to 2.5", "2.5 to 4", "4 to 6", "over 6 bits"].map((text, level) => [`s${level} better`, text]),
  );
}
