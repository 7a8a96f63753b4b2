// The view Through training: one text at every checkpoint, samples over time, and the curves of the
// run while it trains.
import { post } from "./api.js";
import { button, element, heading, paragraph, say, shown } from "./dom.js";
import { colour } from "./attention.js";
import { progress } from "./curves.js";
import { exampleText } from "./example.js";
import { lineFigure } from "./figure.js";
import { inputFields, textToAsk } from "./input.js";
import { Slot } from "./problems.js";
import { RunCurves } from "./run_curves.js";
import { Samples, spread } from "./samples.js";
import { TokenStrip, chanceLegend, chanceLook, legend } from "./tokens.js";

// Checkpoints that are asked for at a time, so that the page can say how far it is.
const AT_ONCE = 4;
// More are not followed: the server takes no more in one question, and a page has no more rows to show.
const MOST = 100;
const PLAY_MS = 700;
const EXAMPLE_TOKENS = 40;

export function show(page) {
  return new Training(page);
}

class Training {
  constructor(page) {
    this.page = page;
    this.text = textToAsk(page.values.text ?? "", "A text to follow through training", () => this.follow(), 2);
    this.through = new Slot();
    this.curves = new RunCurves(page);
    this.samples = new Samples(page);
    this.strip = new TokenStrip({ label: "Text at the chosen checkpoint", onchoose: (from) => this.chosen(from) });
    this.node = element(
      "div",
      { class: "view training" },
      element(
        "section",
        { "aria-label": "One text through training" },
        heading(2, "One text, at every checkpoint"),
        element(
          "div",
          { class: "controls" },
          inputFields({
            label: "Text",
            text: this.text,
            buttons: button("Follow it", () => this.follow(), { class: "main" }),
            keys: "Ctrl + Enter follows it",
          }),
        ),
        this.through.node,
      ),
      this.curves.node,
      this.samples.node,
    );
  }

  shown() {
    if (this.page.values.text) this.load();
    else this.take();
    this.curves.load();
  }

  runsChanged() {
    this.curves.load();
  }

  // Follows a validation text.
  take() {
    if (!this.page.run().checkpoints.length) return this.load();
    this.through.fill("Reading the validation split…", async (signal) => {
      const text = await exampleText(this.page, EXAMPLE_TOKENS, signal);
      if (text === null) return paragraph("Give a text: it is shown as each checkpoint sees it.", "quiet");
      this.text.value = text;
      this.page.note({ text });
      this.load();
    });
  }

  follow() {
    this.page.go("training", { ...this.page.values, text: this.text.value });
  }

  load() {
    const run = this.page.run();
    const { text } = this.page.values;
    if (!run.checkpoints.length)
      return this.through.node.replaceChildren(
        paragraph("This run has no checkpoint yet. The first one comes with its first save.", "quiet"),
      );
    this.through.fill("Asking the checkpoints…", async (signal) => {
      const all = run.checkpoints.map((one) => one.step);
      const steps = spread(all, MOST);
      // The answers are kept by the server, so the last question, for all, costs nothing more.
      for (let at = 0; at < steps.length && steps.length > AT_ONCE; at += AT_ONCE) {
        await post("/api/through/losses", { run: run.name, text, steps: steps.slice(at, at + AT_ONCE) }, signal);
        if (!this.found)
          this.through.node.replaceChildren(
            progress("Asking each checkpoint", Math.min(1, (at + AT_ONCE) / steps.length)),
          );
      }
      this.found = await post("/api/through/losses", { run: run.name, text, steps }, signal);
      this.leftOut = all.length - steps.length;
      return this.draw(run);
    });
  }

  draw(run) {
    const { found } = this;
    const { steps } = found;
    const last = steps.length - 1;
    const named = steps.indexOf(Number(this.page.values.at));
    const start = named >= 0 ? named : last;
    this.slider = element("input", {
      type: "range",
      min: 0,
      max: last,
      step: 1,
      value: start,
      "aria-label": "Checkpoint",
      oninput: () => this.at(Number(this.slider.value), true),
    });
    this.step = element("output", { class: "step" });
    this.play = button("Play", () => this.toggle(), { class: "small" });
    this.lookChoice = element(
      "div",
      { class: "choices", role: "group", "aria-label": "Colour by" },
      [
        ["chance", "Chance"],
        ["learnt", "When learnt"],
      ].map(([name, text]) => button(text, () => this.colourBy(name), { "aria-pressed": "false", "data-name": name })),
    );
    this.legend = element("div");
    this.map = element("canvas", {
      class: "heat",
      role: "img",
      "aria-label":
        "Surprise of each token, left to right, at each checkpoint, top to bottom. The text above shows " +
        "the same for the chosen checkpoint.",
    });
    this.ofToken = element("div");
    this.loss = lineFigure({
      title: "Loss of this text",
      xLabel: "step",
      yLabel: "nats a token",
      lines: [{ label: "this text", x: steps, y: found.loss, dots: true }],
    });
    this.strip.show(
      found.tokens.map((token, at) => ({
        text: token.special ? "" : token.text,
        label: token.label,
        kind: token.special && "special",
        at,
      })),
    );
    this.at(start);
    this.colourBy(this.page.values.colour === "learnt" ? "learnt" : "chance");
    this.paintMap();
    const gone =
      found.gone.length > 0 &&
      element(
        "div",
        { class: "problem" },
        found.gone.map((one) => paragraph(`Step ${one.step}: ${one.why}`)),
      );
    const learnt = found.learnt_text
      ? `The text as a whole was learnt by step ${shown(found.learnt_text.step)}: it ` +
        `won ${found.learnt_text.gain.toFixed(2)} nats a token.`
      : "The text as a whole was not learnt: its loss fell by less than half a nat.";
    return [
      gone,
      element("div", { class: "row middle slider" }, this.play, this.slider, this.step),
      element("div", { class: "row middle" }, this.lookChoice, this.legend),
      this.strip.node,
      paragraph(
        `${learnt} A token counts as learnt from the checkpoint on at which it stays below the middle ` +
          `between its highest and its last ` +
          `surprise.${this.leftOut ? ` ${shown(this.leftOut)} checkpoints between these are left out.` : ""}`,
        "quiet",
      ),
      this.ofToken,
      element("div", { class: "figures block" }, this.loss.node, this.heat(steps)),
    ];
  }

