"""The arms of an experiment: a base, and changes of its settings.

model.positions=rope
big steps: optimizer.name=muon,learning_rate=0.02
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gpt_research.base.errors import UserError
from gpt_research.base.settings import by_flag, from_dict, to_dict
from gpt_research.config import TrainConfig

BASE = "base"
"""Name of the arm with which all others are compared."""
_NAMED = re.compile(r"([^=:,]+):\s+(.+)")
_NEXT_SETTING = re.compile(r",\s*(?=[A-Za-z_][\w.]*=)")
_SHARED = ("seed", "data", "out", "resume", "init_from", "step", "eval_tokens")
"""Settings that all runs of an experiment have in common, so no arm and no axis may change them."""
_OF_EACH_RUN: dict[str, Any] = {
    # One checkpoint is enough to go on, and results need none.
    "keep_last": 1,
    "keep_every": 0,
    "keep_best": False,
    "early_stopping": 0,  # all arms read the same tokens
    "tracker": "none",
}
"""Settings that an experiment gives each of its runs."""


@dataclass(frozen=True)
class Arm:
    """One recipe of an experiment."""

    name: str
    config: TrainConfig
    """Its resolved settings; `seed` and `out` are those of the base."""
    changes: Mapping[str, Any]
    """The settings in which it differs from the base, by the names of flags."""

    @property
    def folder(self) -> str:
        """The name of the folder of its runs."""
        return folder_name(self.name)

    def with_setting(self, name: str, value: Any) -> Arm:
        """Return the arm with another value of a setting."""
        return replace(self, config=changed(self.config, {name: value}, self.name))


def folder_name(text: str) -> str:
    """Return a text as the name of a folder."""
    return re.sub(r"[^\w.+=-]+", "_", text).strip("_.") or "arm"


def parse_assignments(text: str, where: str) -> dict[str, Any]:
    """Return the settings of `NAME=VALUE,NAME=VALUE`, by name; values are read as YAML.

    Raises:
        UserError: a part is no such pair.
    """
    values: dict[str, Any] = {}
    for part in _NEXT_SETTING.split(text):
        name, equals, value = part.strip().partition("=")
        if not equals or not name:
            raise UserError(f"{where} is {text!r}, but it must be SETTING=VALUE, or several with commas between them.")
        if name in values:
            raise UserError(f"{where} is {text!r}, which gives {name} twice. Remove one of the two.")
        values[name] = read_value(value)
    return values


def read_value(text: str) -> Any:
    """Return what a text means as YAML; also a number that YAML takes for a text, such as 1e-3."""
    if not text:
        return ""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def changed(config: TrainConfig, values: Mapping[str, Any], where: str) -> TrainConfig:
    """Return settings with other values for some, by the names of flags.

    Raises:
        UserError: a setting is not known, or a value breaks a rule.
    """
    nested: dict[str, Any] = to_dict(config)
    for name, value in values.items():
        *groups, last = name.split(".")
        inside = nested
        for group in groups:
            entry = inside.setdefault(group, {})
            if not isinstance(entry, dict):
                raise UserError(f"{where}: there is no setting {name}.")
            inside = entry
        inside[last] = value
    return from_dict(TrainConfig, nested, where)


def make_arms(base: TrainConfig, changes: Sequence[str]) -> list[Arm]:
    """Return the base and an arm for each change.

    Raises:
        UserError: a change cannot be read, names what all arms must share, or changes nothing, or
            two arms have one name or the same settings.
    """
    arms = [Arm(BASE, base, {})]
    for text in changes:
        named = _NAMED.fullmatch(text.strip())
        name, assignments = (named[1].strip(), named[2]) if named else (text.strip(), text)
        where = f"--change {text!r}"
        values = parse_assignments(assignments, where)
        for setting in values:
            check_may_differ(setting, where)
        config = changed(base, values, where)
        if tokens(config) != tokens(base):
            raise UserError(
                f"{where} makes the arm read {tokens(config):,} tokens, and the base reads {tokens(base):,}; then they "
                "cannot be compared. Give max_steps and tokens_per_step with the same product, set them for all arms "
                "with --set, or run all arms at several lengths with --horizons."
            )
        before, after = by_flag(to_dict(base)), by_flag(to_dict(config))
        difference = {key: value for key, value in after.items() if before.get(key) != value}
        if not difference:
            raise UserError(
                f"{where} gives the settings that the base has already. Name another value, or leave it out."
            )
        arm = Arm(name, config, difference)
        for other in arms:
            if other.config == config:
                raise UserError(f"{where} gives the same settings as {other.name!r}. Leave one of the two out.")
            if other.folder == arm.folder:
                raise UserError(f"Two arms are called {name!r}. Name one of them: --change 'NAME: {assignments}'.")
        arms.append(arm)
    return arms


def check_may_differ(setting: str, where: str) -> None:
    """Refuse a setting in which runs that are compared may not differ.

    Raises:
        UserError: it is one; the message begins with `where`.
    """
    if setting == "seed":
        raise UserError(
            f"{where}: the seeds are the same for all that is compared, so that runs are paired. Leave seed out; "
            "--seeds says how many there are."
        )
    if setting in _SHARED:
        raise UserError(f"{where}: {setting} is the same for all that is compared. Set it for all with --set.")
    if setting in _OF_EACH_RUN:
        raise UserError(
            f"{where}: an experiment trains each run with {setting}={_OF_EACH_RUN[setting]}, so nothing would differ. "
            f"Leave {setting} out."
        )


def tokens(config: TrainConfig) -> int:
    """Return the tokens that a run reads."""
    return config.max_steps * config.tokens_per_step


def at_horizon(config: TrainConfig, share: float, seed: int, out: Path) -> TrainConfig:
    """Return the settings of one run: its seed, its folder, and a share of the steps, over which
    the whole schedule goes.
    """
    return replace(
        config,
        seed=seed,
        out=str(out),
        max_steps=max(1, round(config.max_steps * share)),
        warmup_steps=round(config.warmup_steps * share),
        **_OF_EACH_RUN,
    )
