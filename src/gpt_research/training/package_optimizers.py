"""The optimizers of the package pytorch-optimizer, by the names that it gives them.

The package has more than a hundred, from many papers. They get our groups of parameters, so that
learning rates and weight decay by kind hold for them too. `optimizer_check` tries one before a run
begins.
Source: https://github.com/kozistr/pytorch_optimizer
"""

from __future__ import annotations

import difflib
import inspect
import random
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gpt_research.base import hints
from gpt_research.base.errors import UserError, closest

if TYPE_CHECKING:
    from gpt_research.config import TrainConfig

PACKAGE = "pytorch-optimizer"
OWN_SETTINGS = {"lr": "learning_rate", "weight_decay": "weight_decay"}
"""Options of the package that are settings here."""
ROW_BY_ROW = (
    "adabelief", "adam", "adamw", "adan", "ademamix", "adopt", "exadam", "grams", "laprop", "lion", "nadam", "padam",
    "radam", "rmsprop", "schedulefreeadamw", "schedulefreesgd", "sgd", "sgdw", "signsgd", "tiger", "yogi",
)  # fmt: skip
"""Optimizers that change each weight by its own gradients alone, so that a model may be sharded."""
NEEDS_CLOSURE = "it computes the loss again within a step (a closure), and a step has one gradient"
SAME_STEP = 1e-5
"""Relative difference that rounding may make between the step of a matrix and those of its rows."""


def package_class(name: str, ours: Iterable[str]) -> type[torch.optim.Optimizer]:
    """Return the class that a name means, in any case of letters.

    Args:
        ours: names that are known without the package, for the message.

    Raises:
        UserError: the package is missing or has no such optimizer, or ours cannot be its step.
    """
    try:
        import pytorch_optimizer
    except ImportError:
        raise UserError(
            f'optimizer.name is "{name}", but it must be one of {", ".join(ours)}, because {PACKAGE} is not installed.'
            f"{closest(name, ours)} For a hundred others, run: {hints.install('optim', PACKAGE)}"
        ) from None
    classes = {
        label.lower(): value
        for label, value in vars(pytorch_optimizer).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and not inspect.isabstract(value)
    }
    if name.lower() in classes:
        return classes[name.lower()]
    near = difflib.get_close_matches(name.lower(), dict.fromkeys([*ours, *classes]), n=6, cutoff=0.5)
    raise UserError(
        f'optimizer.name is "{name}", but it must be one of {", ".join(ours)}, or an optimizer of {PACKAGE}.'
        + (f" Near it are {', '.join(near)}." if near else "")
    )


