// Errors in words, with what helps.
import { button, element } from "./dom.js";
import { here, go } from "./route.js";

// `again` tries once more, if that may help.
export function problem(error, again) {
  if (error.name !== "ApiError" && !error.code) console.error(error);
  const help = [];
  // The values are those of the moment at which the button is pressed.
  const to = (values) => {
    const { view, values: now } = here();
    go(view, { ...now, ...values });
  };
  const { values } = here();
  const steps = error.details?.steps ?? [];
  if (
    ["checkpoint_gone", "unknown_checkpoint", "checkpoint_damaged"].includes(error.code) &&
    (values.step || steps.length)
  )
    help.push(
      button("Take the newest checkpoint", () => to({ step: values.step ? null : steps.at(-1) }), { class: "small" }),
    );
  if (error.code === "text_too_long" && values.text && error.details?.limit)
    help.push(
      button("Keep its end", () => to({ text: shortened(values.text, error.details) }), { class: "small" }),
    );
  if (again) help.push(button("Try again", again, { class: "small" }));
  return element(
    "div",
    { class: "problem", role: "alert" },
    element("p", {}, withCommands(error.message)),
    help.length > 0 && element("div", { class: "row" }, help),
  );
}

// The last part of a text that has a little less than as many tokens as fit.
function shortened(text, { tokens, limit }) {
  const kept = Math.floor(text.length * Math.min(1, (limit - 2) / tokens) * 0.92);
  const end = text.slice(-kept);
  return end.replace(/^\S*\s?/, "") || end;
}

// A text in which commands of this program stand out.
export function withCommands(text) {
  return text
    .split(/(?<=[ "`:])((?:[\w./-]+ -m )?(?:\S*gpt-research|gpt_research) [a-z][a-z-]*(?: [^ ,]+(?<![.,]))*)/)
    .map((part, at) => (at % 2 ? element("code", {}, part) : part));
}

// A part of the page that waits for the server: it shows that it waits, then what came, or what went wrong.
export function waiting(words) {
  return element("p", { class: "waiting quiet", role: "status" }, words);
}

// Fills a place with what `work` makes; of calls that overlap the last one counts.
export class Slot {
  constructor(attributes = {}) {
    this.node = element("div", { class: "slot", ...attributes });
    this.turn = 0;
  }

  async fill(words, work) {
    const turn = ++this.turn;
    this.abort?.abort();
    this.abort = new AbortController();
    // Something that was shown stays until its successor is there, so that nothing jumps.
    const timer = setTimeout(
      () => {
        if (turn === this.turn && words) this.node.replaceChildren(waiting(words));
      },
      this.node.childElementCount ? 600 : 120,
    );
    try {
      const made = await work(this.abort.signal);
      if (turn === this.turn) this.node.replaceChildren(...[made].flat().filter(Boolean));
    } catch (error) {
      if (turn === this.turn && error.name !== "AbortError")
        this.node.replaceChildren(
          problem(error, error.code === "unreachable" || error.code === "" ? () => this.fill(words, work) : null),
        );
    } finally {
      clearTimeout(timer);
    }
  }

  leave() {
    this.turn++;
    this.abort?.abort();
  }
}
