// The view Trace: where words stand in the training data, and when the run read them.
import { get, post } from "./api.js";
import { button, element, heading, paragraph, shown, table, visible } from "./dom.js";
import { lineFigure } from "./figure.js";
import { inputSection, textToAsk } from "./input.js";
import { problem, Slot, withCommands } from "./problems.js";
import { address } from "./route.js";
import { piece } from "./shares.js";

const PLACES = 10;
const READINGS = 6;

export function show(page) {
  return new Trace(page);
}

class Trace {
  constructor(page) {
    this.page = page;
    this.slot = new Slot();
    this.detail = element("div", { class: "slot" });
    this.ofSpan = new Slot();
    const asked = page.values.q ?? page.values.text ?? "";
    this.text = textToAsk(asked, "Words to look for in the training data", () => this.look());
    this.node = element(
      "div",
      { class: "view trace" },
      inputSection({
        label: "Text",
        text: this.text,
        buttons: button("Trace", () => this.look(), { class: "main" }),
        keys: "Ctrl + Enter traces",
      }),
      this.slot.node,
      this.detail,
    );
  }

  shown() {
    this.load();
  }

  change() {
    const { q, text } = this.page.values;
    if (this.key === this.asked(q ?? text ?? "")) return false;
    this.text.value = q ?? text ?? "";
    this.load();
    return true;
  }

  asked(text) {
    return JSON.stringify([this.page.run().name, text, this.page.values.before]);
  }

  // The words themselves are traced; what stood before them in the text decides how they are cut into tokens.
  look() {
    this.page.go("trace", { ...this.page.place(), q: this.text.value, span: null });
  }

  question() {
    const { q, text, before } = this.page.values;
    return { run: this.page.run().name, text: q ?? text ?? "", before: before ?? "", limit: PLACES };
  }

  load() {
    const asked = this.question();
    this.key = this.asked(asked.text);
    this.detail.replaceChildren();
    this.ofSpan.leave();
    this.slot.fill(asked.text ? "Looking through the training data…" : "", async (signal) => {
      if (!asked.text) return this.ready(signal);
      const found = (this.found = await post("/api/trace", asked, signal));
      return this.draw(found);
    });
  }

  // Whether there is an index, before anyone asks; the server opens it while the reader types.
  async ready(signal) {
    const run = this.page.run().name;
    const { views } = await get("/api/data", { run }, signal);
    if (views.trace && !views.trace.ok) return problem({ name: "ApiError", message: views.trace.why });
    get("/api/trace", { run }, signal).catch(() => {}); // the question itself will say what is wrong
    return paragraph(
      "Type words, or choose some in any text of the other views. You see the longest pieces of them " +
        "that stand in the training data, each with its document, and the steps at which " +
        "the run read it.",
      "quiet",
    );
  }

  draw(found) {
    const notes = (found.remarks ?? []).map((remark) => element("p", { class: "quiet" }, withCommands(remark)));
    if (!found.spans.length)
      return [...notes, paragraph("No two of its tokens in a row stand in the training data.", "lead")];
    this.letters = [...found.text]; // the server counts whole characters
    const longest = found.spans.reduce((a, b) => (b.tokens.length > a.tokens.length ? b : a));
    const words =
      longest.start === 0 && longest.stop === this.letters.length
        ? "The whole text stands in the training data."
        : `The longest piece that stands in the training data has ${shown(longest.tokens.length)} ` +
          `of ${shown(found.tokens.length)} tokens.`;
    const named = found.spans[Number(this.page.values.span)] ?? longest;
    this.whole = element("p", { class: "strip traced" });
    this.list = element(
      "div",
      { class: "spans", role: "group", "aria-label": "Pieces that were found" },
      found.spans.map((span, number) =>
        button(
          [
            element("span", { class: "span-text" }, visible(span.text.trim() || span.text).replaceAll("␣", " ")),
            element(
              "span",
              { class: "quiet" },
              `${shown(span.tokens.length)} tokens ` +
                `· ${times(span.count)}${span.validation_count ? ` · ${shown(span.validation_count)} in validation` : ""}`,
            ),
          ],
          () => this.open(span, number),
          { "aria-pressed": "false", class: "span" },
        ),
      ),
    );
    this.open(named, found.spans.indexOf(named), false);
    return [paragraph(words, "lead"), ...notes, this.whole, element("h2", {}, "Pieces"), this.list];
  }

