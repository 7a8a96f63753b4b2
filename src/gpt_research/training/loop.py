"""Training: batches become a model.

    config -> runtime -> data set -> model and optimizer -> resume -> [step, log, evaluate, save] until max_steps

A step is a pure function of weights, optimizer state and the step's number: data, dropout and learning rate all
follow from (seed, step). So a checkpoint is weights, optimizer state, scaler and one number, and an interrupted run
equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from gpt_research.base import runtime as runtimes
from gpt_research.base.errors import UserError
from gpt_research.base.runtime import Runtime
from gpt_research.base.settings import to_dict
from gpt_research.checkpoint.files import WHOLE, Checkpoint, Part, checkpoint_path, load_newest
from gpt_research.checkpoint.saver import BackgroundSaver
from gpt_research.checkpoint.weights import first_rows, model_tensors, restore_model
from gpt_research.config import GenerateConfig, GPTConfig, TrainConfig
from gpt_research.data.loader import DataLoader, evaluation_batches
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.estimate.outlook import FirstSteps
from gpt_research.estimate.probe import settle_micro_batch
from gpt_research.generation.torch_engine import generate
from gpt_research.training import parallel
from gpt_research.training.black_box import write_black_box
from gpt_research.training.health import MOST_BAD_STEPS, Health
from gpt_research.training.metrics import Metrics, draw_loss_curve
from gpt_research.training.optimizers import optimizer_first_rows, optimizer_tensors, restore_optimizer
from gpt_research.training.profiling import profiled
from gpt_research.training.reporter import Outcome, Reporter
from gpt_research.training.run_folder import FREE, open_run
from gpt_research.training.schedules import learning_rate
from gpt_research.training.signals import StopWish, stop_wish
from gpt_research.training.step import Engine
from gpt_research.training.validation import Loss, measure, total
from gpt_research.version import __version__


def train(config: TrainConfig, reporter: Reporter | None = None, until: int | None = None) -> Outcome:
    """Train as `config` says, from the start or from where its run folder stopped.

    Args:
        until: stop after this step, as a signal would, though `max_steps` is further.

    Raises:
        UserError: anything the user can mend: data, settings, folder, disk, or numbers gone wrong.
    """
    runtime = runtimes.start(config.device, config.precision)
    try:
        dataset = Dataset(config.data, config.model.block_size)
        if config.verify_data:
            dataset.verify()
        tokenizer, tokenizer_file = dataset_tokenizer(dataset)
        config = dataclasses.replace(
            config, precision=runtime.precision, model=fit_vocabulary(config.model, dataset, tokenizer)
        )
        reporter = reporter or Reporter()
        config = settle_micro_batch(config, runtime, reporter.note)
        folder = open_run(config, tokenizer_file, is_main=runtime.is_main)
        try:
            if tokenizer_file is None and runtime.is_main:
                tokenizer.save(folder.path / "tokenizer.json")
            runtime.wait_for_all()
            trainer = Trainer(config, runtime, dataset, tokenizer, reporter)
            with stop_wish() as wish, _out_of_memory_is_the_users(config):
                return trainer.run(wish, until)
        finally:
            folder.close()
    finally:
        runtimes.stop(runtime)


@contextlib.contextmanager
def _out_of_memory_is_the_users(config: TrainConfig) -> Iterator[None]:
    """Say what to do where the device's memory is too small."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        said = str(error).lower()
        if isinstance(error, RuntimeError) and "out of memory" not in said and "allocate memory" not in said:
            raise
        raise UserError(
            f"Out of memory with micro_batch {config.micro_batch} ({str(error).splitlines()[0][:150]}). Lower "
            f"micro_batch or add --gradient_checkpointing, and go on with: gpt-research train --resume {config.out}"
        ) from None


