"""Which test examples stand in the data that a run was trained on.

They are looked for as preprocessing looks for benchmarks (`text.contamination`): an example
overlaps if one of its texts has 13 words in a row that the data has too; of a text of fewer than 13
words, 8 in a row count. A text of fewer than 8 words says little, and is not looked for. Source of
the two lengths: the checks of GPT-3 (Brown et al. 2020) and of GPT-2 (Radford et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpt_research.base.errors import UserError
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning.examples import Example, ExampleFile
from gpt_research.preprocessing.text.contamination import WORDS, BenchmarkIndex
from gpt_research.preprocessing.text.words import Words, hash_words
from gpt_research.run_reference import RunReference
from gpt_research.settings_history import run_config
from gpt_research.training.run_readings import RunReadings

FEWEST_WORDS = 8
"""Words of the shortest text that is looked for."""
TOKENS_AT_ONCE = 1 << 22
SEAM = 256
"""Tokens that two pieces of the data share, so that words at a seam are not lost."""


@dataclass(frozen=True)
class Overlap:
    """What was found in the training data of a run."""

    examples: int
    looked_for: int
    """Examples with a text of 8 words or more."""
    found: int
    where: list[str]
    """File and line of each example that was found."""
    data: str
    """The data set; empty if it could not be read."""
    remarks: list[str]
    """What was not looked at, and why."""

    @property
    def in_words(self) -> str:
        """What to tell the user, in sentences."""
        if not self.data:
            said = "Not looked for in the pretraining data."
        else:
            share = self.found / max(1, self.looked_for)
            said = (
                f"{self.found:,} of {self.looked_for:,} test examples ({share:.1%}) share {WORDS} words in a row with "
                f"the training split of {self.data} (a text of fewer than {WORDS} words: {FEWEST_WORDS} in a row)."
            )
            if short := self.examples - self.looked_for:
                said += f" {short:,} shorter ones were not looked for."
        return " ".join([said, *self.remarks])


def overlap(reference: RunReference, file: ExampleFile, data: str = "") -> Overlap:
    """Look for the examples of a file in the training split of a run's data set.

    Args:
        data: where the data set lies; empty if it is where the run found it.

    Raises:
        UserError: there is no such run.
    """
    texts = [_texts(example) for example in file.examples]
    place = data or run_config(reference.folder).data
    if not Path(place).is_dir():
        missing = f"The run's data set {place} is not here: say where it is with --pretrained_on."
        return Overlap(len(texts), 0, 0, [], "", [missing])
    try:
        read = RunReadings.open(reference, data)
        found, looked_for = examples_in(read.dataset, Tokenizer.load(reference.folder / "tokenizer.json"), texts)
    except UserError as error:
        return Overlap(len(texts), 0, 0, [], "", [str(error)])
    where = [file.examples[number].where for number in np.flatnonzero(found)]
    return Overlap(len(texts), int(looked_for.sum()), len(where), where, str(read.dataset.folder), list(read.unknown))


def _texts(example: Example) -> tuple[str, ...]:
    return (*example.texts, *(turn.content for turn in example.turns))


def examples_in(
    dataset: Dataset, tokenizer: Tokenizer, texts: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return which examples overlap the training split, and which were looked for, (n,) bool each.

    Args:
        texts: of each of n examples.
    """
    owners = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
    words = hash_words(list(chain.from_iterable(texts)))
    counts = np.diff(words.offsets)
    found, looked_for = np.zeros((2, len(texts)), bool)
    searches = []
    for n, chosen in ((WORDS, counts >= WORDS), (FEWEST_WORDS, (counts >= FEWEST_WORDS) & (counts < WORDS))):
        looked_for[owners[chosen]] = True
        grams = words.ngrams(n)
        owner_of_gram = np.repeat(owners, np.diff(grams.offsets))
        wanted = np.repeat(chosen, np.diff(grams.offsets))
        index = BenchmarkIndex.from_grams({"test": np.unique(grams.hashes[wanted])}, n)
        searches.append((index, grams.hashes[wanted], owner_of_gram[wanted]))
    for piece in training_words(dataset, tokenizer):
        for index, hashes, of_example in searches:
            hits = index.grams[index.hits(piece)[:, 1]]
            found[of_example[np.isin(hashes, hits)]] = True
    return found, looked_for


def training_words(dataset: Dataset, tokenizer: Tokenizer) -> Iterator[Words]:
    """Yield the words of the training split, a few million tokens at a time."""
    tokens = list(tokenizer.vocabulary.tokens)
    tokens[tokenizer.end_of_text] = b"\n"  # parts the last word of a document from the next one's first
    table = pa.array(tokens, pa.large_binary())
    for files in dataset.train.values():
        for array in files.arrays:
            for begin in range(0, len(array), TOKENS_AT_ONCE):
                ids = np.asarray(array[begin : begin + TOKENS_AT_ONCE + SEAM]).astype(np.int64)
                text = table.take(pa.array(ids)).buffers()[2].to_pybytes()
                yield hash_words([text.decode("utf-8", "replace")])
