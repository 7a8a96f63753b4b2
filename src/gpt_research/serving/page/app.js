// The page: which view is shown, of which run and checkpoint, and what all views share.
import { ApiError, get } from "./api.js";
import { button, choice, element, field, say } from "./dom.js";
import { problem, waiting } from "./problems.js";
import { address, go, here, replace } from "./route.js";

const VIEWS = {
  write: ["Write", () => import("./write.js")],
  inside: ["Look inside", () => import("./inside.js")],
  training: ["Through training", () => import("./training.js")],
  data: ["Data", () => import("./data.js")],
  trace: ["Trace", () => import("./trace.js")],
};
const OFTEN_MS = 3000;
const SELDOM_MS = 12000;

class Page {
  constructor() {
    this.main = document.getElementById("main");
    this.notice = document.getElementById("notice");
    this.pick = document.getElementById("pick");
    this.links = Object.entries(VIEWS).map(([name, [title]]) => [name, element("a", {}, title)]);
    document.getElementById("views").replaceChildren(...this.links.map(([, link]) => element("li", {}, link)));
    this.runs = [];
    this.shown = null;
    this.serverGone = false;
    this.enter();
  }

  // The address changes a moment before the page follows it. Until then the old view still works, with its own values.
  enter() {
    this.hash = location.hash;
    this.at = here();
  }

  get values() {
    return this.at.values;
  }

  // The run that is looked at, as the server describes it.
  run() {
    return this.runs.find((run) => run.name === this.values.run) ?? this.runs[0];
  }

  // The name of the model for requests: the run's name, and the checkpoint's step if one is chosen. The run's name
  // alone is the checkpoint that was the newest when the server started.
  model(step = this.values.step, run = this.run()) {
    if (step) return `${run.name}@${step}`;
    if (run.step_is_named) return run.name;
    const newest = run.checkpoints.at(-1)?.step ?? run.served_step;
    return run.training || newest !== run.served_step ? `${run.name}@newest` : run.name;
  }

  // The run of a model. A run's own name may hold an @, and the name of another before it.
  runOf(model) {
    const named = this.runs.filter((run) => model === run.name || model.startsWith(`${run.name}@`));
    return named.sort((a, b) => b.name.length - a.name.length)[0];
  }

  title(model = this.model()) {
    const name = this.runOf(model)?.name ?? model;
    const step = model.slice(name.length + 1);
    return step
      ? `${name}, ${step === "newest" ? "newest checkpoint" : `step ${Number(step).toLocaleString("en")}`}`
      : name;
  }

  // The checkpoint that an answer of the server is about.
  checkpoint({ model, step }) {
    return `${this.runOf(model)?.name ?? model}, step ${step.toLocaleString("en")}`;
  }

  everyModel() {
    return this.runs.flatMap((run) => [
      [this.model("", run), run.name],
      ...run.checkpoints.map(({ step }) => [`${run.name}@${step}`, this.title(`${run.name}@${step}`)]),
    ]);
  }

  // The values that a link to another view keeps.
  place() {
    return { run: this.values.run, step: this.values.step };
  }

  // Notes values of the view: reload keeps them, and the back button does not stop at each.
  note(values) {
    const noted = address(this.at.view, { ...this.at.values, ...values });
    if (location.hash === this.hash) this.hash = replace(noted);
    this.at = here(noted);
    this.drawLinks();
  }

  go(view, values) {
    go(view, values);
  }

  async start() {
    addEventListener("hashchange", () => this.arrive());
    addEventListener("keydown", (event) => this.shown?.view.pressed?.(event));
    addEventListener("server", (event) => this.reach(event.detail));
    addEventListener("pagehide", () => this.shown?.view.leave?.());
    this.drawTheme();
    await this.load();
  }

  async load() {
    try {
      this.runs = (await get("/api/runs")).runs;
    } catch (error) {
      this.main.replaceChildren(problem(error, () => this.load()));
      this.later(SELDOM_MS);
      return;
    }
    await this.arrive();
    this.later();
  }