def dataset_tokenizer(dataset: Dataset) -> tuple[Tokenizer, Path | None]:
    """Return the tokenizer of a data set and its file; GPT-2's where the data was prepared elsewhere.

    Raises:
        UserError: the tokenizer is not the one the shards were written with.
    """
    path = dataset.tokenizer_file
    if path is None:
        if dataset.fingerprint:
            raise UserError(f"{dataset.folder / 'tokenizer.json'} is missing. Put it back or run preprocessing again.")
        return Tokenizer.gpt2(), None
    tokenizer = Tokenizer.load(path)
    if dataset.fingerprint not in ("", tokenizer.fingerprint):
        raise UserError(
            f"The shards in {dataset.folder} were written with the tokenizer {dataset.fingerprint[:12]}, "
            f"but {path} is {tokenizer.fingerprint[:12]}. Put the right one back or run preprocessing again."
        )
    return tokenizer, path


def fit_vocabulary(model: GPTConfig, dataset: Dataset, tokenizer: Tokenizer) -> GPTConfig:
    """Give the model the tokenizer's vocabulary; a size of the user's own must agree with it."""
    if model.vocab_size not in (GPTConfig.vocab_size, tokenizer.vocab_size):
        raise UserError(
            f"model.vocab_size is {model.vocab_size}, but the tokenizer of {dataset.folder} has "
            f"{tokenizer.vocab_size} entries. Leave model.vocab_size out."
        )
    return dataclasses.replace(model, vocab_size=tokenizer.vocab_size)


