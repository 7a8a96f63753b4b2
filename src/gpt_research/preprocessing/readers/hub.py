"""Data sets of the Hugging Face hub, streamed with the package `datasets`:
`hub:owner/name[:config][@revision]`.

Every split is read. A unit is one of the files from which a split is streamed. If the corpus has a
reader that is a `RecordReader`, that reader makes documents of the rows; else a document is the
row's text field. Name a revision to read the same documents again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.preprocessing.document import Document, Drop, ReadOptions, RecordReader, Unit
from gpt_research.preprocessing.formats.tables import text_documents

_ADDRESS = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class HubReader:
    """One data set of the hub."""

    repo: str
    config: str | None = None
    revision: str | None = None
    interpreter: RecordReader | None = None
    name: str = "hub"
    licence: str = "See the dataset's card on the Hugging Face hub."

    @classmethod
    def parse(cls, address: str, interpreter: RecordReader | None = None) -> HubReader:
        """Return the reader of `owner/name[:config][@revision]`."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise UserError(
                f'"hub:{address}" is no dataset address. Write hub:owner/name, hub:owner/name:config '
                "or hub:owner/name@revision."
            )
        return cls(match["repo"], match["config"], match["revision"], interpreter)

    def units(self, root: Path) -> list[Unit]:
        """Return one unit for each file of each split; their sizes are not known and 0."""
        units: list[Unit] = []
        for split, rows in sorted(self._load().items()):
            shards = max(1, rows.num_shards)
            units += [Unit(f"{self.repo}/{split}", 0, shard, shards) for shard in range(shards)]
        return units

    def read(self, root: Path, unit: Unit, options: ReadOptions) -> Iterator[Document | Drop]:
        """Stream one unit."""
        rows = self._load()[unit.path.removeprefix(f"{self.repo}/")]
        if unit.stop > 1:
            rows = rows.shard(num_shards=unit.stop, index=unit.start)
        source = f"{unit.path}/{unit.start:05d}-of-{max(1, unit.stop):05d}"
        items = enumerate(dict(row) for row in rows)
        if self.interpreter is None:
            return text_documents(items, source, options)
        return self.interpreter.documents(items, source, options)

    def _load(self) -> dict[str, Any]:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise UserError(
                f"Reading hub:{self.repo} needs the package datasets. Run: {hints.install('hub', 'datasets')}"
            ) from error
        try:
            return dict(datasets.load_dataset(self.repo, self.config, revision=self.revision, streaming=True))
        except Exception as error:  # the library raises many kinds, all of them about this address
            raise UserError(
                f"Cannot open hub:{self.repo}: {str(error).strip().rstrip('.')[:300]}. "
                "Check the name, the config, the network, and whether the dataset needs HF_TOKEN."
            ) from error
