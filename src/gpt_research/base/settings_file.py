"""Finds the mistakes in a settings file before its values are used, each with its line."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from gpt_research.base.errors import UserError
from gpt_research.base.setting_names import field_names, unknown


def lines_of_keys(path: Path, config_class: type) -> dict[str, int]:
    """Return the line of each setting in a YAML file, by name, such as `model.n_layer`.

    Raises:
        UserError: the file cannot be read or is not YAML; a key is no setting of the class, stands
            twice or has no value. The message begins with file and line.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: this is not YAML: {error.problem or error}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: this is not YAML: {error}") from None
    if root is None:
        raise UserError(f"{path} holds no settings. Write lines such as `NAME: VALUE`, or name another file.")
    lines: dict[str, int] = {}
    _walk(root, config_class, "", str(path), field_names(config_class), lines)
    return lines


def _walk(node: Any, config_class: type, prefix: str, path: str, known: list[str], lines: dict[str, int]) -> None:
    """Check the keys of a mapping and of those within it; add their lines to `lines`."""
    group = prefix.rstrip(".")
    if not isinstance(node, yaml.MappingNode):
        if not group:
            raise UserError(f"{path}:{_line(node)}: this is no setting. Write lines such as `{known[0]}: VALUE`.")
        inner = next(name for name in known if name.startswith(prefix)).removeprefix(prefix)
        raise UserError(
            f"{path}:{_line(node)}: {group} is a group of settings. Write `{group}:` and below it, indented, "
            f"`{inner}: VALUE`."
        )
    kinds = get_type_hints(config_class)
    for key, value in node.value:
        if key.value == "<<":  # YAML's merge of another mapping
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                _walk(merged, config_class, prefix, path, known, {})
            continue
        name, where = f"{prefix}{key.value}", f"{path}:{_line(key)}"
        if name in lines:
            raise UserError(f"{where}: {name} stands twice, first in line {lines[name]}. Remove one of the two.")
        first, _, rest = str(key.value).partition(".")
        kind = kinds.get(first)
        if rest and dataclasses.is_dataclass(kind):
            kind = get_type_hints(kind).get(rest)
        if rest and get_origin(kind) is dict:
            raise UserError(f"{where}: write `{prefix}{first}:` and below it, indented, `{rest}: VALUE`.")
        if kind is None:
            raise UserError(f"{where}: {unknown(name, known)}")
        lines[name] = _line(key)
        if dataclasses.is_dataclass(kind):
            _walk(value, kind, f"{name}.", path, known, lines)  # type: ignore[arg-type]
        elif _is_empty(value) and not _may_be_empty(kind):
            raise UserError(f"{where}: {name} has no value. Write one behind it, or remove the line.")
        elif isinstance(value, yaml.MappingNode):
            for inner, number in value.value:
                if _is_empty(number):
                    raise UserError(f"{path}:{_line(inner)}: {name}.{inner.value} has no value.")
        elif isinstance(value, yaml.SequenceNode):
            for item in value.value:
                if _is_empty(item):
                    raise UserError(f"{path}:{_line(item)}: an entry of {name} is empty. Remove it.")


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _is_empty(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _may_be_empty(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)
