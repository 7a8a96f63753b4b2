"""The training loop: take a step, log, evaluate, save; resume where a run stopped.

    settings -> runtime -> data -> run folder -> TrainStep -> resume -> [step, log, evaluate, save]

A step is a pure function of the weights, the optimizer's state and the step's number: data, dropout
and learning rate all follow from (seed, step). So a checkpoint is weights, optimizer state, scaler
and one number, and an interrupted run equals an uninterrupted one. `Trainer.restore` resumes;
`run_folder` checks that a run may be resumed with the given settings.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from pathlib import Path

import torch

from gpt_research.base import hints
from gpt_research.base import runtime as runtimes
from gpt_research.base.disk import dispensable
from gpt_research.base.errors import UserError
from gpt_research.base.peak_flops import peak_flops
from gpt_research.base.runtime import Runtime
from gpt_research.checkpoint.files import WHOLE, Checkpoint, Part, checkpoint_path, load_newest
from gpt_research.checkpoint.saver import BackgroundSaver
from gpt_research.checkpoint.weights import first_rows, model_tensors, restore_model
from gpt_research.config import GenerateConfig, TrainConfig
from gpt_research.data.loader import evaluation_batches
from gpt_research.generation.torch_engine import generate
from gpt_research.model.variants import check_variants
from gpt_research.training.assembly import build_step, plan_execution
from gpt_research.training.black_box import describe_windows, write_black_box
from gpt_research.training.curves import draw_loss_curve
from gpt_research.training.health import MOST_BAD_STEPS, Health
from gpt_research.training.inputs import TrainingData, loader_of_run
from gpt_research.training.lineage import check_lineage, lineage
from gpt_research.training.metrics import SAMPLES, Earlier, Metrics
from gpt_research.training.optimizer_state import optimizer_first_rows, optimizer_tensors, restore_optimizer
from gpt_research.training.parallel import reshard
from gpt_research.training.profiling import profiled
from gpt_research.training.reporter import Beginning, Outcome, Reporter
from gpt_research.training.run_folder import locked_run_folder
from gpt_research.training.signals import StopSignal, catch_stop_signals
from gpt_research.training.step import TrainStep
from gpt_research.training.trackers import find_tracker
from gpt_research.training.validation import Loss, measure, total

LONGEST_SAMPLE = 200
"""The most tokens of the sample that is written after an evaluation."""


def train(config: TrainConfig, reporter: Reporter | None = None, until: int | None = None) -> Outcome:
    """Train as `config` says, from the start or from the step at which its run folder stopped.

    Args:
        config: `micro_batch` must be a number (`estimate.micro_batch` resolves `auto`).
        until: stop after this step, as a signal would, although `max_steps` is further.

    Raises:
        UserError: data, settings, folder or disk are wrong, or gradients are not finite.
    """
    reporter = reporter or Reporter()
    check_variants(config.model)
    find_tracker(config.tracker)
    runtime = runtimes.start(config.device, config.precision)
    try:
        data = TrainingData.open(config)
        config = dataclasses.replace(config, precision=runtime.precision, model=data.model)
        with locked_run_folder(config, data, is_main=runtime.is_main):
            runtime.barrier()  # only rank 0 has written the folder, and the other ranks read it
            trainer = Trainer(config, runtime, data, reporter)
            with catch_stop_signals(reporter.stopping) as stop:
                outcome = trainer.run(stop, until)
            # The trainer must end before the process group. If DDP's reducer outlived the group, it
            # would wait for gloo's thread with the interpreter's lock held, which that thread may
            # need.
            del trainer
            return outcome
    finally:
        runtimes.stop(runtime)


class Trainer:
    """A `TrainStep` on a data set, with logging, evaluation and saving around its steps."""

    def __init__(
        self,
        config: TrainConfig,
        runtime: Runtime,
        data: TrainingData,
        reporter: Reporter,
        *,
        resume: bool = True,
    ) -> None:
        """Build the parts of a run; with `resume`, restore the newest checkpoint of its folder."""
        self.config, self.runtime, self.data = config, runtime, data
        self.reporter = reporter if runtime.is_main else Reporter()
        self.run_folder = Path(config.out)
        self.plan = plan_execution(config, runtime)
        self.loader = loader_of_run(config, data.dataset.train, runtime.rank, runtime.world_size)
        self.train_step = build_step(config, self.plan, runtime, self.loader, TrainStep)
        self.model = self.train_step.model
        self.lineage = lineage(config, data)
        self.byte_lengths = torch.from_numpy(data.tokenizer.byte_lengths).to(runtime.device)
        self.health = Health(config.spike_z)
        self.sharded = self.plan.parallel == "fsdp"
        part = Part(runtime.rank, runtime.world_size) if self.sharded else WHOLE
        self.saver = BackgroundSaver(
            self.run_folder, config.keep_last, config.keep_every, part, barrier=runtime.barrier
        )
        self.unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        """Step, loss and gradient norm of the steps whose numbers are still on the device."""
        self.unlogged: list[float] = []
        """The finite losses of the steps since the last logged line."""
        self.losses: dict[str, Loss] = {}
        self.earlier = Earlier()
        self.metrics: Metrics | None = None
        self.start_step = self.saved_step = 0
        if resume and (checkpoint := load_newest(self.run_folder)) is not None:
            self.restore(checkpoint)

    def run(self, stop: StopSignal, until: int | None = None) -> Outcome:
        """Take steps until max_steps, `until` or `stop`; log, evaluate and save on the way.

        Raises:
            UserError: memory ran out, the disk is full, or too many gradients were not finite.
        """
        try:
            return self._run(stop, until)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            text = str(error).lower()
            if isinstance(error, RuntimeError) and "out of memory" not in text and "allocate memory" not in text:
                raise
            raise UserError(
                f"Out of memory with micro_batch {self.plan.micro_batch} ({str(error).splitlines()[0][:150]}). Lower "
                "micro_batch or add --gradient_checkpointing, and go on with: "
                f"{hints.command('train', '--resume', self.run_folder)}"
            ) from None

    def _run(self, stop: StopSignal, until: int | None) -> Outcome:
        config, step = self.config, self.start_step
        last = min(until or config.max_steps, config.max_steps)
        if self.runtime.is_main:
            self.metrics = Metrics(self.run_folder, config, self.start_step)
            self.earlier = self.metrics.earlier
        self.peak_flops = peak_flops(self.runtime)
        self.reporter.start(self._beginning())
        self.started_at = self.window_at = time.perf_counter()
        self.window_step = step
        refuse = self.health.is_spike if config.skip_spikes else None
        # Hundreds of thousands of objects stay for the whole run. Frozen ones are not searched for
        # garbage again and again.
        gc.collect()
        gc.freeze()
        try:
            profile = self.run_folder / "profile" if config.profile and self.runtime.is_main else None
            with profiled(profile, self.runtime.device) as profiler:
                while step < last and not self._stop_requested(stop):
                    result = self.train_step.take_step(step, lambda: self._before_pass(stop), refuse)
                    if result is None:  # stopped inside the step; a resumed run takes it again
                        break
                    profiler.step()
                    step += 1
                    self.unread.append((step, *result))
                    if self._reads_every_step or step % config.log_interval == 0 or step == last:
                        self._read_results()
                    # The reported speed is that of steps alone, so evaluating and saving are left
                    # out.
                    paused_at = time.perf_counter()
                    if self._due(step, config.eval_interval):
                        self._record_evaluation(step)
                    if self._due(step, config.save_interval):
                        self.save(step)
                    pause = time.perf_counter() - paused_at
                    self.window_at += pause
                    self.reporter.paused(pause)
            if step > self.saved_step:
                self.save(step)
            self.saver.wait()  # an error of the writing thread is raised here
        finally:
            gc.unfreeze()
            if self.metrics:
                self.metrics.finish()
        if self.runtime.is_main:
            draw_loss_curve(self.run_folder)
        self.runtime.barrier()
        return Outcome(self.run_folder, step, step - self.start_step, self.losses, stop.signal)

    def evaluate(self) -> dict[str, Loss]:
        """Return the validation loss of each corpus that has a validation split."""
        config, runtime, losses = self.config, self.runtime, {}
        for name, files in self.data.dataset.val.items():
            if files.num_tokens > 1:
                batches = evaluation_batches(
                    files, config.eval_tokens, config.micro_batch, runtime.rank, runtime.world_size
                )
                losses[name] = measure(self.train_step.placed.for_evaluation, batches, self.byte_lengths, runtime)
        reshard(self.model)
        return losses

    def save(self, step: int) -> None:
        """Copy the state of `step`, and let a thread write the copy while training goes on."""
        # The health of all steps so far is part of the state.
        self._read_results()
        self.saved_step = step
        if not (self.runtime.is_main or self.sharded):
            return
        optimizer, model = self.train_step.optimizer, self.model
        state = {
            "lineage": self.lineage,
            "scaler": self.train_step.scaler.state_dict(),
            "health": self.health.state_dict(),
            "unlogged_losses": list(self.unlogged),
            "skipped_steps": int(self.train_step.skipped.item()),
        }
        tensors = model_tensors(model), optimizer_tensors(optimizer, model)
        rows = first_rows(model) | optimizer_first_rows(optimizer, model)
        self.saver.save(Checkpoint(step, *tensors, state, rows))
        self.reporter.saved(step, checkpoint_path(self.run_folder, step))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set weights, optimizer, scaler and step to those of a checkpoint.

        Raises:
            UserError: it is of another model, tokenizer or data.
        """
        where, train_step = str(checkpoint_path(self.run_folder, checkpoint.step)), self.train_step
        check_lineage(checkpoint.state.get("lineage", {}), self.lineage, where, self.config)
        restore_model(self.model, checkpoint.model, where)
        restore_optimizer(train_step.optimizer, self.model, checkpoint.optimizer)
        train_step.scaler.load_state_dict(checkpoint.state.get("scaler", {}))
        if "health" in checkpoint.state:
            self.health.load_state_dict(checkpoint.state["health"])
        self.unlogged = list(checkpoint.state.get("unlogged_losses", []))
        train_step.skipped.fill_(checkpoint.state.get("skipped_steps", 0))
        self.start_step = self.saved_step = checkpoint.step

    def _beginning(self) -> Beginning:
        windows = self.config.max_steps * self.loader.samples_per_step
        return Beginning(
            self.config,
            self.runtime,
            self.plan,
            parameters=self.model.num_parameters(),
            epochs=self.loader.order.passes(windows),
            corpora=len(self.data.dataset.val),
            start_step=self.start_step,
            flops_per_token=self.model.flops_per_token(),
            peak_flops=self.peak_flops,
        )

    def _stop_requested(self, stop: StopSignal) -> bool:
        """Return True on all ranks if any of them got a signal."""
        # All ranks must stop at the same step, because the others would wait for one that left.
        return self.runtime.any_rank(bool(stop))

    def _before_pass(self, stop: StopSignal) -> bool:
        """Report that a pass begins; return True if training is to stop before it."""
        self.reporter.before_pass()
        # A step of many passes may take minutes, and a batch system kills a job that does not stop
        # soon.
        return self.plan.micro_steps > 1 and self._stop_requested(stop)

    def _due(self, step: int, interval: int) -> bool:
        return step == self.config.max_steps or (interval > 0 and step % interval == 0)

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
        # fp16 finds its scale by letting the gradient overflow; only a scale of 1 or less means
        # trouble.
        scaler = self.train_step.scaler
        counts = not scaler.is_enabled() or scaler.get_scale() <= 1
        for step, (loss, norm) in zip(steps, numbers, strict=True):
            finding = self.health.observe(loss, norm, counts=counts)
            if finding is not None:
                self._record_finding(step, finding, loss, norm)
            if math.isfinite(loss):
                self.unlogged.append(loss)
            if step % self.config.log_interval == 0 or step == self.config.max_steps:
                self._log(step, loss, norm)

    def _log(self, step: int, loss: float, norm: float) -> None:
        now = time.perf_counter()
        seconds, steps = now - self.window_at, step - self.window_step
        tokens_per_s = steps * self.config.tokens_per_step / max(seconds, 1e-9)
        flops = tokens_per_s * self.model.flops_per_token() / self.runtime.world_size
        # No step is faster than the peak, so the machine was busy when its peak was measured.
        if flops > self.peak_flops:
            self.peak_flops = max(flops, peak_flops(self.runtime))
        values = {
            "loss": loss,
            "mean_loss": math.fsum(self.unlogged) / len(self.unlogged) if self.unlogged else math.nan,
            "learning_rate": self.train_step.learning_rate(step - 1),
            "grad_norm": norm,
            "tokens_per_s": tokens_per_s,
            "mfu": flops / self.peak_flops,
            "data_wait": self.train_step.data_s / max(seconds, 1e-9),
            "skipped_steps": int(self.train_step.skipped.item()),
            "tokens": self.earlier.tokens + (step - self.start_step) * self.config.tokens_per_step,
            "epochs": self.loader.order.passes(step * self.loader.samples_per_step),
            "elapsed_s": self.earlier.seconds + now - self.started_at,
            "peak_memory_gb": self.runtime.peak_memory() / 1e9,
        }
        self.unlogged = []
        if self.metrics:
            self.metrics.log(step, values)
        self.reporter.step(step, values)
        self.window_at, self.window_step, self.train_step.data_s = now, step, 0.0

    def _record_finding(self, step: int, finding: str, loss: float, norm: float) -> None:
        """Write a black box of a step that went wrong; stop the run after too many in a row."""
        path = write_black_box(
            self.run_folder,
            step,
            {"finding": finding, "loss": repr(loss), "grad_norm": repr(norm)},
            self.train_step,
            self.lineage,
            describe_windows(self.loader, self.data, step - 1) if self.runtime.is_main else [],
        )
        if self.metrics:
            self.metrics.log(step, {"event": finding, "loss_then": loss, "grad_norm_then": norm})
        what = "its gradient is not finite, so it was skipped" if finding == "not_finite" else "its loss is a spike"
        self.reporter.note(f"step {step:,}  {what}: {path}")
        if self.health.hopeless:
            self.saver.wait()
            raise UserError(
                f"{MOST_BAD_STEPS} steps in a row, up to step {step}, had a gradient that is not finite. The weights "
                f"before them are saved. Look with: {hints.command('replay', self.run_folder, '--step', step)}; then "
                "lower learning_rate, or use bf16 or fp32."
            )

    def _record_evaluation(self, step: int) -> None:
        self.losses = self.evaluate()
        if self.metrics is None or not self.losses:
            return
        overall = total(self.losses)
        corpora = {name: {"loss": loss.loss, "bits_per_byte": loss.bits_per_byte} for name, loss in self.losses.items()}
        self.metrics.log(
            step,
            {"val_loss": overall.loss, "val_bits_per_byte": overall.bits_per_byte, "corpora": corpora},
        )
        self.reporter.evaluated(step, self.losses)
        if not self.sharded:  # with FSDP no process holds the whole model
            self._write_sample(step)
        draw_loss_curve(self.run_folder)

    def _write_sample(self, step: int) -> None:
        """Append one sample to `samples.txt`. Its random stream is its own, so training is
        unchanged.
        """
        # The default prompt is a line's end, which a vocabulary of characters may not have.
        prompt = self.data.tokenizer.known_part(self.config.sample_prompt)
        length = max(1, self.config.model.block_size // 2)
        settings = GenerateConfig(max_new_tokens=min(LONGEST_SAMPLE, length), seed=self.config.seed)
        self.model.eval()
        try:
            text = prompt + generate(self.model, self.data.tokenizer, prompt, settings, notice=lambda _: None)[0].text
        except UserError as error:  # a model that has diverged must not end its run in a traceback
            text = f"(no sample: {error})"
        path = self.run_folder / SAMPLES
        with dispensable(path), open(path, "a", encoding="utf-8") as file:
            file.write(f"--- step {step} ---\n{text}\n\n")
