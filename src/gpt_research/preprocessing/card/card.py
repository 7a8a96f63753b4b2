"""The data card: what a data set holds and how it was made, as `data_card.md` and `data_card.html`.

The card is made from the manifests and the document indexes alone, so the same data set has the
same card, byte for byte: it has no dates, no paths but those that the user named, and no order that
chance decides. The HTML page needs neither scripts nor the network. All text from the corpora is
escaped, because it may hold anything.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.base.files import write_text
from gpt_research.data.shards import Manifest
from gpt_research.preprocessing.card import plots
from gpt_research.preprocessing.card.kept import KeptDocument, kept_documents
from gpt_research.preprocessing.card.page import Block, Code, Heading, Paragraph, Picture, Table, as_html, as_markdown
from gpt_research.preprocessing.remarks import left_out_files
from gpt_research.preprocessing.settings import PreprocessConfig

if TYPE_CHECKING:
    from gpt_research.data.tokenizer import Tokenizer

LENGTH_EDGES = 2 ** np.arange(0, 33)
"""Edges of the histogram of document lengths, in tokens."""
LARGEST = 10
"""The number of sources that the card lists for each corpus."""
_NOT_LOOKED_FOR = "Not looked for. Name a folder of benchmarks with --benchmarks to have them counted."


@dataclass
class Lengths:
    """Lengths and sources of the documents of one corpus."""

    histogram: np.ndarray = field(default_factory=lambda: np.zeros(len(LENGTH_EDGES) - 1, dtype=np.int64))
    """Numbers of documents by their tokens, between neighbours of `LENGTH_EDGES`."""
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Number of documents and of tokens of each source."""

    @classmethod
    def read(cls, folder: Path, manifest: Manifest) -> Lengths:
        """Add up the document indexes of a corpus."""
        lengths = cls()
        for shard in (shard for shards in manifest.splits.values() for shard in shards):
            # read_table, group_by and to_numpy import pandas if it is installed, which takes a
            # sixth of a second.
            with pq.ParquetFile((folder / shard.path).with_suffix(".parquet")) as file:
                for documents in file.iter_batches(columns=["tokens", "source"]):
                    lengths.add(documents)
        return lengths

    def add(self, documents: pa.RecordBatch) -> None:
        """Add the columns `tokens` and `source` of a document index."""
        tokens, sources = np.from_dlpack(documents["tokens"]), pc.dictionary_encode(documents["source"])
        self.histogram += np.histogram(tokens, LENGTH_EDGES)[0]
        which, names = np.from_dlpack(sources.indices), sources.dictionary.to_pylist()
        counts = np.bincount(which, minlength=len(names)).tolist()
        sums = np.bincount(which, weights=tokens, minlength=len(names)).astype(np.int64).tolist()
        for source, count, total in zip(names, counts, sums, strict=True):
            before = self.sources.get(source, (0, 0))
            self.sources[source] = before[0] + count, before[1] + total

    def largest(self) -> list[tuple[str, int, int]]:
        """Return source, documents and tokens of the sources with the most tokens."""
        ordered = sorted(self.sources.items(), key=lambda item: (-item[1][1], item[0]))
        return [(source, *counts) for source, counts in ordered[:LARGEST]]


def write_card(folder: Path, manifests: Mapping[str, Manifest], specs: Mapping[str, str], tokenizer: Tokenizer) -> None:
    """Write both forms of the card into the data set's folder.

    Args:
        specs: the NAME=PATH of each corpus, as the user wrote it.
    """
    blocks = card(folder, manifests, specs, tokenizer)
    write_text(folder / "data_card.md", as_markdown(blocks))
    write_text(folder / "data_card.html", as_html("Data card", blocks))


def card(
    folder: Path, manifests: Mapping[str, Manifest], specs: Mapping[str, str], tokenizer: Tokenizer
) -> list[Block]:
    """Return the blocks of the card."""
    lengths = {name: Lengths.read(folder / name, manifest) for name, manifest in manifests.items()}
    blocks = _overview(manifests, lengths)
    for name, manifest in manifests.items():
        kept = kept_documents(folder / name, manifest, tokenizer.decode)
        blocks += _corpus(name, manifest, lengths[name], kept, specs.get(name, ""))
    first = next(iter(manifests.values()))
    return [*blocks, *_settings(first), *_reproduce(first.options, specs)]


def _overview(manifests: Mapping[str, Manifest], lengths: Mapping[str, Lengths]) -> list[Block]:
    train, val = (sum(manifest.count(split) for manifest in manifests.values()) for split in ("train", "val"))
    size = sum(_total(manifest, "bytes") for manifest in manifests.values())
    table = Table(
        ["corpus", "documents read", "kept", "dropped", "train tokens", "val tokens", "text", "bytes per token"],
        [
            [
                name,
                f"{manifest.documents_read:,}",
                f"{_total(manifest, 'documents'):,}",
                f"{sum(manifest.drops.values()):,}",
                f"{manifest.count('train'):,}",
                f"{manifest.count('val'):,}",
                _megabytes(_total(manifest, "bytes")),
                _bytes_per_token(manifest),
            ]
            for name, manifest in manifests.items()
        ],
    )
    corpora = "corpus" if len(manifests) == 1 else "corpora"
    total = f"{len(manifests)} {corpora}: {train:,} tokens to train on and {val:,} to validate with, "
    return [
        Heading(1, f"Data card: {', '.join(manifests)}"),
        Paragraph(total + f"from {_megabytes(size)} of text. Each document ends with an end-of-text token."),
        table,
        Picture("Tokens of each corpus", plots.tokens(manifests)),
        Picture("Documents by length", plots.lengths({n: own.histogram for n, own in lengths.items()})),
        Picture("Documents kept and dropped", plots.drops(manifests)),
    ]


