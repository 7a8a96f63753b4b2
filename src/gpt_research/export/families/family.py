"""What a family of models says of itself: which of our settings it has, and its forms elsewhere.

A family is known to transformers (names, config.json) and to llama.cpp (names, keys of a GGUF
file). It may take over a model whose settings differ from its own, if an equal model exists: `form`
returns that one.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NoReturn

import torch

from gpt_research.base.errors import UserError
from gpt_research.export.families.names import Names, Tensors
from gpt_research.model.parts.attention import MUP_HEAD_SIZE
from gpt_research.model.parts.feed_forward import ff_width
from gpt_research.model_config import GPTConfig

Program = Literal["transformers", "llama.cpp"]
Values = Mapping[str, tuple[Any, ...]]
"""Names of settings, and the values that a family has of each."""

SIZES = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "tie_weights", "norm_eps", "n_ff")
"""Settings that every family has with any value."""

_SPELLED = {"n_kv_head": "model.n_head", "head_size": "model.n_embd / model.n_head"}
"""The default of settings that follow from others."""


@dataclass(frozen=True)
class Obstacle:
    """A setting that a family does not have with this value."""

    setting: str
    value: object
    needed: str

    def __str__(self) -> str:
        return f"model.{self.setting} is {self.value} ({self.needed})"


def settled(config: GPTConfig) -> GPTConfig:
    """Return a config that computes the same from the same weights, with the default of every
    setting that does not matter then.
    """
    same: dict[str, Any] = dict.fromkeys(("dropout", "initialisation", "mup_base_width", "parametrization"))
    if config.positions != "rope":
        same["rope_theta"] = None
    if config.kv_heads == config.n_head:
        same["n_kv_head"] = None
    if config.head_dim * config.n_head == config.n_embd:
        same["head_size"] = None
    return replace(config, **{name: _default(name) for name in same})


def _default(setting: str) -> Any:
    return next(field.default for field in dataclasses.fields(GPTConfig) if field.name == setting)


def without_mup(config: GPTConfig, tensors: Tensors) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
    """Return an equal model under the standard parametrization: weights take mup's factors."""
    tensors = dict(tensors)
    if config.parametrization == "standard":
        return config, tensors
    scale, queries = (MUP_HEAD_SIZE / config.head_dim) ** 0.5, config.n_head * config.head_dim
    for name, tensor in tensors.items():
        if config.qk_norm and name.endswith("attention.q_norm.weight"):
            tensors[name] = tensor * scale
        elif not config.qk_norm and ".attention.qkv." in name:
            tensors[name] = torch.cat((tensor[:queries] * scale, tensor[queries:]))
    head = tensors["token_embedding.weight" if config.tie_weights else "head.weight"]
    tensors["head.weight"] = head / config.width_ratio
    return replace(config, parametrization="standard", tie_weights=False), tensors