  open(span, number, noted = true) {
    if (noted) this.page.note({ span: number });
    [...this.list.children].forEach((item, at) => item.setAttribute("aria-pressed", String(at === number)));
    const part = (start, stop) => this.letters.slice(start, stop).join("");
    this.whole.replaceChildren(part(0, span.start), element("mark", {}, part(span.start, span.stop)), part(span.stop));
    this.ofSpan.node.replaceChildren();
    this.ofSpan.fill("Asking the checkpoints…", (signal) => this.losses(span, number, signal));
    this.detail.replaceChildren(
      element(
        "div",
        { class: "two-columns block" },
        element(
          "div",
          {},
          heading(2, [element("q", { class: "traced" }, span.text.trim() || visible(span.text))]),
          paragraph(
            `It stands ${times(span.count)} in the training data and ${times(span.validation_count)} in the ` +
              `validation split.`,
          ),
          this.places(span.places, span.count, "In the training data"),
          this.places(span.validation_places, span.validation_count, "In the validation split"),
        ),
        this.ofSpan.node,
      ),
    );
  }

  async losses(span, number, signal) {
    const { losses } = await post("/api/trace/losses", { ...this.question(), span: number }, signal);
    const first = span.places[0]?.readings.find((reading) => reading.is_whole) ?? span.places[0]?.readings[0];
    if (!losses.length) return null;
    return lineFigure({
      title: "Its loss at each checkpoint",
      xLabel: "step",
      yLabel: "nats a token",
      lines: [{ label: "this piece", x: losses.map((one) => one.step), y: losses.map((one) => one.loss), dots: true }],
      note: first
        ? `In the words around it as the run read them. It was first ` +
          `read ${first.is_whole ? "whole " : "in part "}at step ${shown(first.step)}.`
        : "In the words around it.",
    }).node;
  }

  places(places, count, title) {
    if (!places.length) return [];
    return [
      heading(3, `${title}${count > places.length ? `: ${shown(places.length)} of ${shown(count)} places` : ""}`),
      element(
        "ol",
        { class: "matches" },
        places.map((place) => this.place(place)),
      ),
    ];
  }

  place(place) {
    const where = {
      part: "document",
      corpus: place.corpus,
      split: place.split,
      number: place.document,
      offset: Math.max(0, place.token_in_document - 40),
      token: place.token_in_document,
    };
    const position = place.position ? `, at ${shown(place.position)}` : "";
    return element(
      "li",
      {},
      element("p", { class: "match" }, place.before, element("mark", {}, this.markOf(place)), place.after),
      element(
        "p",
        { class: "quiet" },
        element(
          "a",
          { href: address("data", { ...this.page.place(), ...where }) },
          place.source || `document ${place.document}`,
        ),
        `${position} · ${place.corpus} · byte ${shown(place.byte)} of the document · ` +
          `token ${shown(place.token_in_document)}`,
      ),
      this.readings(place),
    );
  }

  markOf(place) {
    return this.found.spans.find((span) => span.places.includes(place) || span.validation_places.includes(place)).text;
  }

  readings(place) {
    if (place.split === "val") return paragraph("Training never reads the validation split.", "quiet");
    const { readings } = place;
    if (!readings.length) return paragraph(`The run has not read it in its ${shown(this.found.last_step)} steps.`);
    const whole = readings.filter((reading) => reading.is_whole);
    const words = whole.length
      ? `Read whole at ${whole.length === 1 ? "step" : "steps"} ${list(whole.map((reading) => shown(reading.step)))}.`
      : "No window held it whole, so it was never read whole:";
    const rows = (whole.length ? whole : readings).slice(0, READINGS);
    return element(
      "div",
      {},
      paragraph(words),
      element(
        "details",
        { open: !whole.length },
        element("summary", {}, "Steps and checkpoints"),
        table(
          "Readings",
          ["step", "pass", "what the window held", "checkpoint before", "after"],
          rows.map((reading) => [
            element("span", { class: "number" }, shown(reading.step)),
            reading.epoch + 1,
            reading.is_whole ? "all of it" : piece(reading.text),
            this.checkpoint(reading.checkpoint_before),
            this.checkpoint(reading.checkpoint_after),
          ]),
        ),
      ),
    );
  }

  checkpoint(step) {
    if (step === null || step === undefined) return "none";
    return element(
      "a",
      { href: address("training", { ...this.page.place(), at: step, text: this.question().text }) },
      shown(step),
    );
  }

  leave() {
    this.slot.leave();
    this.ofSpan.leave();
  }
}

const times = (count) => (count === 0 ? "nowhere" : count === 1 ? "once" : `${shown(count)} times`);
const list = (steps) =>
  steps.length > READINGS
    ? `${steps.slice(0, READINGS).join(", ")} and ${steps.length - READINGS} more`
    : steps.join(", ");
