"""Writes the shards of one task: for each split the tokens, their SHA-256 and the document index.

A shard appears under its name only when it is whole. The format is stated in `shards`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpt_research.corpora.arrow import integers
from gpt_research.data.shards import Shard, token_dtype
from gpt_research.data.tokenizer import Tokenizer


class ShardWriter:
    """The shards of task `number` of the corpus in `folder`."""

    def __init__(self, folder: Path, number: int, tokenizer: Tokenizer) -> None:
        self.folder, self.number, self.tokenizer = folder, number, tokenizer
        self.dtype = token_dtype(tokenizer.vocab_size)
        self._open: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, split: str, documents: pa.RecordBatch) -> None:
        """Encode documents (`DOCUMENT_SCHEMA`) and append them to a split, each with an end-of-text token."""
        if not len(documents):
            return
        if split not in self._open:
            path = self.folder / f"{split}_{self.number:05d}.bin.part"
            self._open[split] = {
                "file": open(path, "wb"),  # noqa: SIM115  closed in finish
                "sha256": hashlib.sha256(),
                "tokens": 0,
                "index": [],
            }
        state = self._open[split]
        tokens, lengths = self.tokenizer.encode_batch(documents["text"].to_pylist())
        data = self._with_ends(tokens, lengths)
        state["file"].write(data)
        state["sha256"].update(data)
        starts = state["tokens"] + np.concatenate([[0], np.cumsum(lengths + 1)])
        state["tokens"] = int(starts[-1])
        state["index"].append(
            pa.table(
                {
                    "start": integers(starts[:-1]),
                    "tokens": integers(lengths + 1),
                    "bytes": pc.cast(pc.binary_length(documents["text"]), pa.int64()),
                    "source": pc.cast(documents["source"], pa.string()),
                    "position": documents["position"],
                }
            )
        )

    def _with_ends(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Put an end-of-text token behind each document: (m,) tokens and (n,) lengths to (m + n,)."""
        out = np.empty(len(tokens) + len(lengths), dtype=self.dtype)
        ends = np.cumsum(lengths + 1) - 1
        inside = np.ones(len(out), dtype=bool)
        inside[ends] = False
        out[ends] = self.tokenizer.end_of_text
        out[inside] = tokens
        return out

    def finish(self) -> dict[str, Shard]:
        """Close the shards, move them to their places and return them by split."""
        shards = {}
        for split, state in self._open.items():
            state["file"].close()
            name = f"{split}_{self.number:05d}"
            index = pa.concat_tables(state["index"])
            pq.write_table(index, self.folder / f"{name}.parquet.part", compression="zstd")
            (self.folder / f"{name}.parquet.part").replace(self.folder / f"{name}.parquet")
            (self.folder / f"{name}.bin.part").replace(self.folder / f"{name}.bin")
            total = pc.sum(index["bytes"]).as_py() or 0
            shards[split] = Shard(f"{name}.bin", state["tokens"], len(index), total, state["sha256"].hexdigest())
        return shards
