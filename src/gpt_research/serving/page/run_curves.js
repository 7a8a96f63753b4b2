// The curves of a run (metrics.jsonl). While it trains they grow.
import { get } from "./api.js";
import { element, heading, paragraph, shown } from "./dom.js";
import { lineFigure } from "./figure.js";
import { Slot } from "./problems.js";

const POINTS = 1500;
const MOST_KEPT = 6000;

export class RunCurves {
  constructor(page) {
    this.page = page;
    this.slot = new Slot();
    this.state = element("p", { class: "summary", role: "status" });
    this.last = 0;
    this.node = element(
      "section",
      { class: "block", "aria-label": "Curves of the run" },
      heading(2, "The run"),
      this.state,
      this.slot.node,
    );
  }

  // Asks for what is new, and draws it.
  async load() {
    if (this.loading) return;
    this.loading = true;
    this.tell();
    if (this.figures)
      await this.grow().catch(() => {
        /* The notice at the top says that the server is gone. */
      });
    else await this.slot.fill("Reading the metrics…", (signal) => this.first(signal));
    this.loading = false;
  }

  tell() {
    const run = this.page.run();
    const share = run.max_steps ? `step ${shown(run.step)} of ${shown(run.max_steps)}` : `step ${shown(run.step)}`;
    const state = run.training
      ? "Training now"
      : ({ finished: "Finished", stopped: "Stopped before its end" }[run.ended] ?? "");
    const left = run.training && run.seconds_left ? `about ${minutes(run.seconds_left)} left` : "";
    this.state.textContent = [
      state,
      share,
      run.loss && `loss ${shown(run.loss)}`,
      run.tokens_seen && `${shown(run.tokens_seen)} tokens read`,
      run.elapsed_s && `${minutes(run.elapsed_s)} of training`,
      left,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  async first(signal) {
    this.data = await this.ask(0, signal);
    if (!this.data.train.step.length && !this.data.validation.step.length)
      return paragraph("This run has no metrics yet, or was imported without them.", "quiet");
    this.figures = charts(this.data).map((chart) => ({ chart, figure: lineFigure(chart) }));
    return element(
      "div",
      { class: "figures" },
      this.figures.map(({ figure }) => figure.node),
    );
  }

  async grow() {
    const found = await this.ask(this.last);
    if (found.restarted || this.data.train.step.length > MOST_KEPT) {
      this.last = 0;
      this.data = await this.ask(0);
    } else if (!found.train.step.length && !found.validation.step.length) return;
    else join(this.data, found);
    const now = charts(this.data);
    if (
      now.length !== this.figures.length ||
      now.some((chart, at) => chart.lines.length !== this.figures[at].chart.lines.length)
    ) {
      this.figures = null;
      return this.slot.fill("", (signal) => this.first(signal));
    }
    this.figures.forEach(({ figure }, at) => figure.update(now[at].lines));
  }

  async ask(after, signal) {
    const found = await get(
      `/api/runs/${encodeURIComponent(this.page.run().name)}/metrics`,
      { after, points: POINTS },
      signal,
    );
    this.last = Math.max(this.last, found.last_step ?? 0);
    return found;
  }

  leave() {
    this.slot.leave();
  }
}

function join(data, more) {
  for (const [key, values] of Object.entries(more.train)) data.train[key] = [...(data.train[key] ?? []), ...values];
  for (const key of ["step", "loss", "bits_per_byte"]) data.validation[key].push(...more.validation[key]);
  for (const [name, { step, loss }] of Object.entries(more.validation.corpora)) {
    const own = (data.validation.corpora[name] ??= { step: [], loss: [] });
    own.step.push(...step);
    own.loss.push(...loss);
  }
}

function charts({ train, validation }) {
  const line = (label, x, y, rest = {}) => ({ label, x: [...x], y: [...y], ...rest });
  const corpora = Object.entries(validation.corpora ?? {});
  const found = [
    {
      title: "Loss",
      xLabel: "step",
      yLabel: "nats a token",
      lines: [
        line("training", train.step, train.loss),
        line("validation", validation.step, validation.loss, { dots: true }),
      ],
    },
    {
      title: "Learning rate",
      xLabel: "step",
      yLabel: "learning rate",
      lines: [line("learning rate", train.step, train.learning_rate ?? [])],
      zero: true,
    },
    {
      title: "Gradient norm",
      xLabel: "step",
      yLabel: "norm",
      lines: [line("gradient norm", train.step, train.grad_norm ?? [])],
      zero: true,
    },
    {
      title: "Speed",
      xLabel: "step",
      yLabel: "tokens a second",
      lines: [line("speed", train.step, train.tokens_per_s ?? [])],
      zero: true,
    },
  ];
  if (corpora.length > 1)
    found.push({
      title: "Validation of each corpus",
      xLabel: "step",
      yLabel: "nats a token",
      lines: corpora.map(([name, own]) => line(name, own.step, own.loss, { dots: true })),
    });
  for (const chart of found) chart.lines = chart.lines.filter((one) => one.y.some(Number.isFinite));
  return found.filter((chart) => chart.lines.length);
}

function minutes(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}
