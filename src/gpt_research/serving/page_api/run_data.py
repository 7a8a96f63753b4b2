"""A run's settings, and its data set as it is now: there, gone, or another one than the run was
trained on; and its documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.config import TrainConfig
from gpt_research.data.documents import Document, Documents
from gpt_research.data.lineage import Lineage
from gpt_research.data.search import Pattern
from gpt_research.data.shards import Manifest, data_fingerprint, read_manifests
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.serving.errors import ApiError
from gpt_research.settings_history import Period, periods, run_config

BEGINNING = 40
"""Tokens of a document that a list shows."""


@dataclass(frozen=True)
class RunData:
    """What is left of the data set that a run read last."""

    folder: Path
    state: str
    """ok, missing, differs (from what the run read), foreign (prepared by another program), or
    damaged."""
    why: str = ""
    """A sentence, unless the state is ok."""
    corpora: Mapping[str, tuple[Path, Manifest]] = field(default_factory=dict)
    """Folder and manifest of each corpus, if they can be read."""
    fingerprint: str = ""

    def require(self, *, steps: bool = False) -> None:
        """Check that documents can be shown, and with `steps` that the run read these very ones.

        Raises:
            ApiError: 404, they cannot.
        """
        if self.state == "ok" or (self.state == "differs" and not steps):
            return
        raise ApiError(404, self.why, param="run", code=f"data_{self.state}")


def newest_settings(run: Path) -> TrainConfig:
    """Return the newest settings of a run folder; they are read only if they changed.

    Raises:
        UserError: the folder is no run, or its settings are damaged.
    """
    return _settings(run, _changed([run / "config.yaml"]))


def last_period(run: Path) -> Period:
    """Return the last period of a run's settings; it is read only if it changed.

    Raises:
        UserError: the folder is no run, or its settings are damaged.
    """
    return _last_period(run, _changed([run / "config.yaml", run / "settings.jsonl"]))


def data_of(run: Path) -> RunData:
    """Return the data set of a run folder; only its manifests are read, and only if they changed.

    Raises:
        UserError: the folder is no run, or its settings are damaged.
    """
    period = last_period(run)
    folder = Path(period.config.data)
    described = [folder / "dataset.json", *folder.glob("*manifest.json"), *folder.glob("*/manifest.json")]
    changed = _changed(described)
    # A folder's time changes if a shard goes or comes back.
    homes = [(str(home), home.stat().st_mtime_ns) for home in _homes(folder, changed) if home.is_dir()]
    return _read(folder, period.data, (changed, *homes))


def _changed(files: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """Return when the files that are there were last written, and their sizes."""
    return tuple(
        (str(file), (seen := file.stat()).st_mtime_ns, seen.st_size) for file in sorted(files) if file.is_file()
    )


@lru_cache(maxsize=64)
def _settings(run: Path, changed: object) -> TrainConfig:
    return run_config(run)


@lru_cache(maxsize=64)
def _last_period(run: Path, changed: object) -> Period:
    return periods(run)[-1]


@lru_cache(maxsize=16)
def _homes(folder: Path, changed: object) -> tuple[Path, ...]:
    """Return the folders that hold shards; none if the manifests cannot be read."""
    try:
        corpora = read_manifests(folder).values()
    except UserError:
        return ()
    shards = [where / shard.path for where, manifest in corpora for each in manifest.splits.values() for shard in each]
    return tuple(sorted({shard.parent for shard in shards}))


@lru_cache(maxsize=16)
def _read(folder: Path, expected: str, changed: object) -> RunData:
    if not folder.is_dir():
        return RunData(folder, "missing", f"The data set {folder} is not there. Put it back to see its documents.")
    try:
        corpora = read_manifests(folder)
    except UserError as error:
        return RunData(folder, "damaged", str(error))
    manifests = {name: manifest for name, (_, manifest) in corpora.items()}
    if any(not manifest.fingerprint for manifest in manifests.values()):
        why = f"{folder} was prepared by another program, which did not say where its documents begin."
        return RunData(folder, "foreign", why, corpora)
    for where, manifest in corpora.values():
        for shard in (shard for shards in manifest.splits.values() for shard in shards):
            if not (where / shard.path).is_file():
                why = f"The shard {where / shard.path} is not there. Put it back, or run preprocessing again."
                return RunData(folder, "damaged", why, corpora)
    fingerprint = data_fingerprint(manifests)
    if expected and fingerprint != expected:
        why = (
            f"{folder} holds other data than the run was trained on ({fingerprint[:12]}, not {expected[:12]}), so it "
            "is not known which steps read what."
        )
        return RunData(folder, "differs", why, corpora, fingerprint)
    return RunData(folder, "ok", "", corpora, fingerprint)


class OpenDocuments:
    """The documents of a run's data set."""

    def __init__(self, data: RunData) -> None:
        self.data, self.documents = data, Documents(data.corpora)
        self.lineage = Lineage(data.folder)
        self.tokenizer: Tokenizer = self.lineage.tokenizer
        self.pattern = lru_cache(maxsize=8)(self._pattern)

    def one(self, corpus: str, split: str, number: int) -> Document:
        """Return a document.

        Raises:
            ApiError: 404, there is none of this number.
        """
        corpus = named_corpus(self.documents, corpus)
        count = self.documents.count(corpus, split)
        if number >= count:
            message = f"{corpus} has {count:,} documents in {split}, numbered from 0, and none of number {number:,}."
            raise ApiError(404, message, param="number", code="unknown_document")
        return self.documents.get(corpus, split, [number])[0]

    def described(self, document: Document) -> dict[str, Any]:
        """Return a document as lists show it."""
        beginning = self.tokenizer.decode(self.documents.tokens(document, 0, BEGINNING).tolist())
        return {
            "corpus": document.corpus,
            "split": document.split,
            "number": document.number,
            "source": document.source,
            "position": document.position,
            "tokens": document.tokens,
            "bytes": document.bytes,
            "begins": " ".join(beginning.strip("�").split()),
        }

    def _pattern(self, text: str, *, exact_case: bool) -> Pattern:
        return Pattern(text, self.tokenizer, exact_case=exact_case)


def open_documents(run: Path) -> OpenDocuments:
    """Return the documents of a run's data set, which stay open until the data set changes.

    Raises:
        ApiError: 404, the data set is missing, or does not say where its documents begin.
    """
    data = data_of(run)
    data.require()
    return _opened(data.folder, data.fingerprint, data.state, run)


@lru_cache(maxsize=4)
def _opened(folder: Path, fingerprint: str, state: str, run: Path) -> OpenDocuments:
    return OpenDocuments(data_of(run))


def named_corpus(documents: Documents, corpus: str) -> str:
    """Return the corpus that is named, or the only one.

    Raises:
        ApiError: 404, there is no such corpus; 400, there are several and none is named.
    """
    names = list(documents.corpora)
    if not corpus and len(names) > 1:
        raise ApiError(400, f"The data set has several corpora. Name one: {', '.join(names)}.", param="corpus")
    if corpus and corpus not in names:
        message = f'There is no corpus "{corpus}", only {", ".join(names)}.'
        raise ApiError(404, message, param="corpus", code="unknown_document")
    return corpus or names[0]
