"""Finishing: the manifests and the data card. The last file makes the folder a data set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpt_research.base.errors import UserError
from gpt_research.base.files import write_json
from gpt_research.data.shards import FORMAT_VERSION, Manifest, Shard, token_dtype, write_manifest
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.preprocessing.card.card import write_card
from gpt_research.preprocessing.encoded import SPLITS
from gpt_research.preprocessing.formats.files import printable
from gpt_research.preprocessing.job_plan import JobPlan
from gpt_research.preprocessing.stages.stage import EXAMPLES, Drops, Stage, load_tokenizer

MOST_SOURCES = 10_000
"""Source files listed in a manifest. A longer list goes to a table beside it."""


class Finish(Stage):
    """Writes the manifests, the data card and, last of all, `dataset.json`."""

    def run(self, plan: JobPlan, rank: int) -> None:
        out = self.work.folder.parent
        tokenizer = load_tokenizer(self.work)
        manifests = {name: self._manifest(plan, name, tokenizer) for name in plan.corpora}
        if not any(manifest.count("train") for manifest in manifests.values()):
            reasons = {r: n for m in manifests.values() for r, n in m.drops.items()}
            raise UserError(
                f"No document is left of {', '.join(plan.corpora.values())}: "
                f"{', '.join(f'{n} {r}' for r, n in reasons.items()) or 'nothing was read'}. "
                f"Check the paths{' and the filters' if 'filters' in plan.options else ''}."
            )
        for name, manifest in manifests.items():
            write_manifest(out / name, manifest)
        corpora = {name: printable(spec) for name, spec in plan.corpora.items()}
        write_card(out, manifests, corpora, tokenizer)
        shutil.copyfile(self.work.folder / "tokenizer.json", out / "tokenizer.json")
        # This file comes last, because a folder that has it is a finished data set.
        write_json(
            out / "dataset.json",
            {
                "version": FORMAT_VERSION,
                "corpora": list(plan.corpora),
                "read_from": corpora,
                "plan": plan.digest,
                "options": plan.options,
            },
        )

    def _manifest(self, plan: JobPlan, name: str, tokenizer: Tokenizer) -> Manifest:
        """Add up the results of the tasks of a corpus."""
        drops, reader, licence = Drops(), "", ""
        splits: dict[str, list[Shard]] = {split: [] for split in SPLITS}
        sources, documents, overlaps = [], 0, dict.fromkeys([Path(folder).name for folder in plan.benchmarks], 0)
        for rank, task in enumerate(plan.tasks):
            if task.corpus != name:
                continue
            read, assembled = self.work.load_json("read", rank), self.work.load_json("assembled", rank)
            for split, shard in assembled["shards"].items():
                splits[split].append(Shard(**shard))
            reader, licence = read["reader"], read["licence"]
            documents += read["documents"] + sum(read["counts"].values())
            sources += read["sources"]
            for benchmark, count in zip(overlaps, assembled["overlaps"], strict=True):
                overlaps[benchmark] += count
            # Copies of other tasks' documents are rarer, so they come first among the examples.
            for part in (assembled, read):
                for reason, count in part["counts"].items():
                    drops.counts[reason] = drops.counts.get(reason, 0) + count
                    known = drops.examples.setdefault(reason, [])
                    known += part["examples"][reason][: EXAMPLES - len(known)]
        (self.work.folder.parent / name).mkdir(exist_ok=True)
        return Manifest(
            fingerprint=tokenizer.fingerprint,
            vocab_size=tokenizer.vocab_size,
            dtype=token_dtype(tokenizer.vocab_size).name,
            splits=splits,
            reader=reader,
            licence=licence,
            documents_read=documents,
            drops=drops.counts,
            drop_examples=drops.examples,
            contamination=overlaps,
            sources=self._listed(sources, name),
            options=plan.options,
            left_out=plan.left_out.get(name, {}),
        )

    def _listed(self, sources: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        """Return the list of files for the manifest; write a long list to a table beside it."""
        if len(sources) <= MOST_SOURCES:
            return sources
        path = self.work.folder.parent / name / "sources.parquet"
        pq.write_table(pa.Table.from_pylist(sources), path, compression="zstd")
        return [{"path": path.name, "files": len(sources), "bytes": sum(s["bytes"] for s in sources)}]