class Trainer:
    """One run: an engine that takes steps on a data set, and what is logged, evaluated and saved around them."""

    def __init__(
        self,
        config: TrainConfig,
        runtime: Runtime,
        dataset: Dataset,
        tokenizer: Tokenizer,
        reporter: Reporter,
        *,
        resume: bool = True,
    ) -> None:
        """Build everything for `config`; with `resume`, stand where its run folder stopped."""
        self.config, self.runtime, self.dataset, self.tokenizer = config, runtime, dataset, tokenizer
        self.reporter = reporter if runtime.is_main else Reporter()
        self.run_folder = Path(config.out)
        self.loader = DataLoader.of_run(config, dataset.train, runtime.rank, runtime.world_size)
        self.engine = Engine(config, runtime, self.loader)
        self.model = self.engine.model
        self.byte_lengths = torch.from_numpy(tokenizer.byte_lengths).to(runtime.device)
        self.health = Health(config.spike_z)
        self.sharded = self.engine.parallel == "fsdp"
        part = Part(runtime.rank, runtime.world_size) if self.sharded else WHOLE
        self.saver = BackgroundSaver(
            self.run_folder, config.keep_last, config.keep_every, part, barrier=runtime.wait_for_all
        )
        self.unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # steps whose numbers are still on the device
        self.losses: dict[str, Loss] = {}
        self.metrics: Metrics | None = None
        self.start_step = self.saved_step = 0
        if resume and (found := load_newest(self.run_folder)) is not None:
            self.restore(found)

    def run(self, wish: StopWish, until: int | None = None) -> Outcome:
        """Take steps until max_steps, `until` or `wish`; log, evaluate and save on the way."""
        config, step = self.config, self.start_step
        last = min(until or config.max_steps, config.max_steps)
        if self.runtime.is_main:
            self.metrics = Metrics(self.run_folder, config, self.start_step)
        self.peak_flops = runtimes.peak_flops(self.runtime)
        self.reporter.start(self)
        self.first_steps = FirstSteps(config, self.runtime, self.start_step, len(self.dataset.val))
        self.started_at = self.window_at = time.perf_counter()
        self.window_step = step
        refuse = self.health.is_spike if config.skip_spikes else None
        gc.collect()
        gc.freeze()  # what stays for the whole run need not be looked through again and again
        try:
            with profiled(config, self.runtime) as profiler:
                while step < last and not self._agreed(wish):
                    result = self.engine.take_step(step, lambda: self._before_pass(wish), refuse)
                    if result is None:  # stopped inside the step, which is taken again on resume
                        break
                    profiler.step()
                    step += 1
                    self.unread.append((step, *result))
                    if self._reads_every_step or step % config.log_interval == 0 or step == last:
                        self._read_results()
                    paused_at = time.perf_counter()
                    if self._due(step, config.eval_interval):
                        self._record_evaluation(step)
                    if self._due(step, config.save_interval):
                        self.save(step)
                    pause = time.perf_counter() - paused_at  # the speed is that of steps
                    self.window_at += pause
                    self.first_steps.pause(pause)
            if step > self.saved_step:
                self.save(step)
            self.saver.wait()
        finally:
            gc.unfreeze()
            if self.metrics:
                self.metrics.finish()
        if self.runtime.is_main:
            draw_loss_curve(self.run_folder)
        self.runtime.wait_for_all()
        return Outcome(self.run_folder, step, step - self.start_step, self.losses, wish.signal)

    def evaluate(self) -> dict[str, Loss]:
        """Return the validation loss of each corpus that has a validation split."""
        losses = {}
        for name, files in self.dataset.val.items():
            if files.num_tokens > 1:
                batches = evaluation_batches(
                    files,
                    self.config.eval_tokens,
                    self.config.micro_batch,
                    self.runtime.rank,
                    self.runtime.world_size,
                )
                losses[name] = measure(self.engine.forward, batches, self.byte_lengths, self.runtime)
        parallel.reshard(self.model)
        return losses

    def save(self, step: int) -> None:
        """Copy the state of `step` aside and let it be written while training goes on."""
        self._read_results()
        self.saved_step = step
        if not (self.runtime.is_main or self.sharded):
            return
        engine, model = self.engine, self.model
        state = {
            "lineage": self.lineage(),
            "scaler": engine.scaler.state_dict(),
            "health": self.health.state_dict(),
            "skipped_steps": int(engine.skipped.item()),
        }
        tensors = model_tensors(model), optimizer_tensors(engine.optimizer, model)
        rows = first_rows(model) | optimizer_first_rows(engine.optimizer, model)
        self.saver.save(Checkpoint(step, *tensors, state, rows))
        self.reporter.saved(step, checkpoint_path(self.run_folder, step))

    def lineage(self) -> dict[str, str]:
        """Return what the weights come from: tokenizer, data, settings and program, each by a fingerprint."""

        def digest(value: object) -> str:
            return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

        manifests = {name: dataclasses.asdict(manifest) for name, manifest in self.dataset.manifests.items()}
        return {
            "tokenizer": self.tokenizer.fingerprint,
            "data": digest(manifests),
            "config": digest({k: v for k, v in to_dict(self.config).items() if k not in FREE}),
            "code": f"gpt-research {__version__}, torch {torch.__version__}",
        }

    def restore(self, found: Checkpoint) -> None:
        """Stand where a checkpoint was saved.

        Raises:
            UserError: it is of another model, tokenizer or data.
        """
        place = str(checkpoint_path(self.run_folder, found.step))
        self._check_lineage(found, place)
        restore_model(self.model, found.model, place)
        restore_optimizer(self.engine.optimizer, self.model, found.optimizer)
        self.engine.scaler.load_state_dict(found.state.get("scaler", {}))
        if "health" in found.state:
            self.health.load_state_dict(found.state["health"])
        self.engine.skipped.fill_(found.state.get("skipped_steps", 0))
        self.start_step = self.saved_step = found.step

    def _check_lineage(self, found: Checkpoint, place: str) -> None:
        """Refuse weights of another tokenizer, and other data unless the user allows it."""
        before, now = found.state.get("lineage", {}), self.lineage()
        if before.get("tokenizer", now["tokenizer"]) != now["tokenizer"]:
            raise UserError(f"{place} was trained with another tokenizer than that of {self.dataset.folder}.")
        if before.get("data", now["data"]) != now["data"] and not self.config.allow_change:
            raise UserError(
                f"{place} was trained on other data than {self.dataset.folder} holds now "
                f"({before['data'][:12]} -> {now['data'][:12]}). Name the old data with --data, or take the new by "
                "--allow_change."
            )

    def _agreed(self, wish: StopWish) -> bool:
        """Whether any process wants to stop; all hear the same answer."""
        return self.runtime.any_of_all(bool(wish))

    def _before_pass(self, wish: StopWish) -> bool:
        """Whether to stop between two micro-batches: a step may take longer than a signal gives."""
        self.first_steps.begin_pass(self.peak_flops, self.reporter.note)
        return self.engine.micro_steps > 1 and self._agreed(wish)

    def _due(self, step: int, interval: int) -> bool:
        return step == self.config.max_steps or (interval > 0 and step % interval == 0)

    @property
    def _reads_every_step(self) -> bool:
        """On a GPU asking for a number waits for the device, so it is done for many steps at once."""
        return self.runtime.device.type == "cpu" or self.config.skip_spikes

    def _read_results(self) -> None:
        """Fetch the numbers of the steps since the last time, look after their health, and log the last one if due."""
        if not self.unread:
            return
        numbers = torch.stack([torch.stack(pair) for _, *pair in self.unread]).tolist()
        steps, self.unread = [step for step, *_ in self.unread], []
        # fp16 looks for its scale by letting it overflow; only a scale of 1 or less means trouble
        scaler = self.engine.scaler
        counts = not scaler.is_enabled() or scaler.get_scale() <= 1
        for step, (loss, norm) in zip(steps, numbers, strict=True):
            finding = self.health.observe(loss, norm, counts=counts)
            if finding is not None:
                self._record_finding(step, finding, loss, norm)
            if step % self.config.log_interval == 0 or step == self.config.max_steps:
                self._log(step, loss, norm)

    def _log(self, step: int, loss: float, norm: float) -> None:
        now = time.perf_counter()
        seconds, steps = now - self.window_at, step - self.window_step
        tokens_per_s = steps * self.config.tokens_per_step / max(seconds, 1e-9)
        flops = tokens_per_s * self.model.flops_per_token() / self.runtime.world_size
        if flops > self.peak_flops:  # the machine was busy when its peak was measured
            self.peak_flops = max(flops, runtimes.peak_flops(self.runtime))
        values = {
            "loss": loss,
            "learning_rate": learning_rate(self.config, step - 1),
            "grad_norm": norm,
            "tokens_per_s": tokens_per_s,
            "mfu": flops / self.peak_flops,
            "data_wait": self.engine.data_s / max(seconds, 1e-9),
            "skipped_steps": int(self.engine.skipped.item()),
            "elapsed_s": now - self.started_at,
        }
        if self.metrics:
            self.metrics.log(step, values)
        self.reporter.step(step, values)
        self.window_at, self.window_step, self.engine.data_s = now, step, 0.0

    def _record_finding(self, step: int, finding: str, loss: float, norm: float) -> None:
        """Write a black box of a step gone wrong, and stop where it is one too many."""
        path = write_black_box(self, step, finding, loss, norm)
        if self.metrics:
            self.metrics.log(step, {"event": finding, "loss_then": loss, "grad_norm_then": norm})
        said = "its gradient is not finite, so it was skipped" if finding == "not_finite" else "its loss is a spike"
        self.reporter.note(f"step {step:,}  {said}: {path}")
        if self.health.hopeless:
            self.saver.wait()
            raise UserError(
                f"{MOST_BAD_STEPS} steps in a row, up to step {step}, had a gradient that is not finite. The weights "
                f"before them are saved. Look with: gpt-research replay {self.run_folder} --step {step}; then lower "
                "learning_rate, or use bf16 or fp32."
            )

    def _record_evaluation(self, step: int) -> None:
        self.losses = self.evaluate()
        if self.metrics is None or not self.losses:
            return
        overall = total(self.losses)
        self.metrics.log(
            step,
            {
                "val_loss": overall.loss,
                "val_bits_per_byte": overall.bits_per_byte,
                "corpora": {
                    name: {"loss": loss.loss, "bits_per_byte": loss.bits_per_byte} for name, loss in self.losses.items()
                },
            },
        )
        self.reporter.evaluated(step, self.losses)
        self._write_sample(step)
        draw_loss_curve(self.run_folder)

    def _write_sample(self, step: int) -> None:
        """Append one sample to `samples.txt`; its draw touches no random stream of training.

        Where no process holds the whole model, none is drawn.
        """
        if self.sharded:
            return
        prompt = self.config.sample_prompt
        length = min(200, max(1, self.config.model.block_size // 2))
        settings = GenerateConfig(max_new_tokens=length, seed=self.config.seed)
        self.model.eval()
        sample = generate(self.model, self.tokenizer, prompt, settings, notice=lambda _: None)[0]
        with open(self.run_folder / "samples.txt", "a", encoding="utf-8") as file:
            file.write(f"--- step {step} ---\n{prompt}{sample.text}\n\n")
