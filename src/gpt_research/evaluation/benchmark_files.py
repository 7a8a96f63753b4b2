"""Find and read the files of a benchmark, in the folder `--benchmarks DIR` or on the hub.

    DIR/wikitext2/*.raw      DIR/lambada/*.jsonl      DIR/hellaswag/*.jsonl or *.txt
    DIR/blimp/*.jsonl        DIR/arc_easy/*.jsonl     DIR/sciq/*.json or *.jsonl
    DIR/piqa/valid.jsonl with valid-labels.lst

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
from dataclasses import astuple
from pathlib import Path
from typing import Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.files import file_sha256
from gpt_research.evaluation.task import BenchmarkFiles, Source, unpacked_name


class MissingBenchmarkError(UserError):
    """A benchmark is not here and cannot be fetched. A suite goes on without it and says so."""


def find(name: str, files: BenchmarkFiles, folder: str) -> Source:
    """Return the rows of the benchmark `name` from `folder`, or from the hub if `folder` is "".

    Raises:
        UserError: there is no file or more than one, it is damaged, or the hub cannot be reached.
    """
    if not folder:
        return _from_hub(name, files)
    paths = _find_files(name, files, Path(folder))
    if files.many:
        return _together([read_file(path) for path in paths], Path(folder) / name)
    source = read_file(paths[0])
    return _with_labels(source, paths[0].parent / files.labels) if files.labels else source


def paths_in(name: str, files: BenchmarkFiles, folder: str) -> list[Path]:
    """Return the files of the benchmark `name` in a folder; none if `folder` is ""."""
    if not folder:
        return []
    found = (Path(folder) / files.folder).rglob("*") if files.folder else (Path(folder) / name).glob("*")
    return sorted(path for path in found if path.is_file() and files.match(path))


def _together(sources: Sequence[Source], folder: Path) -> Source:
    """Return the rows of all files, of which one file's rows follow another's."""
    sha256 = {Path(source.where).name: source.facts["sha256"] for source in sources}
    facts = {"file": str(folder), "sha256": digest(sha256), "files": sha256}
    return Source(str(folder), [row for source in sources for row in source.rows], facts)


def _with_labels(source: Source, labels: Path) -> Source:
    if not labels.is_file():
        raise UserError(f"{labels} is missing. It holds the label of each row of {source.where}, a line each.")
    lines = read_file(labels, may_lack_last_end=True)
    if len(lines.rows) != len(source.rows):
        raise UserError(
            f"{labels} has {len(lines.rows):,} lines, but {source.where} has {len(source.rows):,} rows. The two must "
            "be of the same split."
        )
    rows = [{**row, "label": label.strip()} for row, label in zip(source.rows, lines.rows, strict=True)]
    return Source(source.where, rows, {**source.facts, "labels_sha256": lines.facts["sha256"]})


def _find_files(name: str, files: BenchmarkFiles, folder: Path) -> list[Path]:
    paths = paths_in(name, files, str(folder))
    if len(paths) == 1 or (paths and files.many):
        return paths
    if paths:
        names = ", ".join(path.name for path in paths)
        raise UserError(f"{folder / name} holds several files ({names}). Keep only {files.title} there.")
    known = " or ".join(files.patterns)
    otherwise = ", or leave --benchmarks out to fetch it from the hub" if files.hub else ""
    raise MissingBenchmarkError(
        f"There is no {folder / (files.folder or name)}/{known} with {files.title}. "
        f"Put it there (it may be .gz or .bz2), {'' if otherwise else 'or '}leave {name} out of --tasks{otherwise}."
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
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): it is damaged or was cut short. Fetch it again.") from None
    if not text.strip("\n"):
        raise UserError(f"{path} is empty. Fetch it again.")
    if unpacked_name(path).suffix == ".json":
        return Source(str(path), _json_list(path, text), {"file": str(path), "sha256": file_sha256(path)})
    is_json = unpacked_name(path).suffix == ".jsonl"
    if not (is_json or may_lack_last_end or text.endswith("\n")):
        raise UserError(f"{path} ends in the middle of a line: it was cut short. Fetch it again.")
    lines = text.removesuffix("\n").split("\n")
    rows = [_json_row(path, number, line) for number, line in enumerate(lines, 1)] if is_json else lines
    return Source(str(path), rows, {"file": str(path), "sha256": file_sha256(path)})


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    return {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)(data)


def _json_list(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): it was cut short or changed. Fetch it again.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not a JSON list of objects. Fetch the file again.")
    return rows


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
        place = files.folder or name
        raise MissingBenchmarkError(
            f"{files.title} is not on the hub. Name a folder that holds {place}/ with --benchmarks."
        )
    address, config, split = files.hub
    try:
        import datasets
    except ModuleNotFoundError:
        raise MissingBenchmarkError(
            f"Fetching hub:{address} needs the package datasets. Name a folder with --benchmarks, or run: "
            f"{hints.install('hub', 'datasets')}"
        ) from None
    try:
        rows = datasets.load_dataset(address, config, split=split)
    except Exception as error:
        # The library raises a dozen kinds of errors, and all of them are about this address.
        reason = str(error).strip().rstrip(".")[:300]
        raise MissingBenchmarkError(
            f"Cannot fetch hub:{address} ({reason}). Name a folder with --benchmarks."
        ) from None
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


def digest(items: Any) -> str:
    """Return the SHA-256 of items, which does not depend on the file that they were read from.

    Items are JSON values or dataclasses; a dataclass counts as the list of its fields.
    """
    # A text from JSON may hold half of a surrogate pair, which strict UTF-8 cannot encode.
    text = json.dumps(items, ensure_ascii=False, default=astuple)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