  // Asks again how the runs stand: often while one trains, or while the server is away.
  later(after = this.serverGone || this.runs.some((run) => run.training) ? OFTEN_MS : SELDOM_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), after);
  }

  async poll() {
    if (document.hidden) return this.later();
    try {
      const before = JSON.stringify(this.runs);
      this.runs = (await get("/api/runs")).runs;
      if (!this.shown) await this.arrive();
      else if (JSON.stringify(this.runs) !== before) {
        // A list that someone has open is left alone; the next change of the runs draws it.
        if (!this.pick.contains(document.activeElement)) this.drawPick();
        this.shown.view.runsChanged?.();
      }
    } catch {
      /* The notice says it. */
    }
    this.later();
  }

  reach(there) {
    if (there === !this.serverGone) return;
    this.serverGone = !there;
    if (there) {
      this.notice.replaceChildren();
      say("The server answers again.");
    } else {
      this.notice.replaceChildren(
        element(
          "div",
          { class: "problem" },
          element(
            "p",
            {},
            "The server does not answer. If it was stopped, start it again in its terminal; the page " +
              "notices by itself, and keeps what is here.",
          ),
          button("Try again", () => this.poll(), { class: "small" }),
        ),
      );
    }
  }

  async arrive() {
    this.enter();
    const { view } = this.at;
    if (!VIEWS[view]) return (replace(address("write", this.values)), this.arrive());
    const run = this.run();
    document.title = `${VIEWS[view][0]} · ${run?.name ?? ""} · gpt-research`;
    this.drawLinks();
    this.drawPick();
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (this.shown?.name === view && this.shown.view.change?.()) return;
    this.shown?.view.leave?.();
    this.shown = null;
    const unknown = this.unknown();
    if (unknown) return this.main.replaceChildren(unknown);
    const module = await this.loaded(view, turn);
    if (!module || turn !== this.turn) return;
    this.shown = { name: view, view: module.show(this) };
    this.main.replaceChildren(element("h1", { class: "said" }, VIEWS[view][0]), this.shown.view.node);
    this.shown.view.shown?.();
  }

  // The module of a view; null if it did not come, which the page says.
  async loaded(view, turn) {
    const shown = (node) => turn === this.turn && this.main.replaceChildren(node);
    const timer = setTimeout(() => shown(waiting("Loading…")), 300);
    try {
      return await VIEWS[view][1]();
    } catch {
      // Some browsers keep that a file did not come, so it comes with the whole page, if the server is there.
      const again = () => get("/api/runs").then(() => location.reload(), () => {});
      shown(problem(new ApiError(`The view ${VIEWS[view][0]} could not be loaded from the server.`), again));
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  // A run or a checkpoint that the address names and that is not there, or a run that cannot be looked at.
  unknown() {
    const run = this.run();
    const { view, values } = this.at;
    const message = (text, ...rest) =>
      element("div", { class: "problem", role: "alert" }, element("p", {}, text), ...rest);
    if (!run) return message("The server serves no run.");
    if (values.run && run.name !== values.run)
      return message(
        `This server has no run "${values.run}". It has ${this.runs.map((one) => one.name).join(", ")}.`,
        button(`Look at ${run.name}`, () => go(view, { ...values, run: null, step: null })),
      );
    if (values.step && run.checkpoints.length && !run.checkpoints.some((one) => String(one.step) === values.step))
      return message(
        `${run.name} has no checkpoint of step ${values.step} now. It has ` +
          `steps ${run.checkpoints.map((one) => one.step).join(", ")}.`,
        button("Take the newest checkpoint", () =>
          go(view, { ...values, step: run.step_is_named ? run.checkpoints.at(-1).step : null }),
        ),
      );
    if (run.problem && view !== "training" && view !== "data") return message(run.problem);
    return null;
  }

  drawLinks() {
    const { view, values } = this.at;
    for (const [name, link] of this.links) {
      link.setAttribute("href", address(name, { ...this.place(), text: values.text }));
      if (name === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  drawPick() {
    const run = this.run();
    if (!run) return;
    // With what the view has noted until then.
    const other = (found) => go(this.at.view, { ...this.values, ...found });
    const steps = [["", firstOf(run)], ...[...run.checkpoints].reverse().map((one) => [one.step, nameOf(one)])];
    const selects = [
      choice(
        this.runs.map((one) => one.name),
        run.name,
        (name) => other({ run: name, step: null }),
      ),
      choice(steps, this.values.step ?? "", (step) => other({ step })),
    ];
    const held = [...this.pick.querySelectorAll("select")].indexOf(document.activeElement);
    this.pick.replaceChildren(
      field("Run", selects[0]),
      field("Checkpoint", selects[1]),
      ...(run.training ? [element("span", { class: "live" }, "training now")] : []),
    );
    selects[held]?.focus();
  }

  drawTheme() {
    const names = { system: "Light or dark", light: "Light", dark: "Dark" };
    document.getElementById("theme").replaceChildren(
      choice(Object.entries(names), document.documentElement.dataset.theme, (theme) => window.setTheme(theme), {
        "aria-label": "Colours",
        title: "Colours",
      }),
    );
  }
}

// What is looked at if no checkpoint is chosen.
function firstOf(run) {
  if (run.step_is_named) return `step ${run.served_step.toLocaleString("en")} (served)`;
  const newest = run.checkpoints.at(-1);
  return newest ? `newest (${newest.step.toLocaleString("en")})` : "none yet";
}

function nameOf(checkpoint) {
  const marks = [
    checkpoint.best && "best",
    checkpoint.val_loss !== null && checkpoint.val_loss !== undefined && `validation ${checkpoint.val_loss.toFixed(3)}`,
  ].filter(Boolean);
  return `step ${checkpoint.step.toLocaleString("en")}${marks.length ? ` (${marks.join(", ")})` : ""}`;
}

new Page().start();
