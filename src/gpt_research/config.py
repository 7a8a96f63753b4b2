"""Every setting of every stage, once: frozen dataclasses with a docstring and a default a field.

A field is a flag of the command (`--max_steps 10`, `--model.n_layer 6`) and a key of its YAML file by the same
name; `cli` builds both from here. Rules between fields are stated in `__post_init__` and broken ones are named
with the remedy. Nothing here imports torch, so that help and errors come at once.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import yaml

from gpt_research.errors import UserError, closest

Config = TypeVar("Config")


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Raise a `UserError` that names the setting, its value and the rule it breaks."""
    if not condition:
        raise UserError(f"{name} is {value!r}, but it must be {rule}.")


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. The defaults are GPT-2 124M at a context of 512."""

    n_layer: int = 12
    """Transformer blocks."""
    n_head: int = 12
    """Attention heads a block; divides n_embd."""
    n_embd: int = 768
    """Width of the residual stream."""
    block_size: int = 512
    """Longest context, in tokens."""
    vocab_size: int = 50257
    """Entries of the tokenizer. Training takes it from the data set."""
    dropout: float = 0.0
    """Share of activations dropped in training, after the embedding, attention and each residual branch."""
    bias: bool = True
    """Biases in linear layers and layer norms, as GPT-2 has them."""
    positions: Literal["learned", "sinusoidal"] = "learned"
    """Learned positions (GPT-2) or the fixed sines of Vaswani et al. 2017, section 3.5."""
    tie_weights: bool = True
    """Use the token embedding as the output head too."""

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
        require(
            self.n_embd % self.n_head == 0,
            "model.n_embd",
            self.n_embd,
            f"a multiple of model.n_head ({self.n_head})",
        )
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(
            self.positions == "learned" or self.n_embd % 2 == 0,
            "model.n_embd",
            self.n_embd,
            "even for sinusoidal positions",
        )

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: a multiple of 64, which matrix units like; the extra rows are never seen."""
        return math.ceil(self.vocab_size / 64) * 64


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The defaults are the preset `configs/gpt2-124m.yaml`."""

    data: str = "data/tokens"
    """Data set folder: what preprocessing wrote, or one with nanoGPT's or llm.c's .bin files."""
    out: str = "runs/gpt2-124m"
    """Run folder: config, metrics, samples, checkpoints."""
    resume: str = "auto"
    """auto goes on where the run folder stopped; never wants an empty one; or another run folder to go on from."""
    model: GPTConfig = field(default_factory=GPTConfig)
    """Shape of the model."""
    weights: dict[str, float] = field(default_factory=dict)
    """Share of each corpus in training, by name (scaled to sum to 1). Empty: by size."""
    max_steps: int = 20_000
    """Optimizer steps of the whole run."""
    tokens_per_step: int = 262_144
    """Tokens of one optimizer step over all devices; what one pass does not hold is accumulated."""
    micro_batch: int = 8
    """Sequences of one forward and backward pass on one device."""
    learning_rate: float = 6e-4
    """Highest learning rate, reached after warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay after warm-up, down to min_lr_ratio at max_steps."""
    min_lr_ratio: float = 0.1
    """Last learning rate as a share of the highest."""
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
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the matrix products; weights stay fp32. auto: bf16 where the device is fast at it, else fp32."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    compile: bool = False
    """Compile the model with torch.compile."""
    gradient_checkpointing: bool = False
    """Recompute each block's activations in the backward pass: less memory, about a third more time."""
    log_interval: int = 10
    """Steps between two lines of metrics.jsonl."""
    eval_interval: int = 250
    """Steps between two evaluations; 0 evaluates at the end only."""
    eval_tokens: int = 262_144
    """Validation tokens of one evaluation, for each corpus (fewer where there are fewer)."""
    save_interval: int = 500
    """Steps between two checkpoints; 0 saves at the end only."""
    keep_last: int = 2
    """Newest checkpoints that stay."""
    sample_prompt: str = "\\n"
    """Prompt of the samples drawn after each evaluation; a backslash and n stand for a line break."""
    seed: int = 1337
    """Root of every random draw: initial weights, data order, dropout."""
    tracker: Literal["none", "wandb", "tensorboard"] = "none"
    """Where metrics go besides metrics.jsonl. W&B works offline with WANDB_MODE=offline."""

    def __post_init__(self) -> None:
        for name in ("max_steps", "tokens_per_step", "micro_batch", "log_interval", "keep_last", "eval_tokens"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("warmup_steps", "eval_interval", "save_interval", "weight_decay", "grad_clip"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(
            0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "a finite number above 0"
        )
        require(0 <= self.min_lr_ratio <= 1, "min_lr_ratio", self.min_lr_ratio, "between 0 and 1")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        for corpus, weight in self.weights.items():
            require(0 <= weight < math.inf, f"weights.{corpus}", weight, "0 or more")
        require(
            self.tokens_per_step % (self.micro_batch * self.model.block_size) == 0,
            "tokens_per_step",
            self.tokens_per_step,
            f"a multiple of micro_batch x model.block_size = {self.micro_batch * self.model.block_size}",
        )

    def accumulation_steps(self, world_size: int) -> int:
        """Micro-batches a device takes for one step.

        Raises:
            UserError: where the step does not divide evenly over `world_size` devices.
        """
        micro_tokens = self.micro_batch * self.model.block_size * world_size
        require(
            self.tokens_per_step % micro_tokens == 0,
            "tokens_per_step",
            self.tokens_per_step,
            f"a multiple of micro_batch x model.block_size x devices = {micro_tokens}; "
            "lower micro_batch or change tokens_per_step",
        )
        return self.tokens_per_step // micro_tokens


@dataclass(frozen=True)
class GenerateConfig:
    """How text is drawn from a model."""

    max_new_tokens: int = 200
    """Tokens to write for each sample."""
    temperature: float = 0.8
    """Divides the logits; 0 always takes the likeliest token."""
    top_k: int = 200
    """Draw among the k likeliest tokens only; 0 among all."""
    top_p: float = 1.0
    """Draw among the fewest tokens whose probabilities reach p; 1 among all."""
    num_samples: int = 1
    """Samples for each prompt."""
    seed: int = 1337
    """Fixes the samples."""
    stop: list[str] = field(default_factory=list)
    """A sample ends before the first of these texts."""

    def __post_init__(self) -> None:
        require(1 <= self.max_new_tokens <= 10_000_000, "max_new_tokens", self.max_new_tokens, "1 to 10000000")
        require(0 <= self.temperature < math.inf, "temperature", self.temperature, "a number, 0 or more")
        require(self.top_k >= 0, "top_k", self.top_k, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        require(self.num_samples >= 1, "num_samples", self.num_samples, "at least 1")
        require(all(self.stop), "stop", "", "a text of at least one character")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain nested dictionaries, as YAML and JSON hold it."""
    return dataclasses.asdict(config)


def write_yaml(config: Any, path: Path) -> None:
    """Write every field, defaults included, so that the file alone repeats the run."""
    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")


def parser_for(config_class: type, prog: str = "gpt-research") -> Any:
    """Return a jsonargparse parser with one flag a field of a config class; it raises instead of exiting."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=prog, exit_on_error=False)
    parser.add_class_arguments(config_class)
    return parser


def field_names(config_class: type, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings of a config class: `max_steps`, `model.n_layer`, ..."""
    names = []
    for name, kind in get_type_hints(config_class).items():
        if dataclasses.is_dataclass(kind):
            names += field_names(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            names.append(prefix + name)
    return names


def parse_error(error: Exception, config_class: type, where: str) -> UserError:
    """Turn what jsonargparse says of a wrong setting into one sentence with the closest known name."""
    text = " ".join(str(error).split())
    known = field_names(config_class)
    unknown = re.search(r"unrecognized arguments: (\S+)|(?:accept option|Key|key) ['\"]([\w.]+)['\"]", text)
    if unknown and "Expected" not in text and "does not exist" not in text:
        name = (unknown[1] or unknown[2]).lstrip("-").split("=")[0]
        return UserError(f'{where}: unknown setting "{name}".{closest(name, known)}')
    wrong = re.search(r'Parser key "([\w.]+)": (?:Problem with given .*?: )?Expected (?:a|an) (.+?)\. Got value: (.*)', text)
    if wrong:
        kind = re.sub(r"<class '(\w+)'>", r"\1", wrong[2]).replace("typing.", "")
        return UserError(f"{where}: {wrong[1]} is {wrong[3]!r}, but it must be of type {kind}.")
    return UserError(f"{where}: {text}")


def read_yaml(config_class: type[Config], path: Path) -> Config:
    """Read a config file, defaults filled in.

    Raises:
        UserError: no file, broken YAML, an unknown key, a wrong type or a broken rule.
    """
    if not path.is_file():
        raise UserError(f"There is no config file {path}.")
    parser = parser_for(config_class)
    try:
        return config_class(**vars(parser.instantiate(parser.parse_path(str(path)))))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # jsonargparse raises many kinds, all of them about this file
        raise parse_error(error, config_class, str(path)) from None
