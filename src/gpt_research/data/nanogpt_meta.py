"""Reads the characters of nanoGPT's `meta.pkl`, the vocabulary beside its character-level data.

The file is a pickle, and opening a pickle can run any code. So it is never opened as one: this
module goes through its operations itself, and knows those that make dictionaries, strings and whole
numbers. Any other operation is refused.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError

META = "meta.pkl"
LARGEST_FILE = 64 << 20
"""Bytes; the file of all characters of Unicode has half of it."""

_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
"""Operations that put a number or a string on the stack, which is their argument."""
_NOTHING = {"PROTO", "FRAME"}
_STORE, _FETCH = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_MARK = object()


def read_characters(path: Path) -> list[str]:
    """Return the characters of a `meta.pkl` by their ids, from 0 on.

    Raises:
        UserError: the file holds anything but dictionaries, strings and whole numbers, or does not
            give each id a character.
    """
    meta = read_plain_pickle(path)
    characters = meta.get("itos") if isinstance(meta, dict) else None
    if not isinstance(characters, dict) or not characters:
        raise _refused(path, 'it has no "itos", a dictionary from ids to characters')
    size = len(characters)
    if set(characters) != set(range(size)):
        raise _refused(path, f'the ids of its "itos", {size:,} of them, are not the numbers from 0 on')
    wrong = next((c for c in characters.values() if not isinstance(c, str) or len(c) != 1), None)
    if wrong is not None:
        raise _refused(path, f"its token {wrong!r} is not one character")
    if meta.get("vocab_size", size) != size:
        raise _refused(path, f'its vocab_size is {meta["vocab_size"]!r}, but its "itos" has {size:,} ids')
    if "stoi" in meta and meta["stoi"] != {character: index for index, character in characters.items()}:
        raise _refused(path, 'its "stoi" and its "itos" contradict each other')
    return [characters[index] for index in range(size)]


def read_plain_pickle(path: Path) -> Any:
    """Return the value of a pickle that is made of dictionaries, strings and whole numbers alone.

    Raises:
        UserError: the file cannot be read, is damaged, or holds anything else.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise _refused(path, f"it has more than {LARGEST_FILE >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        return _value(path, data)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        # `genops` raises ValueError for bytes that are no pickle; the others come of operations
        # that lack what they work on.
        raise _refused(path, "it is damaged") from None


def _value(path: Path, data: bytes) -> Any:
    """Carry out the operations of a pickle on a stack of our own."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for operation, argument, _ in pickletools.genops(data):
        name = operation.name
        if name in _VALUES:
            # `genops` gives True and False for two old spellings of numbers.
            stack.append(int(argument) if isinstance(argument, int) else argument)
        elif name in _NOTHING:
            pass
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("SETITEMS", "DICT"):
            pairs = _pop_to_mark(stack)
            if name == "DICT":
                stack.append({})
            stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _STORE:
            memo[argument] = stack[-1]
        elif name in _FETCH:
            stack.append(memo[argument])
        elif name == "STOP":
            (value,) = stack
            return value
        else:
            raise _refused(
                path, f"it holds more than dictionaries, strings and whole numbers (the pickle operation {name})"
            )
    raise ValueError("no STOP")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    """Remove the newest mark and all above it; return what was above it."""
    popped = []
    while (value := stack.pop()) is not _MARK:
        popped.append(value)
    return popped[::-1]


def _refused(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be used as the vocabulary of the data beside it: {why}. It is read without opening it as a "
        "pickle, which could run code. If the tokens are GPT-2's, move the file away; if not, preprocess the text "
        "again with --tokenizer char."
    )
