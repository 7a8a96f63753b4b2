"""Where a benchmark's rows come from: a file of `--benchmarks DIR`, or the Hugging Face hub.

    DIR/wikitext2/*.raw  DIR/lambada/*.jsonl  DIR/hellaswag/*.jsonl or *.txt      each also as .gz or .bz2

A benchmark is known by its number of rows; a file of another number was cut short or is something else. What is
in a row is the business of the benchmark's own module.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256


@dataclass(frozen=True)
class Benchmark:
    """What is known of a benchmark before its file is read."""

    title: str
    patterns: tuple[str, ...]
    rows: int
    """Rows of the whole benchmark."""
    hub: tuple[str, str | None, str]
    """Name, config and split on the hub."""


BENCHMARKS = {
    "wikitext2": Benchmark(
        "WikiText-2's test set", ("*.raw",), 4358, ("Salesforce/wikitext", "wikitext-2-raw-v1", "test")
    ),
    "lambada": Benchmark(
        "LAMBADA's test set (OpenAI's)", ("*.jsonl",), 5153, ("EleutherAI/lambada_openai", "default", "test")
    ),
    "hellaswag": Benchmark(
        "HellaSwag's validation set", ("*.jsonl", "*.txt"), 10042, ("Rowan/hellaswag", None, "validation")
    ),
}


@dataclass(frozen=True)
class Source:
    """Rows and where they are from."""

    where: str
    """For messages: a path, or hub:name."""
    rows: Sequence[Any]
    """Lines of a text file without their ends, or one dictionary a row of .jsonl or the hub."""
    facts: dict[str, str]
    """For the result: path and SHA-256, or name and fingerprint on the hub."""


def find(task: str, folder: str) -> Source:
    """Return a benchmark's rows from `folder`, or from the hub where that is empty.

    Raises:
        UserError: no file, several, one that cannot be read or was cut short, or no hub.
    """
    return read_file(task, _find_file(task, Path(folder))) if folder else _from_hub(task)


def check_rows(task: str, where: str, found: int) -> None:
    """Refuse a benchmark of another size.

    Raises:
        UserError: naming the file and both numbers.
    """
    benchmark = BENCHMARKS[task]
    if found != benchmark.rows:
        reason = "it was cut short" if found < benchmark.rows else "it is something else"
        raise UserError(
            f"{where} holds {found:,} rows, but {benchmark.title} has {benchmark.rows:,}: {reason}. "
            "Fetch it again; --limit takes a part of the whole."
        )


def _find_file(task: str, folder: Path) -> Path:
    benchmark = BENCHMARKS[task]
    kinds = [pattern + packed for pattern in benchmark.patterns for packed in ("", ".gz", ".bz2")]
    found = sorted({path for kind in kinds for path in (folder / task).glob(kind) if path.is_file()})
    if len(found) == 1:
        return found[0]
    known = " or ".join(benchmark.patterns)
    if found:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{folder / task} holds several files ({names}). Keep only {benchmark.title} there.")
    raise UserError(
        f"There is no {folder / task}/{known} with {benchmark.title}. Put it there (it may be .gz or .bz2), leave "
        f"{task} out of --tasks, or leave --benchmarks out to fetch it from the hub."
    )


def read_file(task: str, path: Path) -> Source:
    """Return the rows of one file.

    Raises:
        UserError: it cannot be read, unpacked or decoded, its last line has no end, or a line is not JSON.
    """
    try:
        text = _unpacked(path).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged or was cut short. Fetch it again.") from None
    is_json = ".jsonl" in path.suffixes
    if not is_json and not text.endswith("\n"):
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
        raise UserError(f"{path}, line {number} is no JSON object. Fetch the file again.")
    return row


def _from_hub(task: str) -> Source:
    name, config, split = BENCHMARKS[task].hub
    try:
        import datasets
    except ModuleNotFoundError:
        raise UserError(
            f'Fetching hub:{name} needs the package datasets. Run pip install "gpt-research[hub]", or name a folder '
            "with --benchmarks."
        ) from None
    try:
        found = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the library raises a dozen kinds, all of them about this address
        reason = str(error).strip().rstrip(".")[:300]
        raise UserError(f"Cannot fetch hub:{name} ({reason}). Name a folder with --benchmarks.") from None
    fingerprint = str(getattr(found, "_fingerprint", ""))
    return Source(
        f"hub:{name}", [dict(row) for row in found], {"hub": name, "split": split, "fingerprint": fingerprint}
    )


def text_of(source: Source, number: int, name: str) -> str:
    """Return a text field of one row.

    Raises:
        UserError: it is missing or no text, naming the place.
    """
    value = source.rows[number].get(name)
    if not isinstance(value, str):
        what = "is missing" if value is None else f"is {value!r}"
        raise UserError(f'{source.where}, row {number + 1}: "{name}" {what}, but it must be a text.')
    return value


def digest(items: Sequence[Any]) -> str:
    """Return the SHA-256 of parsed items, the same wherever they came from."""
    return hashlib.sha256(json.dumps(items, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
