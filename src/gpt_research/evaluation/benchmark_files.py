"""Find and read the file of a benchmark, in the folder `--benchmarks DIR` or on the hub.

    DIR/wikitext2/*.raw      DIR/lambada/*.jsonl      DIR/hellaswag/*.jsonl or *.txt

Each file may also be packed as .gz or .bz2. A file with the wrong number of rows is refused,
because half a benchmark gives a score that looks like a score of the whole. This module knows
nothing about what a row means: the task of the benchmark knows that.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256

PACKED = (".gz", ".bz2")


@dataclass(frozen=True)
class BenchmarkFiles:
    """Where the rows of a benchmark are, and how many there must be."""

    title: str
    """The benchmark's name in messages, such as "LAMBADA's test set"."""
    patterns: tuple[str, ...]
    """Patterns of the file's name, such as *.jsonl; .gz or .bz2 may follow the name."""
    rows: int | None = None
    """Number of rows of the whole benchmark; None accepts any number."""
    hub: tuple[str, str | None, str] | None = None
    """Name, config and split on the hub; None if the benchmark is not there."""

    def match(self, path: Path) -> bool:
        """Return True if the file's name fits one of the patterns, packed or not."""
        return any(unpacked_name(path).match(pattern) for pattern in self.patterns)

    def check_rows(self, where: str, count: int) -> None:
        """Check that a source holds the whole benchmark.

        Raises:
            UserError: the number of rows is wrong; the message names the source and both numbers.
        """
        if self.rows is not None and count != self.rows:
            reason = "it was cut short" if count < self.rows else "it is something else"
            raise UserError(
                f"{where} holds {count:,} rows, but {self.title} has {self.rows:,}: {reason}. "
                "Fetch it again. To measure a part, keep the whole file and use --limit."
            )


@dataclass(frozen=True)
class Source:
    """The rows of a benchmark, and the file or data set that holds them."""

    where: str
    """The file or data set as messages name it: a path, or hub:name."""
    rows: Sequence[Any]
    """Lines of a text file without line ends, or dictionaries: the rows of .jsonl or of the hub."""
    facts: dict[str, str]
    """For the result file: path and SHA-256, or name, split and fingerprint on the hub."""


def unpacked_name(path: Path) -> Path:
    """Return a file's path without the suffix of its packing."""
    return path.with_suffix("") if path.suffix in PACKED else path


def find(name: str, files: BenchmarkFiles, folder: str) -> Source:
    """Return the rows of the benchmark `name` from `folder`, or from the hub if `folder` is "".

    Raises:
        UserError: there is no file or more than one, it is damaged, or the hub cannot be reached.
    """
    return read_file(_find_file(name, files, Path(folder))) if folder else _from_hub(name, files)


def _find_file(name: str, files: BenchmarkFiles, folder: Path) -> Path:
    paths = sorted(path for path in (folder / name).glob("*") if path.is_file() and files.match(path))
    if len(paths) == 1:
        return paths[0]
    if paths:
        names = ", ".join(path.name for path in paths)
        raise UserError(f"{folder / name} holds several files ({names}). Keep only {files.title} there.")
    known = " or ".join(files.patterns)
    otherwise = ", or leave --benchmarks out to fetch it from the hub" if files.hub else ""
    raise UserError(
        f"There is no {folder / name}/{known} with {files.title}. Put it there (it may be .gz or .bz2), "
        f"{'' if otherwise else 'or '}leave {name} out of --tasks{otherwise}."
    )


def read_file(path: Path, *, may_lack_last_end: bool = False) -> Source:
    """Return the rows of one file.

    Args:
        may_lack_last_end: accept a text whose last line has no line end. By default such a file
            counts as cut short.

    Raises:
        UserError: the file cannot be read or unpacked, was cut short, or a line is not JSON.
    """
    try:
        text = _unpacked(path).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged or was cut short. Fetch it again.") from None
    is_json = unpacked_name(path).suffix == ".jsonl"
    if not (is_json or may_lack_last_end or text.endswith("\n")):
        raise UserError(f"{path} ends in the middle of a line: it was cut short. Fetch it again.")
    lines = text.removesuffix("\n").split("\n")
    rows = [_json_row(path, number, line) for number, line in enumerate(lines, 1)] if is_json else lines
    return Source(str(path), rows, {"file": str(path), "sha256": file_sha256(path)})


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)(data)


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number} is not JSON ({error}): it was cut short or changed.") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number} is not a JSON object. Fetch the file again.")
    return row


def _from_hub(name: str, files: BenchmarkFiles) -> Source:
    if files.hub is None:
        raise UserError(f"{files.title} is not on the hub. Name a folder that holds {name}/ with --benchmarks.")
    address, config, split = files.hub
    try:
        import datasets
    except ModuleNotFoundError:
        raise UserError(
            f"Fetching hub:{address} needs the package datasets. Name a folder with --benchmarks, or run: "
            f"{hints.install('hub', 'datasets')}"
        ) from None
    try:
        rows = datasets.load_dataset(address, config, split=split)
    except Exception as error:
        # The library raises a dozen kinds of errors, and all of them are about this address.
        reason = str(error).strip().rstrip(".")[:300]
        raise UserError(f"Cannot fetch hub:{address} ({reason}). Name a folder with --benchmarks.") from None
    facts = {"hub": address, "split": split, "fingerprint": str(getattr(rows, "_fingerprint", ""))}
    return Source(f"hub:{address}", [dict(row) for row in rows], facts)


def text_of(source: Source, number: int, name: str) -> str:
    """Return the text in a field of one row.

    Raises:
        UserError: the field is missing or not a text; the message names the source and the row.
    """
    value = source.rows[number].get(name)
    if not isinstance(value, str):
        what = "is missing" if value is None else f"is {value!r}"
        raise UserError(f'{source.where}, row {number + 1}: "{name}" {what}, but it must be a text.')
    return value


def every_text(source: Source) -> Iterator[str]:
    """Yield each line of a text file, and of a JSON row its field `text`, else all its texts."""
    for row in source.rows:
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            yield row["text"]
        else:
            yield from _texts_in(row)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(part)


def digest(items: Sequence[Any]) -> str:
    """Return the SHA-256 of items, which does not depend on the file that they were read from.

    Items are JSON values or dataclasses; a dataclass counts as the list of its fields.
    """
    # A text from JSON may hold half of a surrogate pair, which strict UTF-8 cannot encode.
    text = json.dumps(items, ensure_ascii=False, default=astuple)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
