"""The settings of model, training and generation, as frozen dataclasses.

A field is a flag of the command (`--max_steps 10`, `--model.n_layer 6`) and a key of its YAML file,
by the same name; its docstring is the help text (`base.settings` makes the flags). `__post_init__`
checks rules; its errors name field, value and remedy. This module does not import torch, so that
help and errors come at once.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from gpt_research.base.errors import UserError, require
from gpt_research.model_config import GPTConfig
from gpt_research.run_reference import NAMES, names_checkpoint

# A user may write `auto`, or nothing. `estimate.micro_batch` makes a number of it before anything
# is built, so type checkers see an int, and only the parser of flags and YAML sees all three.
MicroBatch = int
if not TYPE_CHECKING:
    MicroBatch = int | Literal["auto"] | None
USUAL_MICRO_BATCH = 8
"""Sequences of a pass where none are named and nothing is measured."""


CHANGEABLE = {"changeable": True}
"""Marks a setting that a resumed run may change, because it does not decide what is learnt."""


RESUME_IN_PLACE = ("auto", "never")
"""Values of `resume` that name no run; any other value is the folder of the run to go on with."""

FLAG_ONLY = {"flag_only": True}
"""Marks a setting of a command that no config file gives it, because the file means another one by
that name."""


def changeable(default: Any) -> Any:
    """Return a field with this default that a resumed run may change."""
    return field(default=default, metadata=CHANGEABLE)


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer takes the steps."""

    name: str = "adamw"
    """adamw, muon (matrices; AdamW takes the rest), the name of an optimizer of pytorch-optimizer,
    such as lion (extra optim), or the name that a plugin gave its own."""
    options: dict[str, bool | int | float | str | list[float]] = field(default_factory=dict)
    """An option of an optimizer of pytorch-optimizer, such as eps. Others have its defaults."""
    embedding_lr_scale: float = 1.0
    """Learning rate of the embeddings, and of a head that is tied to one, as a share of
    learning_rate."""
    head_lr_scale: float = 1.0
    """Learning rate of a head that is not tied, as a share of learning_rate."""
    muon_others_lr_scale: float = 0.2
    """With muon, and those of pytorch-optimizer that are of its kind: learning rate of all that is
    no matrix, as a share of learning_rate."""
    muon_iterations: int = 5
    """With muon: polynomials that make a matrix orthogonal. 5 takes the published one each time; 3
    or 4 that are the best for so few do nearly as well, sooner."""
    embedding_weight_decay: float | None = None
    """Weight decay of the embeddings. Default: weight_decay."""
    head_weight_decay: float | None = None
    """Weight decay of a head that is not tied. Default: weight_decay."""
    vector_weight_decay: float = 0.0
    """Weight decay of norms and biases."""

    def __post_init__(self) -> None:
        for name in ("embedding_lr_scale", "head_lr_scale", "muon_others_lr_scale"):
            rule = "a finite number, 0 or more"
            require(0 <= getattr(self, name) < math.inf, f"optimizer.{name}", getattr(self, name), rule)
        require(1 <= self.muon_iterations <= 20, "optimizer.muon_iterations", self.muon_iterations, "1 to 20")
        for name in ("embedding_weight_decay", "head_weight_decay", "vector_weight_decay"):
            value = getattr(self, name)
            require(value is None or 0 <= value < math.inf, f"optimizer.{name}", value, "0 or more")