  heat(steps) {
    const ends = [steps[0], steps.at(-1)].map((step) => element("span", {}, `step ${shown(step)}`));
    return element(
      "figure",
      { class: "heat-figure" },
      element(
        "figcaption",
        {},
        element("h3", {}, "Each token at each checkpoint"),
        element("p", {}, "Darker is more surprise. Left to right the text, top to bottom the training."),
      ),
      element(
        "div",
        { class: "heat-frame" },
        element("div", { class: "heat-ends", "aria-hidden": "true" }, ends),
        this.map,
      ),
    );
  }

  at(number, noted = false) {
    this.number = number;
    const step = this.found.steps[number];
    this.slider.value = number;
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    this.step.textContent = `step ${shown(step)} · loss ${shown(this.found.loss[number])}`;
    if (this.look !== "learnt") this.strip.paint((token) => this.chance(token));
    if (noted) this.page.note({ at: step });
  }

  chance(token) {
    const surprise = this.found.surprise[this.number][token.at];
    return chanceLook({ logprob: surprise === null ? null : -surprise });
  }

  colourBy(name) {
    this.look = name;
    this.page.note({ colour: name === "learnt" ? name : null });
    for (const item of this.lookChoice.children) item.setAttribute("aria-pressed", String(item.dataset.name === name));
    const { steps, learnt } = this.found;
    const level = (step) => Math.min(4, Math.floor((steps.indexOf(step) / steps.length) * 5));
    if (name === "learnt") {
      const groups = [0, 1, 2, 3, 4]
        .map((group) => steps.filter((step) => level(step) === group))
        .map((group, at) => [group, at])
        .filter(([group]) => group.length);
      this.legend.replaceChildren(
        legend("Learnt at step", [
          ...groups.map(([group, at]) => [
            `s${at} found early`,
            group.length > 1 ? `${shown(group[0])} to ${shown(group.at(-1))}` : shown(group[0]),
          ]),
          ["unlearnt", "not learnt"],
        ]),
      );
      this.strip.paint(({ at }) =>
        at === 0 || learnt[at] === undefined
          ? { level: null, words: "the text begins here" }
          : learnt[at]
            ? {
                level: `s${level(learnt[at].step)} found early`,
                words: `learnt at step ${shown(learnt[at].step)}, ${learnt[at].gain.toFixed(1)} nats won`,
              }
            : { level: "unlearnt", words: "not learnt" },
      );
    } else {
      this.legend.replaceChildren(chanceLegend());
      this.strip.paint((token) => this.chance(token));
    }
  }

  // A token's own curve.
  chosen(from) {
    if (from === null) return this.ofToken.replaceChildren();
    const { found } = this;
    const y = found.surprise.map((row) => (row[from] === null ? null : row[from] / Math.LN2));
    const learnt = found.learnt[from];
    if (y.every((value) => value === null)) return this.ofToken.replaceChildren();
    const chart = lineFigure({
      title: `Surprise of ${found.tokens[from].label}`,
      xLabel: "step",
      yLabel: "bits",
      lines: [{ label: "surprise", x: found.steps, y, dots: true }],
      note: learnt
        ? `Learnt at step ${shown(learnt.step)}; ${learnt.gain.toFixed(1)} nats won.`
        : "Not learnt: it won less than half a nat, or fell back.",
    });
    this.ofToken.replaceChildren(chart.node);
  }

  paintMap() {
    const { surprise } = this.found;
    const rows = surprise.length;
    const columns = surprise[0].length;
    const context = this.map.getContext("2d");
    this.map.width = columns;
    this.map.height = rows;
    const image = context.createImageData(columns, rows);
    const [red, green, blue] = colour("--c1");
    const most = Math.log(this.page.run().shape?.vocab_size ?? 1000);
    surprise.forEach((row, y) =>
      row.forEach((value, x) =>
        image.data.set(
          [red, green, blue, value === null ? 0 : Math.min(255, (value / most) * 255)],
          (y * columns + x) * 4,
        ),
      ),
    );
    context.putImageData(image, 0, 0);
  }

  toggle() {
    if (this.timer) return this.pause();
    this.play.textContent = "Pause";
    if (this.number === this.found.steps.length - 1) this.at(0, true);
    this.timer = setInterval(() => {
      if (this.number === this.found.steps.length - 1) return this.pause();
      this.at(this.number + 1, true);
    }, PLAY_MS);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
    say(this.step.textContent);
  }

  leave() {
    clearInterval(this.timer);
    this.through.leave();
    this.curves.leave();
    this.samples.leave();
  }
}
