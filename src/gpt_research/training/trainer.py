"""Training: batches become a model.

    config -> runtime -> data set -> model and optimizer -> resume -> [step, log, evaluate, save] until max_steps

A step is a pure function of weights, optimizer state and the step's number: data, dropout and learning rate all
follow from (seed, step). So a checkpoint is weights, optimizer state, scaler and one number, and an interrupted run
equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from gpt_research import checkpoint
from gpt_research import runtime as runtimes
from gpt_research.checkpoint import Checkpoint
from gpt_research.config import GenerateConfig, GPTConfig, TrainConfig
from gpt_research.data.dataloader import DataLoader, evaluation_batches
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.errors import UserError
from gpt_research.evaluation.loss import Loss, measure, total
from gpt_research.inference.generate import generate
from gpt_research.model import GPT
from gpt_research.runtime import Runtime, stream
from gpt_research.training.metrics import Metrics, draw_loss_curve
from gpt_research.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from gpt_research.training.run_folder import open_run
from gpt_research.training.schedule import learning_rate
from gpt_research.training.signals import StopWish, stop_wish


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    run: Path
    step: int
    """Steps taken in the run's whole life."""
    steps_here: int
    """Steps taken by this call."""
    losses: dict[str, Loss]
    """Last evaluation, by corpus; empty where the run was stopped before one."""
    stopped_by: int | None
    """The signal that ended it, or None."""


class Reporter:
    """What a run tells while it goes on; the command line shows it, tests leave it silent."""

    def start(self, trainer: Trainer) -> None: ...

    def step(self, step: int, values: dict[str, float]) -> None: ...

    def evaluated(self, step: int, losses: dict[str, Loss]) -> None: ...

    def saved(self, step: int, path: Path) -> None: ...

    def note(self, text: str) -> None: ...


def train(config: TrainConfig, reporter: Reporter | None = None) -> Outcome:
    """Train as `config` says, from the start or from where its run folder stopped.

    Raises:
        UserError: anything the user can mend: data, settings, folder, disk.
    """
    runtime = runtimes.start(config.device, config.precision)
    try:
        dataset = Dataset(config.data, config.model.block_size)
        tokenizer, tokenizer_file = dataset_tokenizer(dataset)
        config = dataclasses.replace(
            config,
            precision=runtime.precision,
            model=fit_vocabulary(config.model, dataset, tokenizer),
        )
        folder = open_run(config, tokenizer_file, is_main=runtime.is_main)
        try:
            runtime.wait_for_all()
            if tokenizer_file is None and runtime.is_main:
                tokenizer.save(folder.path / "tokenizer.json")
            trainer = Trainer(config, runtime, dataset, tokenizer, reporter or Reporter())
            with stop_wish() as wish:
                return trainer.run(wish)
        finally:
            folder.close()
    finally:
        runtimes.stop(runtime)


