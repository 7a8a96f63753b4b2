"""Flags and YAML files from settings classes: each field of a dataclass is a flag and a key.

`parser_for` makes the flags of a class, `read_yaml` and `write_yaml` its files. The error for a
wrong setting is one sentence with the place, the value, the rule and the closest known name.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

import yaml

from gpt_research.base.errors import UserError, closest
from gpt_research.base.files import write_text
from gpt_research.base.setting_names import field_kinds, field_names, unknown
from gpt_research.base.settings_file import lines_of_keys

Config = TypeVar("Config")

PRESETS = Path(__file__).parents[1] / "presets"
"""Folder of the config files that come with the package."""
ENTRY = "an entry of "
"""Stands before the name of a dictionary or list in a message about one of its entries."""


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
    values, lines = read_values(path, config_class)
    try:
        return config_class(**vars(_reader_of(cast(type, config_class)).instantiate(values)))
    except UserError as error:
        raise UserError(f"{place(str(error), path, lines)}: {error}") from None


def read_values(path: Path, config_class: type) -> tuple[Any, dict[str, int]]:
    """Return the values of a settings file, with defaults for the others, and the line of each
    name in it. The rules of the class are not checked yet.

    Raises:
        UserError: broken YAML, an unknown key, one without a value, or a wrong type.
    """
    lines = lines_of_keys(path, config_class)
    try:
        # Given a path, jsonargparse would change the working directory of all threads for a while.
        values = _reader_of(config_class).parse_string(path.read_text(encoding="utf-8"))
    except Exception as error:  # jsonargparse raises many kinds, all of them about this file
        mistake = parse_error(error, config_class)
        raise UserError(f"{place(str(mistake), path, lines)}: {mistake}") from None
    values.pop("config", None)
    return values, lines


def place(message: str, path: Path, lines: Mapping[str, int]) -> str:
    """Return file and line of the setting with which a message begins; the file if it is not in
    it.
    """
    name = message.removeprefix(ENTRY).partition(" ")[0]
    while name not in lines and "." in name:  # an entry of a dictionary
        name = name.rpartition(".")[0]
    return f"{path}:{lines[name]}" if name in lines else str(path)


def by_flag(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the nested dictionary of `to_dict` with the names of flags, such as model.n_layer."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        # The weights of corpora are one setting, because two runs may name different corpora. The
        # options of an optimizer are another one.
        nested = isinstance(value, Mapping) and name not in ("weights", "options")
        flat |= by_flag(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def from_dict(config_class: type[Config], values: dict[str, Any], where: str) -> Config:
    """Return the settings that `to_dict` made a dictionary of; missing fields get their defaults.

    Args:
        where: the place of the dictionary, for errors.

    Raises:
        UserError: an unknown key, a wrong type or a broken rule.
    """
    parser = _reader_of(cast(type, config_class))
    try:
        fields = vars(parser.instantiate(parser.parse_object(values)))
        fields.pop("config", None)
        return config_class(**fields)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # jsonargparse raises many kinds, all of them about these values
        raise UserError(f"{where}: {parse_error(error, config_class)}") from None


def find_config(name: str) -> Path:
    """Return the config file of a path or of a preset's name.

    A clone has the preset `demo` at `configs/demo.yaml`, so that path names the preset too, in any
    folder.

    Raises:
        UserError: there is neither such a file nor such a preset.
    """
    if Path(name).is_file():
        return Path(name)
    presets = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"), key=lambda path: path.stem)}
    preset = name.removeprefix("configs/").removesuffix(".yaml")
    if preset in presets and name in (preset, f"configs/{preset}.yaml"):
        return presets[preset]
    raise UserError(f"There is no config file {name}.{closest(preset, presets)} Presets: {', '.join(presets)}.")


@functools.cache
def _reader_of(config_class: type) -> Any:
    """Return a parser that nobody changes, because making one takes a twelfth of a second."""
    return parser_for(config_class)


def parser_for(config_class: type) -> Any:
    """Return a jsonargparse parser with one flag for each field of a settings class; it raises
    instead of exiting.
    """
    from jsonargparse import ArgumentParser, set_parsing_settings

    # The docstring of a field becomes the help text of its flag.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(config_class)
    return parser


def parse_error(error: Exception, config_class: type) -> UserError:
    """Turn an error of jsonargparse into one sentence about the setting, with the closest known
    name.
    """
    # jsonargparse has no error classes for these cases, so its messages are matched. A message that
    # matches nothing is passed on as it is.
    text = " ".join(str(error).split())
    named = re.search(
        r"unrecognized arguments: (\S+)|Option ['\"]([\w.-]+)['\"] is not accepted|"
        r"(?:accept option|Key|key) ['\"]([\w.]+)['\"]",
        text,
    )
    if named and "Expected" not in text and "does not exist" not in text:
        name = next(filter(None, named.groups())).lstrip("-").split("=")[0]
        return UserError(unknown(name, field_names(config_class)))
    lacking = re.search(r"argument --([\w.]+): expected one argument", text)
    if lacking:
        return UserError(f"{lacking[1]} has no value. Write one behind --{lacking[1]}.")
    wrong = re.search(r'Parser key "([\w.]+)": (.*)(?:Got|Given) value: (.*)', text)
    kinds = dict(field_kinds(config_class))
    if wrong and wrong[1] in kinds:
        name, expected, value = wrong.groups()
        kind = kinds[name]
        if get_origin(kind) in (dict, list) and f"'{get_origin(kind).__name__}'" not in expected:
            name, kind = f"{ENTRY}{name}", get_args(kind)[-1]
        return UserError(f"{name} is {value!r}, but it must be {_rule(kind, name)}.")
    return UserError(text)


def _rule(kind: Any, name: str) -> str:
    """Return what a value of a type must be, in words."""
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text (within quotation marks in a file)",
    }
    if kind in words:
        return words[kind]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is dict:
        return f"one value for each name, such as --{name}.NAME {'0.5' if get_args(kind)[-1] is float else 'VALUE'}"
    if get_origin(kind) is list:
        return "a list: one entry a line, with a dash before it"
    parts = [part for part in get_args(kind) if part is not type(None)]  # a union
    return " or ".join(_rule(part, name).removeprefix("one of ") for part in parts) or str(kind)