class Family(abc.ABC):
    """Models of one shape, in transformers and in llama.cpp."""

    name: ClassVar[str]
    """`model_type` of transformers, and architecture of GGUF."""
    title: ClassVar[str]
    model_class: ClassVar[str]
    """The class of transformers, such as `LlamaForCausalLM`."""
    free: ClassVar[tuple[str, ...]] = ()
    """Settings that may have any value, besides `SIZES`."""
    values: ClassVar[Values] = {}
    """Values that the family has. A setting that is neither here nor in `free` must have its
    default."""
    values_of_llama_cpp: ClassVar[Values] = {}
    """Values that llama.cpp has, where they are fewer."""
    hf_names: ClassVar[Names]
    gguf_names: ClassVar[Names]

    def obstacles(self, config: GPTConfig, program: Program) -> list[Obstacle]:
        """Return the settings that keep a model out of this family, in a program's form."""
        config = settled(config)
        allowed = {**self.values, **(self.values_of_llama_cpp if program == "llama.cpp" else {})}
        found = []
        for field in dataclasses.fields(config):
            value, name = getattr(config, field.name), field.name
            values = allowed.get(name, (field.default,))
            if name not in (*SIZES, *self.free) and value not in values:
                wanted = [_SPELLED.get(name, str(each)) if each is None else str(each) for each in values]
                found.append(Obstacle(name, value, f"{self.title}: {' or '.join(wanted)}"))
        return found

    def form(self, config: GPTConfig, tensors: Tensors) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
        """Return config and tensors of an equal model that has the family's settings."""
        return without_mup(config, tensors)

    @abc.abstractmethod
    def hf_settings(self, config: GPTConfig) -> dict[str, Any]:
        """Return the entries of config.json that are this family's own."""

    @abc.abstractmethod
    def read_hf_settings(self, settings: Settings) -> GPTConfig:
        """Return the config that a config.json describes.

        Raises:
            UserError: it says something that our model does not compute.
        """

    def to_hf(self, config: GPTConfig, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Give the tensors of `form` the names and layout of transformers."""
        return self.hf_names.to_theirs(tensors, qkv_rows(config))

    def from_hf(self, config: GPTConfig, tensors: Tensors, where: str) -> tuple[GPTConfig, dict[str, torch.Tensor]]:
        """Give tensors of transformers our names and layout; return the config that they have.

        Raises:
            UserError: a tensor that the family does not have.
        """
        return config, self.hf_names.to_ours(tensors, where)

    @abc.abstractmethod
    def add_gguf_settings(self, writer: Any, config: GPTConfig) -> None:
        """Add the family's keys to a `gguf.GGUFWriter`; those of all families are there."""

    @abc.abstractmethod
    def read_gguf_settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that those keys say, for a `GPTConfig`."""

    def to_gguf(self, config: GPTConfig, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Give the tensors of `form` the names and layout of GGUF."""
        return self.gguf_names.to_theirs(tensors, qkv_rows(config))

    def from_gguf(self, config: GPTConfig, tensors: Tensors, where: str) -> dict[str, torch.Tensor]:
        """Give tensors of a GGUF file our names and layout."""
        return self.gguf_names.to_ours(tensors, where)


def qkv_rows(config: GPTConfig) -> Sequence[int]:
    """Return the rows of queries, keys and values in the fused matrix."""
    return [heads * config.head_dim for heads in (config.n_head, config.kv_heads, config.kv_heads)]


def shortest(config: GPTConfig) -> GPTConfig:
    """Return the config with None for sizes that have their default, as a user would write it."""
    by_default = replace(config, n_ff=None)
    if ff_width(by_default) == config.n_ff:
        config = by_default
    if config.n_kv_head == config.n_head:
        config = replace(config, n_kv_head=None)
    return replace(config, head_size=None) if config.head_dim * config.n_head == config.n_embd else config


@dataclass(frozen=True)
class Settings:
    """A config.json, read entry by entry; each complaint names the file and the entry."""

    entries: Mapping[str, Any]
    where: str

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number above 0; a missing entry, or null, has the default."""
        value = self.entries.get(name)
        value = default if value is None else value
        if value is None:
            raise UserError(f"{self.where} cannot be imported: it does not say '{name}'.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            self.refuse(name, "a number above 0")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number above 0."""
        value = self.number(name, default)
        if value != int(value):
            self.refuse(name, "a whole number")
        return int(value)

    def choice(self, name: str, values: Sequence[Any], default: Any = None) -> Any:
        """Return an entry that must be one of `values`; a missing one has the default."""
        value = self.entries.get(name, default)
        if value not in values or isinstance(value, bool) != isinstance(values[values.index(value)], bool):
            self.refuse(name, " or ".join(repr(each) for each in values), value)
        return value

    def refuse(self, name: str, needed: str, value: object = None) -> NoReturn:
        """Raise a UserError that names an entry, its value and what can be imported."""
        value = self.entries.get(name) if value is None else value
        raise UserError(f"{self.where} cannot be imported: {name} is {value!r}, and it must be {needed}.")
