// One model's text in the view Write: it streams in, branches, and can be stopped.
import { button, element, say } from "./dom.js";
import { Branches, textOf } from "./branches.js";
import { complete, requestOf } from "./completions.js";
import { problem } from "./problems.js";
import { TokenStrip } from "./tokens.js";

const ENDS = { length: "It has as many tokens as were asked for, or as fit.", stop: "The text came to its end." };

export class Pane {
  // `view` has `values()`, `inspect(pane, from, to)` and `changed()`.
  // `place` is where its branches are kept: each run has its own, because its token ids are none of another run's.
  constructor(view, place, model, title) {
    this.view = view;
    this.model = model;
    this.branches = new Branches(`write:${place}`);
    this.queue = [];
    this.abort = null;
    this.strip = new TokenStrip({ label: `Text of ${title}`, onchoose: (from, to) => view.inspect(this, from, to) });
    this.title = element("h2", { class: "pane-title" }, title);
    this.status = element("p", { class: "status quiet" });
    this.trouble = element("div");
    this.tree = element("nav", { class: "branches", "aria-label": `Branches of ${title}`, hidden: true });
    this.tools = element("div", { class: "row" });
    this.node = element(
      "section",
      { class: "pane", "aria-label": title },
      this.title,
      this.strip.node,
      this.status,
      this.trouble,
      this.tools,
      this.tree,
    );
    if (!this.branches.empty) this.show(this.branches.chosen ?? [...this.branches.all.keys()].at(-1));
    else this.drawTools();
  }

  get writing() {
    return this.abort !== null;
  }

  get tokens() {
    return this.branches.path(this.branches.chosen);
  }

  // Writes anew from the prompt.
  begin() {
    const { prompt } = this.view.values();
    const branch = this.branches.add({ model: this.model, prompt });
    this.queue = [];
    this.strip.clear();
    this.view.inspect(this, null, null);
    return this.write(branch, prompt, prompt !== "");
  }

  // Writes on from another token instead of the one at `at`.
  branch(at, other) {
    this.stop();
    const path = this.tokens;
    const id = this.branches.chosen;
    const begins = this.owner(id, at);
    const branch = this.branches.add({
      parent: begins,
      at,
      tokens: [{ ...other, kind: "picked", top: path[at].top }],
      model: this.model,
      prompt: path[0]?.text ?? "",
    });
    this.show(branch.id);
    return this.write(branch, this.asPrompt(branch.id), false);
  }

  goOn() {
    const branch = this.branches.get(this.branches.chosen);
    return this.write(branch, this.asPrompt(branch.id), false);
  }

  // The branch of a path that holds the token before `at`, so that the new one hangs where the text is shared.
  owner(id, at) {
    const branch = this.branches.get(id);
    return branch.parent !== null && at <= branch.at ? this.owner(branch.parent, at) : id;
  }

  // Exactly the tokens that stand there, if the server told their ids; else their text.
  asPrompt(id) {
    const path = this.branches.path(id);
    return path.length && path.every((token) => Number.isInteger(token.id))
      ? path.map((token) => token.id)
      : textOf(path);
  }

  async write(branch, prompt, echo) {
    this.stop();
    const abort = (this.abort = new AbortController());
    branch.state = "writing";
    this.trouble.replaceChildren();
    this.drawTree();
    this.drawTools();
    this.view.changed();
    const began = performance.now();
    let count = 0,
      finish = "";
    try {
      for await (const piece of complete(requestOf(this.model, prompt, this.view.values()), {
        echo,
        signal: abort.signal,
      })) {
        if (piece.finish) finish = piece.finish;
        else {
          count += piece.tokens.filter((token) => token.kind !== "given").length;
          this.take(branch, piece.tokens, count, began);
        }
      }
      branch.state = "done";
    } catch (error) {
      branch.state = error.name === "AbortError" ? "stopped" : "failed";
      if (branch.state === "failed" && this.abort === abort) this.trouble.replaceChildren(problem(error));
    }
    if (this.abort !== abort) return;
    this.flush();
    this.abort = null;
    const seconds = (performance.now() - began) / 1000;
    const ended = branch.state === "stopped" ? "Stopped." : branch.state === "failed" ? "" : (ENDS[finish] ?? "");
    this.status.textContent = `${count} ${count === 1 ? "token" : "tokens"} in ${seconds.toFixed(1)} s. ${ended}`;
    say(`${this.title.textContent}: ${this.status.textContent}`);
    this.branches.save();
    this.drawTree();
    this.drawTools();
    this.view.changed();
  }

  // Keeps what came; the next frame shows it.
  take(branch, tokens, count, began) {
    branch.tokens.push(...tokens);
    if (branch.id !== this.branches.chosen) return;
    this.queue.push(...tokens);
    this.progress = `${count} tokens, ${(count / ((performance.now() - began) / 1000)).toFixed(0)} a second`;
    this.frame ??= requestAnimationFrame(() => this.flush());
  }

  flush() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = null;
    if (!this.queue.length) return;
    this.strip.append(this.queue.splice(0));
    this.status.textContent = this.progress;
  }

  stop() {
    this.abort?.abort();
  }

  show(id) {
    this.branches.chosen = id;
    this.queue = [];
    this.strip.show(this.branches.path(id));
    this.status.textContent = "";
    this.drawTree();
    this.drawTools();
    this.view.inspect(this, null, null);
  }

  forget() {
    this.branches.clear();
    this.strip.clear();
    this.status.textContent = "";
    this.drawTree();
    this.drawTools();
    this.view.inspect(this, null, null);
  }

  drawTools() {
    const some = !this.branches.empty && !this.writing;
    this.tools.replaceChildren(
      ...(some
        ? [
            button("Go on", () => this.goOn(), { class: "small" }),
            button("Look inside", () => this.view.inside(this), { class: "small" }),
            this.view.copyText(this),
            button("Forget all", () => this.forget(), { class: "small" }),
          ]
        : []),
    );
    this.strip.node.hidden = this.branches.empty;
  }

  drawTree() {
    const held = this.tree.contains(document.activeElement);
    this.tree.hidden = this.branches.all.size < 2;
    if (this.tree.hidden) return this.tree.replaceChildren();
    this.tree.replaceChildren(element("h3", {}, "Branches"), this.list(null));
    if (held) this.tree.querySelector('[aria-current="true"]')?.focus();
  }

  list(parent) {
    return element(
      "ul",
      {},
      this.branches.below(parent).map((branch) => {
        const own = branch.tokens.filter((token) => token.kind !== "given");
        const shown = own.length ? own : branch.tokens;
        const label = textOf(shown.slice(0, 14)).trim().replaceAll(/\s+/g, " ") || "an empty text";
        return element(
          "li",
          {},
          element(
            "span",
            { class: "twig" },
            button(label, () => this.show(branch.id), {
              "aria-current": branch.id === this.branches.chosen && "true",
              class: "branch",
            }),
            button("×", () => this.remove(branch.id), { class: "small", "aria-label": `Remove the branch ${label}` }),
          ),
          this.branches.below(branch.id).length > 0 && this.list(branch.id),
        );
      }),
    );
  }

  remove(id) {
    this.stop();
    this.branches.remove(id);
    if (this.branches.chosen === null) this.strip.clear();
    else this.show(this.branches.chosen);
    this.drawTree();
    this.drawTools();
  }
}
