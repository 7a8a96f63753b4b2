"""Training: batches become a model.

    config -> runtime -> data set -> model and optimizer -> resume -> [step, log, evaluate, save] until max_steps

A step is a pure function of weights, optimizer state and the step's number: data, dropout and learning rate all
follow from (seed, step). So a checkpoint is weights, optimizer state, scaler and one number, and an interrupted run
equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch.nn.parallel import DistributedDataParallel

from gpt_research import checkpoint
from gpt_research import runtime as runtimes
from gpt_research.checkpoint import BackgroundSaver, Checkpoint
from gpt_research.config import GenerateConfig, GPTConfig, TrainConfig
from gpt_research.data.dataloader import DataLoader, evaluation_batches
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.errors import UserError
from gpt_research.evaluation.loss import Loss, measure, total
from gpt_research.inference.generate import generate
from gpt_research.model import GPT
from gpt_research.runtime import Runtime, stream
from gpt_research.settings import to_dict
from gpt_research.training.black_box import write_black_box
from gpt_research.training.health import MOST_BAD_STEPS, Health
from gpt_research.training.metrics import Metrics, draw_loss_curve
from gpt_research.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from gpt_research.training.reporter import Outcome, Reporter
from gpt_research.training.run_folder import FREE, open_run
from gpt_research.training.schedule import learning_rate
from gpt_research.training.signals import StopWish, stop_wish
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
        folder = open_run(config, tokenizer_file, is_main=runtime.is_main)
        try:
            if tokenizer_file is None and runtime.is_main:
                tokenizer.save(folder.path / "tokenizer.json")
            runtime.wait_for_all()
            trainer = Trainer(config, runtime, dataset, tokenizer, reporter or Reporter())
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
    """Model, optimizer and data of one run, and the loop over its steps."""

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
        self.micro_steps = config.accumulation_steps(runtime.world_size)
        self.loader = DataLoader.of_run(config, dataset.train, runtime.rank, runtime.world_size)
        self.byte_lengths = torch.from_numpy(tokenizer.byte_lengths).to(runtime.device)
        torch.manual_seed(stream(config.seed, "weights"))
        self.model = GPT(config.model).to(runtime.device)
        self.model.gradient_checkpointing = config.gradient_checkpointing
        self.optimizer = make_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.health = Health(config.spike_z)
        self.saver = BackgroundSaver(self.run_folder, config.keep_last, config.keep_every)
        # `forward` is the model, compiled by option; `compute` shares its gradients over ranks as well.
        self.forward: torch.nn.Module = self.model
        if config.compile:
            self.forward = cast(torch.nn.Module, torch.compile(self.model))
        self.compute: torch.nn.Module = self.forward
        if runtime.world_size > 1:
            devices = [runtime.device.index] if runtime.device.type == "cuda" else None
            self.compute = DistributedDataParallel(self.forward, device_ids=devices, broadcast_buffers=False)
        self.skipped = torch.zeros((), device=runtime.device)
        self.unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # steps whose numbers are still on the device
        self.losses: dict[str, Loss] = {}
        self.metrics: Metrics | None = None
        self.data_s = 0.0
        self.start_step = self.saved_step = 0
        if resume and (found := checkpoint.load_newest(self.run_folder)) is not None:
            self.restore(found)

    def run(self, wish: StopWish, until: int | None = None) -> Outcome:
        """Take steps until max_steps, `until` or `wish`; log, evaluate and save on the way."""
        config, step = self.config, self.start_step
        last = min(until or config.max_steps, config.max_steps)
        if self.runtime.is_main:
            self.metrics = Metrics(self.run_folder, config, self.start_step)
        self.peak_flops = runtimes.peak_flops(self.runtime)
        self.reporter.start(self)
        self.started_at = self.window_at = time.perf_counter()
        self.window_step = step
        try:
            while step < last and not self._agreed(wish):
                result = self.take_step(step, stop=lambda: self.micro_steps > 1 and self._agreed(wish))
                if result is None:  # stopped inside the step, which is taken again on resume
                    break
                step += 1
                self.unread.append((step, *result))
                if self._reads_every_step or step % config.log_interval == 0 or step == last:
                    self._read_results()
                paused_at = time.perf_counter()
                if self._due(step, config.eval_interval):
                    self._record_evaluation(step)
                if self._due(step, config.save_interval):
                    self.save(step)
                self.window_at += time.perf_counter() - paused_at  # the speed is that of steps
            if step > self.saved_step:
                self.save(step)
            self.saver.wait()
        finally:
            if self.metrics:
                self.metrics.finish()
        if self.runtime.is_main:
            draw_loss_curve(self.run_folder)
        self.runtime.wait_for_all()
        return Outcome(self.run_folder, step, step - self.start_step, self.losses, wish.signal)

    def take_step(
        self, step: int, stop: Callable[[], bool] = lambda: False
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Take one optimizer step; return its mean loss and gradient norm, or None where `stop` cut it short.

        A step whose gradient is not finite leaves weights and optimizer as they were, on all ranks: the gradient
        that each has is the mean over all.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step)
        loss = self.accumulate(step, stop)
        if loss is None:
            return None
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip or math.inf)
        leave_out = ~torch.isfinite(norm)
        if self.config.skip_spikes and self.health.is_spike(loss.item()):
            leave_out = torch.ones_like(leave_out)
        if not self.scaler.is_enabled():
            # fused AdamW then changes nothing, without asking the host
            self.optimizer.found_inf = leave_out.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not (self.config.skip_spikes and leave_out.item()):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.skipped += leave_out
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def accumulate(self, step: int, stop: Callable[[], bool] = lambda: False) -> torch.Tensor | None:
        """Add up the gradient of a step, micro-batch by micro-batch; return the mean loss over all ranks.

        The loss is normalised by the tokens of the whole step, so neither micro_batch nor the number of ranks
        changes the gradient. Returns None, and drops what was added up, where `stop` says so.
        """
        config, runtime = self.config, self.runtime
        torch.manual_seed(stream(config.seed, "dropout", step, runtime.rank))
        self.compute.train()
        loss = torch.zeros((), device=runtime.device)
        for micro_step in range(self.micro_steps):
            if stop():
                self.optimizer.zero_grad(set_to_none=True)
                return None
            asked_at = time.perf_counter()
            tokens, targets = (x.to(runtime.device, non_blocking=True) for x in self.loader.batch(step, micro_step))
            self.data_s += time.perf_counter() - asked_at
            with self._gradients_stay_local(micro_step), runtime.autocast():
                nats = self.compute(tokens, targets)
                # DDP takes the mean over ranks, so each divides by its own share of the step's tokens
                share = nats * (runtime.world_size / config.tokens_per_step)
                self.scaler.scale(share).backward()
            loss += nats.detach() / config.tokens_per_step
        return runtime.sum_over_ranks(loss)

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
                losses[name] = measure(self.forward, batches, self.byte_lengths, self.runtime)
        return losses

    def save(self, step: int) -> None:
        """Copy the state of `step` aside and let it be written while training goes on."""
        self._read_results()
        self.saved_step = step
        if not self.runtime.is_main:
            return
        state = {
            "lineage": self.lineage(),
            "scaler": self.scaler.state_dict(),
            "health": self.health.state_dict(),
            "skipped_steps": int(self.skipped.item()),
        }
        tensors = checkpoint.model_tensors(self.model), optimizer_tensors(self.optimizer, self.model)
        self.saver.save(Checkpoint(step, *tensors, state))
        self.reporter.saved(step, checkpoint.checkpoint_path(self.run_folder, step))

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
        place = str(checkpoint.checkpoint_path(self.run_folder, found.step))
        self._check_lineage(found, place)
        checkpoint.restore_model(self.model, found.model, place)
        restore_optimizer(self.optimizer, self.model, found.optimizer)
        self.scaler.load_state_dict(found.state.get("scaler", {}))
        if "health" in found.state:
            self.health.load_state_dict(found.state["health"])
        self.skipped.fill_(found.state.get("skipped_steps", 0))
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
        counts = not self.scaler.is_enabled() or self.scaler.get_scale() <= 1
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
        values = {
            "loss": loss,
            "learning_rate": learning_rate(self.config, step - 1),
            "grad_norm": norm,
            "tokens_per_s": tokens_per_s,
            "mfu": tokens_per_s * self.model.flops_per_token() / (self.peak_flops * self.runtime.world_size),
            "data_wait": self.data_s / max(seconds, 1e-9),
            "skipped_steps": int(self.skipped.item()),
            "elapsed_s": now - self.started_at,
        }
        if self.metrics:
            self.metrics.log(step, values)
        self.reporter.step(step, values)
        self.window_at, self.window_step, self.data_s = now, step, 0.0

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
        """Append one sample to `samples.txt`; its draw touches no random stream of training."""
        prompt = self.config.sample_prompt
        length = min(200, max(1, self.config.model.block_size // 2))
        settings = GenerateConfig(max_new_tokens=length, seed=self.config.seed)
        self.model.eval()
        sample = generate(self.model, self.tokenizer, prompt, settings, notice=lambda _: None)[0]
        with open(self.run_folder / "samples.txt", "a", encoding="utf-8") as file:
            file.write(f"--- step {step} ---\n{prompt}{sample.text}\n\n")
