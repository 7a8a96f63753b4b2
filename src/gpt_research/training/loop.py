"""The training loop: take a step, log, evaluate, save; resume where a run stopped.

    settings -> runtime -> data -> run folder -> TrainStep -> resume -> [step, log, evaluate, save]

`state` holds all that a step changes, so an interrupted run equals an uninterrupted one.
`run_folder` checks that a run may be resumed with the given settings.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from gpt_research.base import hints, parent, ranks, shared_cores, startup
from gpt_research.base.peak_flops import about_the_peak, peak_flops
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.choice import load_alike
from gpt_research.checkpoint.files import checkpoint_path, saved_steps
from gpt_research.checkpoint.saver import BackgroundSaver, drop_after
from gpt_research.config import RESUME_IN_PLACE, USUAL_MICRO_BATCH, TrainConfig
from gpt_research.generation.torch_engine import generate
from gpt_research.model.variants import check_variants
from gpt_research.training.agreement import agree_on_settings, agree_on_state, opened_alike
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.bad_steps import BadSteps
from gpt_research.training.best import BestEvaluation
from gpt_research.training.curves import draw_loss_curve
from gpt_research.training.health import Health
from gpt_research.training.inputs import TrainingData
from gpt_research.training.lineage import lineage
from gpt_research.training.metrics import Earlier, Metrics
from gpt_research.training.objective import Objective
from gpt_research.training.optimizer_check import check_optimizer
from gpt_research.training.optimizers import own_optimizer
from gpt_research.training.out_of_memory import REMEDY_OF_BUILDING, out_of_memory_is_the_users
from gpt_research.training.parallel import reshard
from gpt_research.training.profiling import profiled
from gpt_research.training.remarks import about_the_start
from gpt_research.training.reporter import Beginning, Outcome, Reporter
from gpt_research.training.run_folder import fill_run_folder, locked_run_folder, shared_run_folder
from gpt_research.training.samples import write_sample
from gpt_research.training.schedules import learning_rates
from gpt_research.training.signals import StopSignal, StopTogether, catch_stop_signals
from gpt_research.training.starting_weights import take_weights
from gpt_research.training.state import RunState, Saving, is_due
from gpt_research.training.trackers import find_tracker
from gpt_research.training.validation import Loss, as_metrics, total

REDRAW_S = 10.0
"""Seconds until the curve of a run that trains is drawn again; to draw it takes longer than a step
of a small model."""


def train(
    config: TrainConfig,
    reporter: Reporter | None = None,
    until: int | None = None,
    open_data: Callable[[TrainConfig], Objective] = TrainingData.open,
) -> Outcome:
    """Train as `config` says, from the start or from the step at which its run folder stopped.

    Args:
        config: `micro_batch` must not be `auto` (`estimate.micro_batch` makes a number of it).
        until: stop after this step, as a signal would, although `max_steps` is further.
        open_data: opens what the run learns from; by default, a data set to pretrain on.

    Raises:
        UserError: data, settings, folder or disk are wrong, or gradients are not finite.
    """
    reporter = reporter or Reporter()
    check_variants(config.model)
    find_tracker(config.tracker)
    if own_optimizer(config.optimizer.name) is None:
        check_optimizer(config)
    runtime = startup.start(config.device, config.precision, deterministic=config.deterministic)
    if runtime.world_size > 1:
        parent.stop_with_launcher()
    try:
        if runtime.world_size > 1:
            agree_on_settings(runtime, config, until)
        data = opened_alike(runtime, Path(config.data), lambda: open_data(config))
        micro_batch = config.micro_batch or USUAL_MICRO_BATCH
        config = dataclasses.replace(config, precision=runtime.precision, model=data.model, micro_batch=micro_batch)
        if runtime.world_size > 1:
            agree_on_settings(runtime, config, until)  # a rank may have a card of another kind
        remarks = runtime.together(lambda: data.remarks(config))
        with shared_run_folder(Path(config.out), locked_run_folder(config), runtime):
            with out_of_memory_is_the_users("for the model", REMEDY_OF_BUILDING):
                trainer = Trainer(config, runtime, data, reporter)
            announce = reporter.stopping if runtime.is_main else Reporter().stopping
            with catch_stop_signals(announce) as stop:
                outcome = trainer.run(stop, until, remarks)
            # The trainer must end before the process group. If DDP's reducer outlived the group, it
            # would wait for gloo's thread with the interpreter's lock held, which that thread may
            # need.
            del trainer
            return outcome
    except Exception as error:
        raise ranks.parted(error)  # noqa: B904  often it is `error` itself, which keeps its cause
    finally:
        startup.stop(runtime)


class Trainer:
    """A `TrainStep` on an objective's data; around its steps it logs, evaluates and saves."""

    def __init__(
        self,
        config: TrainConfig,
        runtime: Runtime,
        data: Objective,
        reporter: Reporter,
        *,
        resume: bool = True,
    ) -> None:
        """Build the parts of a run; with `resume`, begin where it is to go on."""
        self.config, self.runtime, self.data = config, runtime, data
        self.reporter = reporter if runtime.is_main else Reporter()
        self.run_folder = Path(config.out)
        self.plan = plan_execution(config, runtime)
        self.batches = data.batches(config, rank=runtime.rank, world_size=runtime.world_size)
        self.train_step = build_step(config, self.plan, runtime, self.batches, data.step_kind, data.new_model)
        self.model = self.train_step.model
        origin = {**lineage(config, data.tokenizer.fingerprint, data.fingerprint), **data.lineage}
        best = BestEvaluation(config.best_smoothing, config.early_stopping)
        self.state = RunState(self.train_step, origin, Health(config.spike_z), best)
        before_decay = learning_rates(config).steps_before_decay
        new_saver = partial(
            BackgroundSaver, self.run_folder, config.keep_last, config.keep_every, config.keep_every_optimizer
        )
        self.saving = Saving(new_saver, before_decay, self.plan, self.state, runtime, self.reporter)
        windows = partial(data.windows, self.batches)
        self.bad_steps = BadSteps(self.run_folder, self.state, self.saving, runtime, self.reporter, windows)
        self.unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        """Step, loss and gradient norm of the steps whose numbers are still on the device."""
        self.losses: dict[str, Loss] = {}
        self.earlier = Earlier()
        self.metrics: Metrics | None = None
        self.start_step = 0
        if resume:
            self._begin()

    def run(self, stop: StopSignal, until: int | None = None, remarks: Sequence[str] = ()) -> Outcome:
        """Take steps until max_steps, `until` or `stop`; log, evaluate and save on the way.

        Args:
            remarks: sentences that are shown before the first step.

        Raises:
            UserError: memory ran out, the disk is full, or too many gradients were not finite.
        """
        remedy = "Lower micro_batch or add --gradient_checkpointing, and go on with: " + hints.command(
            self.data.command, "--resume", self.run_folder
        )
        with out_of_memory_is_the_users(f"with micro_batch {self.plan.micro_batch}", remedy):
            return self._run(stop, until, remarks)

    def _run(self, stop: StopSignal, until: int | None, remarks: Sequence[str]) -> Outcome:
        config, step = self.config, self.start_step
        last = min(until or config.max_steps, config.max_steps)
        self.peak_flops = peak_flops(self.runtime)
        of_peak = about_the_peak(self.runtime, self.peak_flops)
        remarks = [*remarks, *self._settle(), *self.state.remarks, *filter(None, [of_peak])]
        self.reporter.start(self._beginning())
        for remark in remarks:
            self.reporter.note(remark)
        self.started_at = self.window_at = self.drawn_at = time.perf_counter()
        self.window_step = step
        stops = StopTogether(self.runtime, lambda: bool(stop) or self.saving.failed)
        refuse = self.state.health.is_spike if config.skip_spikes else None
        # Hundreds of thousands of objects stay for the whole run. Frozen ones are not searched for
        # garbage again and again.
        gc.collect()
        gc.freeze()
        try:
            profile = self.run_folder / "profile" if config.profile and self.runtime.is_main else None
            with profiled(profile, self.runtime.device) as profiler:
                # All ranks have the same losses, so they stop early at the same step.
                while step < last and not self.state.best.exhausted and not stops():
                    result = self.train_step.take_step(step, lambda: self._before_pass(stops), refuse)
                    if result is None:  # stopped inside the step; a resumed run takes it again
                        break
                    profiler.step()
                    if step == self.start_step:
                        self.runtime.answer_within(config.rank_timeout)
                    step += 1
                    self.unread.append((step, *result))
                    if self._reads_every_step or step % config.log_interval == 0 or step == last:
                        self._read_results()
                    # The reported speed is that of steps alone, so evaluating and saving are left
                    # out.
                    paused_at = time.perf_counter()
                    is_best = is_due(step, config.eval_interval, config.max_steps) and self._evaluate(step)
                    is_kept = step == self.saving.before_decay or (config.keep_best and is_best)
                    if is_kept or is_due(step, config.save_interval, config.max_steps):
                        self.save(step)
                    self.saving.report()
                    if (news := shared_cores.news()) is not None:
                        self.reporter.note(news)
                    pause = time.perf_counter() - paused_at
                    self.window_at += pause
                    self.reporter.paused(pause)
            if step > (self.saving.newest or 0):
                self.save(step)
            self.saving.wait()
        finally:
            self.saving.abandon()
            gc.unfreeze()
            if self.metrics:
                self.metrics.finish()
        if self.runtime.is_main:
            draw_loss_curve(self.run_folder)
        # A batch system may tell one process alone to stop, and all must end in the same way. No
        # process leaves before all are here.
        stopped_by = self.runtime.largest(stop.signal or 0) or None
        ended_early = self.state.best.exhausted and step < config.max_steps
        return Outcome(self.run_folder, step, step - self.start_step, self.losses, stopped_by, ended_early)

    def _begin(self) -> None:
        """Restore the checkpoint from which the run goes on, or take the weights of another run.

        Raises:
            UserError: there is no such checkpoint, or it is of another model, tokenizer or data.
        """
        config, run = self.config, self.run_folder
        if (checkpoint := load_alike(self.runtime, run, self._wanted)) is not None:
            where = str(checkpoint_path(run, checkpoint.step))
            self.runtime.together(lambda: self.state.restore(checkpoint, where, config))
            self.start_step = self.saving.newest = checkpoint.step
        elif config.init_from:
            tokenizer = self.data.tokenizer.fingerprint
            origin = take_weights(self.model, config, tokenizer, self.runtime, self.data.fit)
            self.state.lineage["init_from"] = origin
        small = {"step": self.start_step, **self.state.small_values()}
        agree_on_state(self.runtime, self.state.tensors(), small)

    @property
    def _wanted(self) -> str:
        """The checkpoint from which the run goes on."""
        # In a run that is not resumed by name, `step` means a checkpoint of `init_from`.
        return "newest" if self.config.resume in RESUME_IN_PLACE else self.config.step

    def _settle(self) -> list[str]:
        """Make the run folder that of a run at the step where training begins; return what to say
        about it.
        """
        config, run, step = self.config, self.run_folder, self.start_step
        dropped: list[int] = []

        def fill() -> None:
            changes = fill_run_folder(run, config, self.data, step, self.state.lineage["data"])
            # A newest one that is damaged was passed over; it stays until its step is saved again.
            if self._wanted != "newest":
                dropped.extend(saved for saved in saved_steps(run) if saved > step)
            if dropped:
                drop_after(run, step)
            self.metrics = Metrics(run, config, step)
            self.earlier = self.metrics.earlier
            if changes:
                changed = {name: [before, after] for name, before, after in changes}
                self.metrics.log(step, {"event": "settings", "changed": changed})

        self.runtime.on_first(fill)  # no rank may write a part of a checkpoint that rank 0 is dropping
        named = config.resume not in RESUME_IN_PLACE
        notes = about_the_start(run, self.state.lineage, self.saving.newest, dropped, named=named)
        if self.saving.newest is None and "init_from" in self.state.lineage:
            # A resumed run and a replay need these weights, and their source may change.
            self.save(0)
        return notes

    def evaluate(self) -> dict[str, Loss]:
        """Return the validation loss of each part of the data that has a validation split."""
        losses = self.data.validate(self.train_step.placed.for_evaluation, self.config, self.runtime)
        reshard(self.model)
        return losses

    def save(self, step: int) -> None:
        """Save the state of `step`, of which the health of all steps so far is a part."""
        self._read_results()
        self.saving.save(step)

    def _beginning(self) -> Beginning:
        return Beginning(
            self.config,
            self.runtime,
            self.plan,
            parameters=self.model.num_parameters(),
            tokens=self.batches.tokens_before(self.config.max_steps),
            epochs=self.batches.passes_before(self.config.max_steps),
            corpora=len(self.data.validated),
            start_step=self.start_step,
            flops_per_token=self.model.flops_per_token(),
            peak_flops=self.peak_flops,
        )

    def _before_pass(self, stops: StopTogether) -> bool:
        """Report that a pass begins; return True if training is to stop before it."""
        self.reporter.before_pass()
        # A step may take minutes, and a batch system kills a job that does not stop soon.
        return self.plan.micro_steps > 1 and stops()

    @property
    def _reads_every_step(self) -> bool:
        # On a GPU the host must wait for the device to read a number, so it reads many steps at
        # once.
        return self.runtime.device.type == "cpu" or self.config.skip_spikes

    def _read_results(self) -> None:
        """Fetch loss and norm of the steps since the last call, check them, and log what is due."""
        if not self.unread:
            return
        numbers = torch.stack([torch.stack(pair) for _, *pair in self.unread]).tolist()
        steps, self.unread = [step for step, *_ in self.unread], []
        health, gave_up_at = self.state.health, 0
        # fp16 finds its scale by letting the gradient overflow; only a scale of 1 or less means
        # trouble.
        scaler = self.train_step.scaler
        counts = not scaler.is_enabled() or scaler.get_scale() <= 1
        for step, (loss, norm) in zip(steps, numbers, strict=True):
            finding = health.observe(loss, norm, counts=counts)
            if finding is not None and not gave_up_at:
                self.bad_steps.record(step, finding, loss, norm)
                if self.metrics:
                    self.metrics.log(step, {"event": finding, "loss_then": loss, "grad_norm_then": norm})
            gave_up_at = gave_up_at or (step if health.hopeless else 0)
            if math.isfinite(loss):
                self.state.unlogged.append(loss)
            if is_due(step, self.config.log_interval, self.config.max_steps):
                self._log(step, loss, norm)
        if gave_up_at:
            raise self.bad_steps.give_up(gave_up_at, steps[-1])

    def _log(self, step: int, loss: float, norm: float) -> None:
        now = time.perf_counter()
        seconds = now - self.window_at
        tokens = self.batches.tokens_before(step)
        tokens_per_s = (tokens - self.batches.tokens_before(self.window_step)) / max(seconds, 1e-9)
        flops = tokens_per_s * self.model.flops_per_token() / self.runtime.world_size
        # No step is faster than the peak, so the machine was busy when its peak was measured.
        if flops > self.peak_flops:
            self.peak_flops = max(flops, peak_flops(self.runtime))
        values = {
            "loss": loss,
            "mean_loss": math.fsum(self.state.unlogged) / len(self.state.unlogged) if self.state.unlogged else math.nan,
            "learning_rate": self.train_step.learning_rate(step - 1),
            "grad_norm": norm,
            "tokens_per_s": tokens_per_s,
            "mfu": flops / self.peak_flops,
            "data_wait": self.train_step.data_s / max(seconds, 1e-9),
            "skipped_steps": int(self.train_step.skipped.item()),
            "tokens": self.earlier.tokens + tokens - self.batches.tokens_before(self.earlier.step),
            "epochs": self.batches.passes_before(step),
            "elapsed_s": self.earlier.seconds + now - self.started_at,
            "peak_memory_gb": self.runtime.peak_memory() / 1e9,
        }
        self.state.unlogged = []
        if self.metrics:
            self.metrics.log(step, values)
        self.reporter.step(step, values)
        self.window_at, self.window_step, self.train_step.data_s = now, step, 0.0

    def _evaluate(self, step: int) -> bool:
        """Evaluate, log, write a sample and now and then the curve; return True if no evaluation
        was better.
        """
        average, is_best = self.train_step.average, False
        self.losses, averaged = self.evaluate(), {} if average is None else average.measure(self.evaluate)
        if self.losses:
            # Commands take the averaged weights of a checkpoint if it has them: these are judged.
            is_best = self.state.best.observe(step, total(averaged or self.losses).loss)
            if self.metrics:
                self.metrics.log(step, as_metrics(self.losses, averaged))
            self.reporter.evaluated(step, self.losses)
            if averaged:
                self.reporter.evaluated_average(step, averaged)
        if self.runtime.is_main:
            if self.plan.shards == 1 and self.data.writes_samples:  # with FSDP no process holds the whole model
                self.write_sample(step)
            if time.perf_counter() - self.drawn_at >= REDRAW_S:
                draw_loss_curve(self.run_folder)
                self.drawn_at = time.perf_counter()
        # All ranks must save the same steps.
        return self.runtime.any_rank(is_best)

    def write_sample(self, step: int) -> None:
        """Append a text of the model to `samples.txt`."""
        write_sample(self.run_folder, step, self.model, self.data.tokenizer, self.config, self.plan, generate)
