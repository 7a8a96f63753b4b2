// The view Write: a prompt, settings, and what one or two models make of it.
import { button, choice, element, field } from "./dom.js";
import { exampleText } from "./example.js";
import { asCommand, asCurl, asPython, copyAs, copyButton } from "./copy.js";
import { SETTINGS, requestOf } from "./completions.js";
import { textOf } from "./branches.js";
import { inputSection } from "./input.js";
import { inspector } from "./inspector.js";
import { Pane } from "./pane.js";
import { chanceLegend } from "./tokens.js";

const EXAMPLE_TOKENS = 60;
const EXAMPLE_CHARACTERS = 60;

export function show(page) {
  return new Write(page);
}

class Write {
  constructor(page) {
    this.page = page;
    this.prompt = element("textarea", {
      id: "prompt",
      rows: "2",
      placeholder: "The model goes on from here. Leave it empty, and it begins a text.",
      value: page.values.prompt ?? "",
      oninput: () => this.note(),
      onkeydown: (event) => this.key(event),
    });
    this.writeButton = button("Write", () => this.write(), { class: "main" });
    this.stopButton = button("Stop", () => this.panes.forEach((pane) => pane.stop()), { disabled: true });
    this.settings = Object.fromEntries(
      SETTINGS.map((setting) => [
        setting.key,
        element("input", {
          type: "number",
          min: setting.min,
          max: setting.max,
          step: setting.step,
          value: page.values[setting.key] ?? setting.value,
          inputmode: "decimal",
          oninput: () => this.note(),
        }),
      ]),
    );
    this.example = element("div");
    this.stopText = element("input", {
      type: "text",
      value: page.values.stop ?? "",
      placeholder: "none",
      oninput: () => this.note(),
    });
    this.aside = element("aside", { class: "beside", "aria-label": "What is chosen" });
    const pane = (place, model) =>
      new Pane(this, `${place}:${page.runOf(model)?.name ?? model}`, model, page.title(model));
    this.panes = [pane("first", page.model())];
    if (page.values.compare) this.panes.push(pane("second", page.values.compare));
    this.copyAs = copyAs(() => this.forms());
    this.node = element(
      "div",
      { class: `view with-aside ${this.panes.length > 1 ? "two" : ""}` },
      this.controls(),
      this.texts(),
      this.aside,
    );
    this.inspect(this.panes[0], null, null);
    this.changed();
    if (!this.prompt.value) this.offer().catch(() => {}); // Without data there is nothing to offer.
  }

  controls() {
    const names = [["", "nothing"], ...this.page.everyModel().filter(([name]) => name !== this.page.model())];
    const compare = choice(names, this.page.values.compare ?? "", (name) =>
      this.page.go("write", { ...this.page.values, ...this.values(), compare: name }),
    );
    return inputSection(
      {
        label: "Prompt",
        text: this.prompt,
        offer: this.example,
        buttons: [this.writeButton, this.stopButton],
        keys: "Ctrl + Enter writes, Escape stops",
      },
      element(
        "details",
        // A phone has no room for them above the text.
        { open: matchMedia("(min-width: 48rem)").matches },
        element("summary", {}, "Settings"),
        element(
          "div",
          { class: "row settings" },
          SETTINGS.map((setting) => field(setting.label, this.settings[setting.key], setting.hint)),
          field("Stop at", this.stopText, "\\n is a new line"),
          field("Compare with", compare),
        ),
      ),
      this.copyAs,
    );
  }

  texts() {
    return element(
      "div",
      { class: "texts" },
      chanceLegend(),
      element(
        "div",
        { class: "panes" },
        this.panes.map((pane) => pane.node),
      ),
    );
  }

  // A prompt from the run's own data, for those who come without one.
  async offer() {
    const lines = (await exampleText(this.page, EXAMPLE_TOKENS))?.split("\n") ?? [];
    const line = lines.find((one) => one.trim().length > 12)?.trim() ?? "";
    const text = line.length > EXAMPLE_CHARACTERS ? line.slice(0, EXAMPLE_CHARACTERS).replace(/\s\S*$/, "") : line;
    if (!text || this.prompt.value) return;
    const take = () => {
      this.prompt.value = text;
      this.example.replaceChildren();
      this.write();
    };
    this.example.replaceChildren(button(`Try: ${text.replaceAll(/\s+/g, " ")}`, take, { class: "small try" }));
  }

  values() {
    const found = { prompt: this.prompt.value, stop: this.stopText.value };
    for (const { key, value, min, max } of SETTINGS) {
      const given = this.settings[key].value === "" ? value : Number(this.settings[key].value);
      found[key] = Math.min(max, Math.max(min, Number.isFinite(given) ? given : value));
    }
    return found;
  }

  note() {
    this.page.note(this.values());
    this.copyAs.refresh();
  }

  key(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.write();
  }

  pressed(event) {
    if (event.key === "Escape" && this.panes.some((pane) => pane.writing)) this.panes.forEach((pane) => pane.stop());
  }

  write() {
    this.note();
    this.panes.forEach((pane) => pane.begin());
  }

  changed() {
    const writing = this.panes?.some((pane) => pane.writing) ?? false;
    this.stopButton.disabled = !writing;
    this.node?.classList.toggle("writing", writing);
  }

  inspect(pane, from, to) {
    if (!this.aside) return;
    const tokens = pane.tokens ?? [];
    const chosen = () => textOf(tokens.slice(from, to));
    this.aside.classList.toggle("open", from !== null);
    this.aside.replaceChildren(
      inspector({
        tokens,
        from,
        to,
        close: () => pane.strip.choose(0, 0),
        branch: (other) => pane.branch(from, other),
        actions: [
          [
            "Trace these words",
            () => this.page.go("trace", { ...this.page.place(), q: chosen(), before: textOf(tokens.slice(0, from)) }),
          ],
          [
            "Look inside up to here",
            () => this.page.go("inside", { ...this.page.place(), text: textOf(tokens.slice(0, to)) }),
          ],
        ],
      }),
    );
  }

  inside(pane) {
    this.page.go("inside", { ...this.page.place(), text: textOf(pane.tokens) });
  }

  copyText(pane) {
    return copyButton(() => textOf(pane.tokens), "Text", "Copy the text");
  }

  forms() {
    const request = requestOf(this.page.model(), this.prompt.value, this.values());
    const run = this.page.run();
    const command = asCommand(request, run, this.page.values.step ?? (run.step_is_named ? run.served_step : null));
    return { curl: asCurl(request), Python: asPython(request), "Command line": command };
  }

  leave() {
    this.panes.forEach((pane) => {
      pane.stop();
      pane.branches.save();
    });
  }
}