def make_package_optimizer(
    groups: list[dict[str, Any]], config: TrainConfig, ours: Iterable[str]
) -> torch.optim.Optimizer:
    """Return the optimizer of the package that `config.optimizer.name` names.

    Weight decay is decoupled from the gradient if the optimizer can do that.

    Raises:
        UserError: as `package_class` does; an option that it does not have or take; or the model is
            sharded, and it needs whole matrices.
    """
    name, options = config.optimizer.name, config.optimizer.options
    chosen = package_class(name, ours)
    known = inspect.signature(chosen).parameters
    closure = inspect.signature(chosen.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(f"optimizer.name is {name}, but {name} cannot take the steps here: {NEEDS_CLOSURE}.")
    _check_options(name, options, chosen)
    arguments: dict[str, Any] = {"weight_decouple": True} if "weight_decouple" in known else {}
    arguments |= {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    if "lr" in known:
        arguments["lr"] = config.learning_rate
    for group in groups:
        # Those that make steps of matrices orthogonal leave the other kinds to AdamW by this flag.
        group["use_muon"] = group["kind"] == "matrix"
        if "use_adjusted_lr" in known and not group["use_muon"]:
            group["lr_scale"] *= config.optimizer.muon_others_lr_scale
    sharded = any(hasattr(parameter, "full_tensor") for group in groups for parameter in group["params"])  # DTensors
    if sharded and not _acts_on_rows(chosen, arguments):
        raise UserError(
            f"optimizer.name is {name}, but the model is sharded, and {name} needs whole matrices. Use --parallel ddp "
            "or another optimizer."
        )
    if sharded and "foreach" in known:
        arguments = {"foreach": False, **arguments}  # torch does not have all operations on lists of shards
    optimizer = _made(chosen, groups, arguments, name)
    optimizer.register_step_pre_hook(_seed_other_streams)
    return optimizer


def _made(chosen: Any, groups: list[dict[str, Any]], arguments: Mapping[str, Any], name: str) -> torch.optim.Optimizer:
    try:
        made: torch.optim.Optimizer = chosen(groups, **arguments)
    except Exception as error:  # the package has errors of many kinds, all about these arguments
        raise UserError(f"optimizer.name is {name}, but {name} does not take these settings: {error}.") from None
    return made


def _check_options(name: str, options: Mapping[str, Any], chosen: type) -> None:
    """Refuse an option that the optimizer does not have, and an optimizer that cannot be built."""
    known = inspect.signature(chosen).parameters
    accepted = [key for key, value in known.items() if value.kind is not value.VAR_KEYWORD and key != "params"]
    for key in options:
        if key in OWN_SETTINGS:
            raise UserError(f"optimizer.options.{key} is a setting of its own: --{OWN_SETTINGS[key]}.")
        if key not in accepted and not _reads(chosen, key):
            raise UserError(
                f"optimizer.options.{key} is no option of {name}, which has {', '.join(accepted)}."
                f"{closest(key, accepted)}"
            )
    lacking = [key for key in accepted if known[key].default is inspect.Parameter.empty and key not in {"lr", *options}]
    for key, why in (
        ("model", "it needs the model itself, and the step gives it parameters"),
        ("optimizer", "it wraps another optimizer"),
        ("base_optimizer", "it wraps another optimizer"),
    ):
        if key in lacking:
            raise UserError(f"optimizer.name is {name}, but {name} cannot take the steps here: {why}.")
    if lacking:
        raise UserError(f"optimizer.name is {name}, which needs optimizer.options.{lacking[0]}.")


def _reads(chosen: type, option: str) -> bool:
    """Return whether an optimizer reads an option from its groups, although its signature has no
    such name: it takes any name, and those that it does not read would be passed over in silence.
    """
    return re.search(rf"group(\.get\(|\[)['\"]{re.escape(option)}['\"]", inspect.getsource(chosen)) is not None


def _seed_other_streams(optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Seed the random numbers of Python and numpy by those of torch, which the step has seeded."""
    random.seed(torch.initial_seed())
    np.random.seed(torch.initial_seed() % 2**32)


def _acts_on_rows(chosen: Any, arguments: Mapping[str, Any]) -> bool:
    """Return whether steps of a matrix are the steps of its rows, so that each process may take
    those of its own rows alone: it is one of those that are known to be, and is so with these
    arguments.
    """
    if chosen.__name__.lower() not in ROW_BY_ROW:
        return False
    generator = torch.Generator().manual_seed(0)
    # Rows that differ much in scale, and steps that grow and shrink, show what joins rows.
    scale = torch.tensor([0.01, 0.1, 0.1, 1, 3, 10, 30, 100]).unsqueeze(1)
    start = torch.randn(8, 6, generator=generator)
    gradients = [scale * torch.randn(8, 6, generator=generator) * size for size in (1, 10, 0.1, 1, 0.01, 3)]

    def after_steps(rows: slice) -> torch.Tensor:
        weight = torch.nn.Parameter(start[rows].clone())
        group = {"params": [weight], "weight_decay": 0.1, "use_muon": True, "kind": "matrix"}
        optimizer = chosen([group], **arguments)
        for gradient in gradients:
            weight.grad = gradient[rows].clone()
            optimizer.step()
        return weight.detach()

    with torch.random.fork_rng(devices=[]):
        try:
            whole = after_steps(slice(None))
            parts = torch.cat([after_steps(slice(0, 4)), after_steps(slice(4, 8))])
        except Exception:  # whatever it is that it needs, rows are not enough
            return False
    change = (whole - start).abs().max()
    return bool((whole - parts).abs().max() <= SAME_STEP * change)