def dataset_tokenizer(dataset: Dataset) -> tuple[Tokenizer, Path | None]:
    """Return the tokenizer of a data set and its file; GPT-2's where the data was prepared elsewhere.

    Raises:
        UserError: the tokenizer is not the one the shards were written with.
    """
    path = dataset.tokenizer_file
    if path is None:
        if dataset.fingerprint:
            raise UserError(
                f"{dataset.folder / 'tokenizer.json'} is missing. Put it back or run preprocessing again."
            )
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
    """Model, optimizer and data of one run, and the loop over its steps."""

    def __init__(
        self, config: TrainConfig, runtime: Runtime, dataset: Dataset, tokenizer: Tokenizer, reporter: Reporter
    ) -> None:
        self.config, self.runtime, self.dataset, self.tokenizer = config, runtime, dataset, tokenizer
        self.reporter = reporter if runtime.is_main else Reporter()
        self.run_folder = Path(config.out)
        self.loader = DataLoader(
            dataset.train,
            config.weights,
            samples_per_step=config.tokens_per_step // config.model.block_size,
            micro_batch=config.micro_batch,
            seed=config.seed,
            rank=runtime.rank,
            world_size=runtime.world_size,
        )
        self.micro_steps = config.accumulation_steps(runtime.world_size)
        self.byte_lengths = torch.from_numpy(tokenizer.byte_lengths).to(runtime.device)
        torch.manual_seed(stream(config.seed, "weights"))
        self.model = GPT(config.model).to(runtime.device)
        self.model.gradient_checkpointing = config.gradient_checkpointing
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.compute: torch.nn.Module = self.model  # what runs a step: the model, compiled and shared over ranks
        if config.compile:
            self.compute = torch.compile(self.model)
        if runtime.world_size > 1:
            devices = [runtime.device.index] if runtime.device.type == "cuda" else None
            self.compute = DistributedDataParallel(self.compute, device_ids=devices)
        self.skipped = torch.zeros((), device=runtime.device)
        self.start_step = self._resume()

    def run(self, wish: StopWish) -> Outcome:
        """Take steps until max_steps or until `wish`; evaluate, save and log on the way."""
        config = self.config
        metrics = Metrics(self.run_folder, config, self.start_step) if self.runtime.is_main else None
        self.peak_flops = runtimes.peak_flops(self.runtime)
        self.reporter.start(self)
        losses: dict[str, Loss] = {}
        saved_at, started_at, window_at, window_step = self.start_step, time.perf_counter(), time.perf_counter(), self.start_step
        step = self.start_step
        try:
            while step < config.max_steps and not self._agreed(wish):
                result = self.take_step(step, stop=lambda: self.micro_steps > 1 and self._agreed(wish))
                if result is None:  # stopped inside the step, which is taken again on resume
                    break
                step += 1
                if step % config.log_interval == 0 or step == config.max_steps:
                    loss, grad_norm = (x.item() for x in result)
                    now = time.perf_counter()
                    values = self._speed(step - window_step, now - window_at)
                    values = {"loss": loss, "learning_rate": learning_rate(config, step - 1), "grad_norm": grad_norm,
                              **values, "skipped_steps": int(self.skipped.item()), "elapsed_s": now - started_at}  # fmt: skip
                    if metrics:
                        metrics.log(step, values)
                    self.reporter.step(step, values)
                    window_at, window_step = now, step
                paused_at = time.perf_counter()
                if self._due(step, config.eval_interval):
                    losses = self.evaluate()
                    self._record_evaluation(step, losses, metrics)
                if self._due(step, config.save_interval):
                    self.save(step)
                    saved_at = step
                window_at += time.perf_counter() - paused_at  # the speed is that of steps
            if step > saved_at:
                self.save(step)
        finally:
            if metrics:
                metrics.finish()
        if self.runtime.is_main:
            draw_loss_curve(self.run_folder)
        return Outcome(self.run_folder, step, step - self.start_step, losses, wish.signal)

    def take_step(
        self, step: int, stop: Callable[[], bool] = lambda: False
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Take one optimizer step; return its mean loss and gradient norm, or None where `stop` cut it short.

        The loss is normalised by the tokens of the whole step, so neither micro_batch nor the number of ranks
        changes it. A step whose gradient is not finite leaves weights and optimizer as they were.
        """
        config, runtime = self.config, self.runtime
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        torch.manual_seed(stream(config.seed, "dropout", step, runtime.rank))
        self.compute.train()
        loss = torch.zeros((), device=runtime.device)
        for micro_step in range(self.micro_steps):
            if stop():
                self.optimizer.zero_grad(set_to_none=True)
                return None
            tokens, targets = (x.to(runtime.device, non_blocking=True) for x in self.loader.batch(step, micro_step))
            with self._gradients_stay_local(micro_step), runtime.autocast():
                nats = self.compute(tokens, targets)
                # DDP takes the mean over ranks, so each divides by its own share of the step's tokens
                share = nats * (runtime.world_size / config.tokens_per_step)
                self.scaler.scale(share).backward()
            loss += nats.detach() / config.tokens_per_step
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip or math.inf)
        not_finite = (~torch.isfinite(norm)).float()
        if not self.scaler.is_enabled():
            self.optimizer.found_inf = not_finite  # fused AdamW then leaves everything as it was, on the device
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.skipped += not_finite
        self.optimizer.zero_grad(set_to_none=True)
        return runtime.sum_over_ranks(loss), norm

    def evaluate(self) -> dict[str, Loss]:
        """Return the validation loss of each corpus that has a validation split."""
        losses = {}
        for name, files in self.dataset.val.items():
            if files.num_tokens > 1:
                batches = evaluation_batches(
                    files, self.config.eval_tokens, self.config.micro_batch, self.runtime.rank, self.runtime.world_size
                )
                losses[name] = measure(self.compute, batches, self.byte_lengths, self.runtime)
        return losses

    def save(self, step: int) -> None:
        """Write a checkpoint of `step`."""
        if self.runtime.is_main:
            state = {
                "tokenizer": self.tokenizer.fingerprint,
                "scaler": self.scaler.state_dict(),
                "skipped_steps": int(self.skipped.item()),
            }
            saved = Checkpoint(
                step, checkpoint.model_tensors(self.model), optimizer_tensors(self.optimizer, self.model), state
            )
            path = checkpoint.save(self.run_folder, saved, self.config.keep_last)
            draw_loss_curve(self.run_folder)
            self.reporter.saved(step, path)
        self.runtime.wait_for_all()

    def _resume(self) -> int:
        """Load the newest whole checkpoint of the run folder, if any; return its step."""
        found = checkpoint.load_newest(self.run_folder)
        if found is None:
            return 0
        place = str(checkpoint.checkpoint_path(self.run_folder, found.step))
        if found.state.get("tokenizer") != self.tokenizer.fingerprint:
            raise UserError(f"{place} was trained with another tokenizer than that of {self.dataset.folder}.")
        checkpoint.restore_model(self.model, found.model, place)
        restore_optimizer(self.optimizer, self.model, found.optimizer)
        self.scaler.load_state_dict(found.state["scaler"])
        self.skipped.fill_(found.state.get("skipped_steps", 0))
        return found.step

    def _gradients_stay_local(self, micro_step: int) -> contextlib.AbstractContextManager[None]:
        """Ranks exchange gradients once a step, with the last micro-batch."""
        if isinstance(self.compute, DistributedDataParallel) and micro_step < self.micro_steps - 1:
            return self.compute.no_sync()
        return contextlib.nullcontext()

    def _agreed(self, wish: StopWish) -> bool:
        """Whether any rank wants to stop; all ranks hear the same answer."""
        if self.runtime.world_size == 1:
            return bool(wish)
        return bool(self.runtime.sum_over_ranks(torch.tensor(float(bool(wish)), device=self.runtime.device)).item())

    def _due(self, step: int, interval: int) -> bool:
        return step == self.config.max_steps or (interval > 0 and step % interval == 0)

    def _speed(self, steps: int, seconds: float) -> dict[str, float]:
        tokens_per_s = steps * self.config.tokens_per_step / max(seconds, 1e-9)
        flops = tokens_per_s * self.model.flops_per_token()
        return {"tokens_per_s": tokens_per_s, "mfu": flops / (self.peak_flops * self.runtime.world_size)}

    def _record_evaluation(self, step: int, losses: dict[str, Loss], metrics: Metrics | None) -> None:
        if metrics is None or not losses:
            return
        overall = total(losses)
        metrics.log(
            step,
            {
                "val_loss": overall.loss,
                "val_bits_per_byte": overall.bits_per_byte,
                "corpora": {
                    name: {"loss": loss.loss, "bits_per_byte": loss.bits_per_byte} for name, loss in losses.items()
                },
            },
        )
        self.reporter.evaluated(step, losses)
        self._write_sample(step)

    def _write_sample(self, step: int) -> None:
        """Append one sample to `samples.txt`; its draw touches no random stream of training."""
        prompt = self.config.sample_prompt
        settings = GenerateConfig(max_new_tokens=min(200, max(1, self.config.model.block_size // 2)), seed=self.config.seed)
        with self.runtime.autocast():
            sample = generate(self.model, self.tokenizer, prompt, settings)[0]
        with open(self.run_folder / "samples.txt", "a", encoding="utf-8") as file:
            file.write(f"--- step {step} ---\n{prompt}{sample.text}\n\n")
