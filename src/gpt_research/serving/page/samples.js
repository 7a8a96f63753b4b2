// Samples over time: the same prompt and seed at some checkpoints, and what training itself wrote into samples.txt.
import { get, post } from "./api.js";
import { button, choice, element, field, heading, paragraph, shown } from "./dom.js";
import { Slot } from "./problems.js";

const TOKENS = 60;

export class Samples {
  constructor(page) {
    this.page = page;
    this.slot = new Slot();
    this.prompt = element("input", {
      type: "text",
      value: page.values.sample ?? "",
      placeholder: "none: a text from its beginning",
      class: "long",
      onkeydown: (event) => {
        if (event.key === "Enter") this.write();
      },
    });
    this.temperature = element("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0.8 });
    this.seed = element("input", { type: "number", min: 0, step: 1, value: 1 });
    this.count = 5;
    this.node = element(
      "section",
      { class: "block", "aria-label": "Samples over time" },
      heading(2, "Samples over time"),
      element(
        "div",
        { class: "row" },
        field("Prompt", this.prompt),
        field("Temperature", this.temperature),
        field("Seed", this.seed),
        field(
          "Checkpoints",
          choice(
            [
              [3, "3"],
              [5, "5"],
              [10, "10"],
              [20, "up to 20"],
            ],
            this.count,
            (value) => {
              this.count = Number(value);
            },
          ),
        ),
      ),
      element(
        "div",
        { class: "row" },
        button("Write at each", () => this.write(), { class: "main" }),
        button("Show what training wrote", () => this.written()),
      ),
      this.slot.node,
    );
  }

  write() {
    const run = this.page.run();
    const steps = spread(
      run.checkpoints.map((one) => one.step),
      this.count,
    );
    this.page.note({ sample: this.prompt.value });
    if (!steps.length) return this.slot.node.replaceChildren(paragraph("This run has no checkpoint yet.", "quiet"));
    const list = element("ol", { class: "samples" });
    this.slot.fill("Writing…", async (signal) => {
      for (const step of steps) {
        const found = await post(
          "/api/through/samples",
          {
            run: run.name,
            prompt: this.prompt.value,
            steps: [step],
            max_tokens: TOKENS,
            temperature: Number(this.temperature.value),
            seed: Number(this.seed.value),
          },
          signal,
        );
        for (const sample of found.samples) list.append(item(sample, this.prompt.value));
        for (const gone of found.gone ?? [])
          list.append(element("li", {}, paragraph(`Step ${gone.step}: ${gone.why}`, "problem")));
        if (!list.isConnected) this.slot.node.replaceChildren(list);
      }
      return list;
    });
  }

  written() {
    this.slot.fill("Reading samples.txt…", async (signal) => {
      const { samples } = await get(`/api/runs/${encodeURIComponent(this.page.run().name)}/samples`, {}, signal);
      return samples.length
        ? element(
            "ol",
            { class: "samples" },
            samples.map((sample) => item(sample)),
          )
        : paragraph("Training wrote no samples in this run: it has no samples.txt.", "quiet");
    });
  }

  leave() {
    this.slot.leave();
  }
}

// At most so many of all, evenly, with the first and the last.
export function spread(all, most) {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, at) => all[Math.round((at * (all.length - 1)) / (most - 1))]);
}

function item({ step, text }, prompt = "") {
  return element(
    "li",
    {},
    heading(3, `Step ${shown(step)}`),
    element(
      "pre",
      { class: "text", tabindex: "0", role: "region", "aria-label": `Sample of step ${step}` },
      prompt && element("strong", {}, prompt),
      text,
    ),
  );
}