@dataclass(frozen=True)
class WandbConfig:
    """How a run appears on Weights & Biases."""

    project: str = ""
    """Project. Empty: what WANDB_PROJECT says, or else gpt-research."""
    entity: str = ""
    """User or team that owns the project. Empty: your own default."""
    name: str = ""
    """Name of the run. Empty: the name of its folder."""
    group: str = ""
    """Group that the run belongs to, such as the seeds of one setting."""
    tags: list[str] = field(default_factory=list)
    """A tag of the run; give it again for more."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the preset `gpt2-124m`."""

    data: str = changeable("data/tokens")
    """Data set folder: what preprocessing wrote, or one with nanoGPT's or llm.c's .bin files."""
    out: str = changeable("runs/gpt2-124m")
    """Run folder: config, metrics, samples, checkpoints."""
    resume: str = changeable("auto")
    """auto: continue the run that is in the folder. never: refuse a folder that holds a run. A run
    folder: continue that run with its own settings. RUN@STEP goes on from one of its
    checkpoints."""
    init_from: str = ""
    """Run folder, or RUN@STEP for one of its checkpoints, whose weights a new run begins with; the
    shape of the model is that run's. Optimizer, schedule and all other settings are new."""
    ema: bool | None = changeable(None)
    """With --init_from: begin with the averaged weights of that run (ema_decay), or with false with
    those of its step. Default: the averaged ones if it has them."""
    step: str = changeable("newest")
    """Checkpoint to begin with, of the run that --resume or --init_from names: newest, best (lowest
    validation loss) or its step. A resumed run drops what comes after it."""
    allow_change: bool = changeable(False)
    """Continue a run although a setting that decides the result has changed."""
    model: GPTConfig = field(default_factory=GPTConfig)
    """Shape of the model."""
    weights: dict[str, float] = field(default_factory=dict)
    """Share of each corpus in training, by name (scaled to sum to 1). Empty: by size and
    mix_temperature."""
    mix_temperature: float = 1.0
    """Without weights, shares go by size to the power of 1 / mix_temperature: above 1, small
    corpora gain."""
    shuffle_documents: bool = False
    """Read the documents of a shard in another order in each pass, so that windows join and cut
    them differently: for data that is read many times."""
    max_steps: int = 20_000
    """Optimizer steps of the whole run."""
    tokens_per_step: int = 262_144
    """Tokens of one optimizer step over all devices; gradients of several passes are added up to
    reach it."""
    micro_batch: MicroBatch = field(default=None, metadata=CHANGEABLE)  # type: ignore[assignment]
    """Sequences of one forward and backward pass on one device. auto: the fastest that fits,
    measured at the start. Default: auto on an NVIDIA or AMD card, else 8."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""
    learning_rate: float = 6e-4
    """Highest learning rate, reached after warm-up."""
    schedule: str = "cosine"
    """The learning rate after warm-up. cosine, linear: down to min_lr_ratio at max_steps. wsd: at
    the highest, and down in the last steps (warm-up, stable, decay). constant: at the highest."""
    min_lr_ratio: float = 0.1
    """Last learning rate as a share of the highest; 0 ends at 0."""
    decay_ratio: float = 0.2
    """With wsd: share of all steps in which the learning rate decays, the last ones. The checkpoint
    before them is kept."""
    decay_shape: Literal["linear", "1-sqrt", "cosine"] = "1-sqrt"
    """With wsd: how the learning rate decays."""
    warmup_steps: int = 700
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.1
    """Decoupled decay, on matrices and embeddings only."""
    beta1: float = 0.9
    """AdamW: decay of the mean of gradients."""
    beta2: float = 0.95
    """AdamW: decay of the mean of squared gradients."""
    grad_clip: float = 1.0
    """Largest global gradient norm; 0 does not clip."""
    ema_decay: float = 0.0
    """Keep a moving average of the weights beside them, in which the average so far has this weight
    (0.999: about 1,000 steps); evaluate, generate and export take it. 0 keeps none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Type of the matrix products; weights stay fp32. auto: bf16 if the device is fast at it, fp16
    on NVIDIA's cards of 2017 to 2019 (V100, T4), otherwise fp32."""
    residual_precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the residual stream, to which all blocks add. bf16 needs precision bf16: less memory,
    and less to move on a GPU."""
    device: str = changeable("auto")
    """auto, cpu, cuda, cuda:1, mps."""
    compile: bool | None = changeable(None)
    """Compile the model with torch.compile. Default: on a GPU, if the run is long enough to gain by
    it; whole or block by block, by what is sooner done."""
    deterministic: bool = changeable(False)
    """Compute the same bits each time on a GPU too, by slower kernels and, unless --compile is
    given, without torch.compile. A CPU does so anyway."""
    parallel: Literal["auto", "ddp", "fsdp", "hsdp"] = changeable("auto")
    """On several devices: ddp keeps the whole model on each, fsdp shards it over all, hsdp over
    those of a node. auto: the first of ddp, hsdp and fsdp that fits."""
    gradient_exchange: Literal["pass", "step"] = changeable("pass")
    """Under fsdp and hsdp: exchange gradients after each pass, or once a step, which sends less,
    but holds a whole gradient on each device (4 bytes a parameter)."""
    rank_timeout: int = changeable(300)
    """On several processes: seconds after which all end if one does not answer. The start, up to
    the first step, has half an hour."""
    loss_chunk: int | None = changeable(None)
    """Tokens whose logits are held at a time, to bound memory; 0 holds all. Default: depends on the
    device."""
    gradient_checkpointing: bool = changeable(False)
    """Recompute each block's activations in the backward pass: less memory, about a third more
    time."""
    log_interval: int = changeable(10)
    """Steps between two lines of metrics.jsonl."""
    eval_interval: int = changeable(250)
    """Steps between two evaluations; 0 evaluates at the end only."""
    eval_tokens: int = changeable(262_144)
    """Validation tokens of one evaluation, for each corpus; all of a corpus that has fewer."""
    save_interval: int = changeable(500)
    """Steps between two checkpoints; 0 saves at the end only."""
    keep_last: int = changeable(2)
    """Number of newest checkpoints to keep."""
    keep_every: int = changeable(0)
    """Also keep checkpoints whose step is a multiple of this; 0 keeps only the newest."""
    keep_every_optimizer: bool = changeable(True)
    """Keep the optimizer's state in them too. Without it they take half the room or less, but
    training cannot go on from them."""
    keep_best: bool = changeable(False)
    """Also save and keep the weights with the lowest validation loss; --step best finds them. With
    ema_decay the averaged weights are judged, here and by early_stopping."""
    best_smoothing: float = changeable(0.0)
    """Judge an evaluation by a moving average in which the ones before have this weight; 0 judges
    each by itself."""
    early_stopping: int = changeable(0)
    """Stop after so many evaluations in a row without a new lowest validation loss; 0 never
    stops."""
    spike_z: float = changeable(6.0)
    """A loss this many standard deviations above the mean of the last 100 steps is a spike: it is
    logged, and a black box is written."""
    skip_spikes: bool = False
    """Leave the weights as they were if the loss is a spike. Training then reads the loss of every
    step, which costs a little on a GPU."""
    verify_data: bool = changeable(False)
    """Check the SHA-256 of every shard before the first step."""
    sample_prompt: str = changeable("\n")
    """Prompt of the sample that is written after each evaluation."""
    seed: int = 1337
    """Root of every random draw: initial weights, data order, dropout."""
    profile: bool = changeable(False)
    """Write a trace of a few early steps to profile/ in the run folder, for Perfetto or
    chrome://tracing."""
    tracker: str = changeable("none")
    """none, wandb or tensorboard: where metrics go besides metrics.jsonl. W&B works offline with
    WANDB_MODE=offline."""
    wandb: WandbConfig = field(default_factory=WandbConfig, metadata=CHANGEABLE)
    """Project, name and tags on W&B."""

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "tokens_per_step",
            "log_interval",
            "keep_last",
            "eval_tokens",
            "rank_timeout",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in (
            "warmup_steps",
            "eval_interval",
            "save_interval",
            "keep_every",
            "early_stopping",
            "weight_decay",
            "grad_clip",
        ):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "a finite number above 0")
        require(self.loss_chunk is None or self.loss_chunk >= 0, "loss_chunk", self.loss_chunk, "0 or more")
        require(self.spike_z > 0, "spike_z", self.spike_z, "above 0")
        for name in ("min_lr_ratio", "decay_ratio"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        for name in ("beta1", "beta2", "ema_decay"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        for corpus, weight in self.weights.items():
            require(0 <= weight < math.inf, f"weights.{corpus}", weight, "0 or more")
        names_a_run = self.resume not in RESUME_IN_PLACE
        if names_a_run and os.path.realpath(self.resume) != os.path.realpath(self.out):
            raise UserError(
                f"resume is {self.resume!r}, but out is {self.out!r}: go on with that run by --resume {self.resume} "
                f"alone, or begin a new one with its weights by --init_from {self.resume} --out {self.out}."
            )
        if self.init_from and os.path.realpath(self.init_from) == os.path.realpath(self.out):
            raise UserError(f"init_from and out are both {self.out}. Name a new folder with --out.")
        require_step("step", self.step)
        begins = names_a_run or self.init_from != ""
        require(self.step == "newest" or begins, "step", self.step, "given with --resume RUN or --init_from RUN")
        from_another = self.ema is None or self.init_from != ""
        require(from_another, "ema", self.ema, "given with --init_from RUN (to keep an average, give --ema_decay)")
        require(0 <= self.best_smoothing < 1, "best_smoothing", self.best_smoothing, "at least 0 and below 1")
        for name in ("keep_best", "early_stopping"):
            evaluates = not getattr(self, name) or self.eval_interval > 0
            require(evaluates, name, getattr(self, name), "left out if eval_interval is 0")
        temperature = self.mix_temperature
        require(0 < temperature < math.inf, "mix_temperature", temperature, "a number above 0")
        require(
            not self.weights or temperature == 1, "mix_temperature", temperature, "left out where weights are given"
        )
        micro_batch = self.micro_batch if isinstance(self.micro_batch, int) else 1
        require(micro_batch >= 1, "micro_batch", micro_batch, "at least 1, or auto")
        micro_tokens = micro_batch * self.model.block_size
        require(
            self.tokens_per_step % micro_tokens == 0,
            "tokens_per_step",
            self.tokens_per_step,
            f"a multiple of micro_batch x model.block_size = {micro_tokens}",
        )

    def run_settings(self) -> TrainConfig:
        """Return the settings of the run alone, without the fields that a command's subclass
        adds.
        """
        return TrainConfig(**{field.name: getattr(self, field.name) for field in fields(TrainConfig)})

    @classmethod
    def changeable_fields(cls) -> set[str]:
        """Return the names of the settings that a resumed run may change."""
        return {field.name for field in fields(cls) if field.metadata.get("changeable")}

    def accumulation_steps(self, world_size: int) -> int:
        """Return the micro-batches that each device computes in one step.

        Raises:
            UserError: the step does not divide evenly over `world_size` devices.
        """
        assert self.micro_batch != "auto", "resolve_micro_batch comes first"
        micro_tokens = (self.micro_batch or USUAL_MICRO_BATCH) * self.model.block_size * world_size
        require(
            self.tokens_per_step % micro_tokens == 0,
            "tokens_per_step",
            self.tokens_per_step,
            f"a multiple of micro_batch x model.block_size x devices = {micro_tokens}; "
            "lower micro_batch or change tokens_per_step",
        )
        return self.tokens_per_step // micro_tokens


def require_step(name: str, value: str) -> None:
    """Raise a `UserError` unless a setting names a checkpoint: newest, best, or a number."""
    require(names_checkpoint(value), name, value, NAMES)


@dataclass(frozen=True)
class GenerateConfig:
    """How text is generated from a model."""

    max_new_tokens: int = 200
    """Tokens to generate for each sample."""
    temperature: float = 0.8
    """Divide the logits by this before drawing; 0 always takes the likeliest token."""
    top_k: int = 200
    """Draw only from the k likeliest tokens; 0 draws from all."""
    top_p: float = 1.0
    """Draw only from the fewest tokens whose probabilities add up to p; 1 draws from all."""
    min_p: float = 0.0
    """Draw only from tokens that are at least this share as likely as the likeliest; 0 draws from
    all."""
    repetition_penalty: float = 1.0
    """Make tokens that the text holds already less likely: divide their positive logits by this and
    multiply their negative ones; 1 changes nothing."""
    num_samples: int = 1
    """Samples for each prompt."""
    seed: int = 1337
    """Seed of the samples; the same seed gives the same texts."""
    stop: list[str] = field(default_factory=list)
    """Text at which a sample ends, without the text itself; give it again for more."""

    def __post_init__(self) -> None:
        require(1 <= self.max_new_tokens <= 10_000_000, "max_new_tokens", self.max_new_tokens, "1 to 10000000")
        require(0 <= self.temperature < math.inf, "temperature", self.temperature, "a number, 0 or more")
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "between 0 and 1")
        penalty = self.repetition_penalty
        require(0 < penalty < math.inf, "repetition_penalty", penalty, "a number above 0")
        require(1 <= self.num_samples <= 100_000, "num_samples", self.num_samples, "1 to 100000")
        require(all(self.stop), "stop", "", "a text of at least one character")