def _corpus(name: str, manifest: Manifest, lengths: Lengths, kept: Sequence[KeptDocument], spec: str) -> list[Block]:
    files, size = _source_files(manifest)
    facts = [
        ["Licence", manifest.licence],
        ["Read from", spec.partition("=")[2] or "not known"],
        ["Reader", manifest.reader],
        ["Source files", f"{files:,}, {_megabytes(size)}; each with its SHA-256 in {name}/manifest.json"],
        *([["Left out", left_out_files(manifest.left_out)]] if manifest.left_out else []),
        ["Documents", f"{manifest.documents_read:,} read, {_total(manifest, 'documents'):,} kept"],
        ["Tokens", f"{manifest.count('train'):,} train, {manifest.count('val'):,} validation"],
        ["Text", f"{_megabytes(_total(manifest, 'bytes'))}, {_bytes_per_token(manifest)} bytes per token"],
        ["Tokens a document", f"{_total(manifest, 'tokens') / max(1, _total(manifest, 'documents')):,.0f} on average"],
        ["Shards", f"{sum(map(len, manifest.splits.values())):,}"],
    ]
    return [
        Heading(2, name),
        Table(["", ""], facts),
        Heading(3, "Dropped"),
        *_drops(manifest),
        Heading(3, "Kept"),
        *_kept(kept),
        Heading(3, "Largest sources"),
        Table(
            ["source", "documents", "tokens", "share"],
            [
                [source, f"{documents:,}", f"{tokens:,}", f"{tokens / max(1, _total(manifest, 'tokens')):.1%}"]
                for source, documents, tokens in lengths.largest()
            ],
        ),
        Heading(3, "Benchmark text"),
        *_contamination(manifest),
    ]


def _drops(manifest: Manifest) -> list[Block]:
    if not manifest.drops:
        return [Paragraph("Nothing: every document read was kept.")]
    rows = []
    for reason, count in sorted(manifest.drops.items(), key=lambda item: (-item[1], item[0])):
        examples = [
            f"{example['source']} ({example['position']})" + (f": {example['detail']}" if example["detail"] else "")
            for example in manifest.drop_examples.get(reason, [])[:3]
        ]
        share = count / max(1, manifest.documents_read)
        rows.append([reason, f"{count:,}", f"{share:.1%}", examples[0] if examples else ""])
        rows += [["", "", "", example] for example in examples[1:]]
    return [Table(["reason", "documents", "of those read", "for example: source (position)"], rows)]


def _kept(documents: Sequence[KeptDocument]) -> list[Block]:
    if not documents:
        return [Paragraph("Nothing.")]
    rows = [[f"{d.source} ({d.position})", f"{d.tokens:,}", d.text] for d in documents]
    return [
        Paragraph("Documents chosen at random, as a model reads them."),
        Table(["source (position)", "tokens", "begins"], rows),
    ]


def _contamination(manifest: Manifest) -> list[Block]:
    if not manifest.contamination:
        return [Paragraph(_NOT_LOOKED_FOR)]
    dropped = manifest.options.get("contamination") == "drop"
    rest = "Others were dropped." if dropped else "They stay in the data: --contamination drop leaves them out."
    return [
        Paragraph(f"Documents kept that share 13 words in a row with a benchmark. {rest}"),
        Table(["benchmark", "documents"], [[n, f"{count:,}"] for n, count in sorted(manifest.contamination.items())]),
    ]


def _settings(manifest: Manifest) -> list[Block]:
    tokenizer = [
        ["Vocabulary", f"{manifest.vocab_size:,} entries, tokens stored as {manifest.dtype}"],
        ["Fingerprint", manifest.fingerprint],
    ]
    settings = [[name, _value(value)] for name, value in manifest.options.items()]
    return [
        Heading(2, "Tokenizer"),
        Table(["", ""], tokenizer),
        Heading(2, "Settings"),
        Table(["setting", "value"], settings),
    ]


def _reproduce(options: Mapping[str, Any], specs: Mapping[str, str]) -> list[Block]:
    defaults = {f.name: f.default for f in dataclasses.fields(PreprocessConfig)}
    settings = {name: value for name, value in options.items() if name not in ("plugins", "filter_files")}
    changed = [f"--{name} {shlex.quote(_value(v))}" for name, v in settings.items() if defaults.get(name) != v]
    changed += [f"--plugin {shlex.quote(name)}" for name in options.get("plugins", {})]
    lines = ["gpt-research preprocess", *map(shlex.quote, specs.values()), *changed, "--out DIR"]
    return [
        Heading(2, "How to make it again"),
        Paragraph("The same source files (see their SHA-256) give the same bytes, with any number of workers."),
        Code(" \\\n    ".join(lines)),
    ]


def _source_files(manifest: Manifest) -> tuple[int, int]:
    """Return number and bytes of the source files; a long list is in a table of its own."""
    return sum(s.get("files", 1) for s in manifest.sources), sum(s["bytes"] for s in manifest.sources)


def _total(manifest: Manifest, what: str) -> int:
    return sum(manifest.count(split, what) for split in manifest.splits)


def _bytes_per_token(manifest: Manifest) -> str:
    tokens = _total(manifest, "tokens")
    return f"{_total(manifest, 'bytes') / tokens:.2f}" if tokens else "-"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


def _value(value: Any) -> str:
    """Write a setting as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)
