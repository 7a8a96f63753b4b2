"""The settings that `train` takes from a run, by `--resume RUN` or `--init_from RUN`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.setting_names import field_names
from gpt_research.base.settings import by_flag, to_dict


def checkpoint_of_run(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that replace a `RUN@STEP` of `resume` or `init_from`: the run and, as
    `step`, its checkpoint. Empty if neither is one.

    Args:
        given: the settings that a flag or file gives, by flag name.

    Raises:
        UserError: `step` names another checkpoint.
    """
    from gpt_research.run_reference import run_reference

    for name in ("resume", "init_from"):
        named = str(given.get(name) or "")
        reference = run_reference(named, str(given.get("step") or ""))
        if "@" in named and named != str(reference.folder):
            return {name: str(reference.folder), "step": reference.step}
    return {}


def settings_of_run(settings_class: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a run gives, by flag name, which hold unless a flag or file says
    otherwise: all of the run that `resume` names, or the model of the run that `init_from` names.

    Args:
        given: the settings that a flag or file gives, by flag name.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    of_run = getattr(settings_class, "settings_of_run", None)  # a command with settings of its own
    if of_run is not None:
        found: dict[str, Any] = of_run(given)
        return found
    if "resume" not in field_names(settings_class):
        return {}
    resume, source = str(given.get("resume") or ""), str(given.get("init_from") or "")
    if resume not in ("", "auto", "never"):
        from gpt_research.checkpoint.files import find_step, saved_steps
        from gpt_research.settings_history import config_to_go_on, run_config

        folder, step = Path(resume), str(given.get("step") or "newest")
        _refuse_fine_tuned(folder)
        named = step == "best" or step.isdecimal()
        config = (
            config_to_go_on(folder, find_step(folder, step), saved_steps(folder)[-1]) if named else run_config(folder)
        )
        return {**by_flag(to_dict(config)), "resume": resume, "out": resume}
    if source:
        from gpt_research.settings_history import run_config

        if not (Path(source) / "config.yaml").is_file():
            raise UserError(
                f"init_from is {source!r}, which is no run folder. Name one that training or an import wrote."
            )
        # A run that has begun has the model already, and its source may be gone.
        own = Path(given.get("out") or settings_class().out) / "config.yaml"
        model = run_config(own.parent if own.is_file() else Path(source)).model
        # The tokenizer of the data decides the vocabulary.
        return {f"model.{name}": value for name, value in to_dict(model).items() if name != "vocab_size"}
    return {}


def _refuse_fine_tuned(run: Path) -> None:
    """Refuse to go on with a fine-tuned run as if it was pretrained.

    Raises:
        UserError: it is one.
    """
    from gpt_research.base import hints
    from gpt_research.run_reference import RunReference
    from gpt_research.training.inspect_run import training_of

    if (run / "config.yaml").is_file() and "finetune" in training_of(RunReference(run)).lineage:
        raise UserError(
            f"{run} was fine-tuned, so it does not read a data set. Go on with it by "
            f"{hints.command('finetune', '--resume', run)}"
        )
