"""Flags and YAML files from settings classes: each field of a dataclass is a flag and a key.

`parser_for` makes the flags of a class, `read_yaml` and `write_yaml` its files. The error for a
wrong setting is one sentence with the place, the value, the rule and the closest known name.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from gpt_research.base.errors import UserError, closest
from gpt_research.base.files import write_text

Config = TypeVar("Config")

_A_LIST = 'a list, in a file one entry a line after "- "'
PRESETS = Path(__file__).parents[1] / "presets"
"""Folder of the config files that come with the package."""


def to_dict(config: Any) -> dict[str, Any]:
    """Return a settings object as nested dictionaries, the form that YAML and JSON hold."""
    return dataclasses.asdict(config)


def write_yaml(config: Any, path: Path) -> None:
    """Write every field, defaults too, so that the file alone is enough to repeat the run."""
    write_text(path, yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


def read_yaml(config_class: type[Config], path: Path) -> Config:
    """Read a settings file; fields that it does not name get their defaults.

    Raises:
        UserError: no file, broken YAML, an unknown key, a wrong type or a broken rule.
    """
    if not path.is_file():
        raise UserError(f"There is no config file {path}.")
    parser = parser_for(config_class)
    try:
        fields = vars(parser.instantiate(parser.parse_args(["--config", str(path)])))
        fields.pop("config")
        return config_class(**fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # jsonargparse raises many kinds, all of them about this file
        raise parse_error(error, config_class, str(path)) from None


def from_dict(config_class: type[Config], values: dict[str, Any], where: str) -> Config:
    """Return the settings that `to_dict` made a dictionary of; missing fields get their defaults.

    Args:
        where: the place of the dictionary, for errors.

    Raises:
        UserError: an unknown key, a wrong type or a broken rule.
    """
    parser = parser_for(config_class)
    try:
        fields = vars(parser.instantiate(parser.parse_object(values)))
        fields.pop("config", None)
        return config_class(**fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # jsonargparse raises many kinds, all of them about these values
        raise parse_error(error, config_class, where) from None


def find_config(name: str) -> Path:
    """Return the config file of a path or of a preset's name.

    A clone has the preset `demo` at `configs/demo.yaml`, so that path names the preset too, in any
    folder.

    Raises:
        UserError: there is neither such a file nor such a preset.
    """
    if Path(name).is_file():
        return Path(name)
    presets = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
    preset = name.removeprefix("configs/").removesuffix(".yaml")
    if preset in presets and name in (preset, f"configs/{preset}.yaml"):
        return presets[preset]
    raise UserError(f"There is no config file {name}.{closest(preset, presets)} Presets: {', '.join(presets)}.")


def parser_for(config_class: type, prog: str = "gpt-research", positional: str = "", *, many: bool = False) -> Any:
    """Return a jsonargparse parser with one flag for each field of a settings class; it raises
    instead of exiting.

    Args:
        positional: the field that is given without a flag, if any.
        many: the positional field takes any number of values.
    """
    from jsonargparse import ArgumentParser, set_parsing_settings

    # The docstring of a field becomes the help text of its flag.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=prog, exit_on_error=False, description=config_class.__doc__)
    parser.add_argument(
        "--config", action="config", help="YAML file with any of these settings, or the name of a preset."
    )
    if positional:
        kind = {"nargs": "*", "default": []} if many else {"nargs": "?", "default": ""}
        parser.add_argument(positional, **kind)
    parser.add_class_arguments(config_class, skip={positional} if positional else set())
    return parser


def field_names(config_class: type, prefix: str = "", *, nested: bool = True) -> list[str]:
    """Return the names of all fields of a settings class; a nested one is `model.n_layer`."""
    names = []
    for name, kind in get_type_hints(config_class).items():
        if nested and dataclasses.is_dataclass(kind):
            names += field_names(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            names.append(prefix + name)
    return names


def parse_error(error: Exception, config_class: type, where: str) -> UserError:
    """Turn an error of jsonargparse into one sentence about the setting, with the closest known
    name.
    """
    # jsonargparse has no error classes for these cases, so its messages are matched. A message that
    # matches nothing is passed on as it is.
    text = " ".join(str(error).split())
    known = field_names(config_class)
    unknown = re.search(r"unrecognized arguments: (\S+)|(?:accept option|Key|key) ['\"]([\w.]+)['\"]", text)
    if unknown and "Expected" not in text and "does not exist" not in text:
        name = (unknown[1] or unknown[2]).lstrip("-").split("=")[0]
        return UserError(f'{where}: unknown setting "{name}".{closest(name, known)}')
    wrong = re.search(
        r'Parser key "([\w.]+)": (?:Problem with given .*?: )?Expected (?:a|an) (.+?)\. Got value: (.*)', text
    )
    if wrong:
        kind = re.sub(r"<class '(\w+)'>", r"\1", wrong[2])
        choices = ", ".join(re.findall(r"'([^']*)'", kind)) if "Literal[" in kind else ""
        rule = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": _A_LIST}.get(
            kind, f"of type {kind}"
        )
        rule = f"one of {choices}" if choices else rule
        return UserError(f"{where}: {wrong[1]} is {wrong[3]!r}, but it must be {rule}.")
    return UserError(f"{where}: {text}")
