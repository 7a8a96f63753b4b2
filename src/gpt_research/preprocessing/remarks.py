"""What a user should know about a new data set: files that were left out, corpora that gave
nothing, and a validation split by which a model cannot be judged.

Knows nothing about how the sentences are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpt_research.data.shards import Manifest
from gpt_research.preprocessing.formats.remedies import remedies
from gpt_research.preprocessing.settings import PreprocessConfig

_KINDS_SHOWN = 8
_COPIES = {"exact_duplicate", "near_duplicate"}
LEAST_DOCUMENTS, LEAST_TOKENS = 5, 10_000
"""A validation split below either says little: the loss of few documents is that of their subject,
and its standard error is not known."""
_WANTED_DOCUMENTS, _WANTED_TOKENS = 20, 50_000
_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2)


def left_out_files(counts: Mapping[str, int]) -> str:
    """Return how many files were left out and of which kinds, in words."""
    total = sum(counts.values())
    kinds = [f"{count:,} {suffix}" for suffix, count in list(counts.items())[:_KINDS_SHOWN]]
    more = ", ..." if len(counts) > _KINDS_SHOWN else ""
    return f"{total:,} file{'s' * (total != 1)} of other kinds ({', '.join(kinds)}{more})"


def empty_corpora(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return the names of the corpora of which no document is left."""
    return [name for name, manifest in manifests.items() if not _documents(manifest, "train", "val")]


def without_effect(config: PreprocessConfig) -> list[str]:
    """Return a sentence for each setting that the user gave and that changes nothing."""
    if config.tokenizer == "train" or config.vocab_size == PreprocessConfig.vocab_size:
        return []
    return [
        f"vocab_size is {config.vocab_size:,}, but only a tokenizer that is trained takes it. The tokenizer "
        f"{config.tokenizer} has its own entries; add --tokenizer train to train one."
    ]


def remarks(manifests: Mapping[str, Manifest], val_fraction: float) -> list[str]:
    """Return the sentences about a data set, the most serious last."""
    sentences = [
        " ".join(
            (
                f"{name}: left out {left_out_files(manifest.left_out)}.",
                f"The reader {manifest.reader} takes none of them.",
                *remedies(manifest.left_out),
            )
        )
        for name, manifest in manifests.items()
        if manifest.left_out
    ]
    if small := _small_validation("The validation split", list(manifests.values()), val_fraction):
        sentences.append(small)
    else:
        filled = {name: manifest for name, manifest in manifests.items() if _documents(manifest, "train", "val")}
        of_each = (
            _small_validation(f"The validation split of {name}", [manifest], val_fraction)
            for name, manifest in filled.items()
        )
        sentences += filter(None, of_each)
    return [*sentences, *(_emptiness(name, manifests[name]) for name in empty_corpora(manifests))]


def _emptiness(name: str, manifest: Manifest) -> str:
    """Return the sentence about a corpus of which nothing is left."""
    drops = ", ".join(f"{count:,} {reason}" for reason, count in manifest.drops.items())
    if manifest.drops.keys() & _COPIES:
        remedy = "Other corpora have its texts; leave it out"
    else:
        remedy = f"Check its path, or name another reader: {name}:READER=PATH"
    return f"Nothing is left of the corpus {name}: {drops or f'{manifest.reader} found no document'}. {remedy}."


def _small_validation(name: str, manifests: Sequence[Manifest], val_fraction: float) -> str:
    """Return the warning of a validation split that is too small, and a remedy; "" if it is not."""
    documents = sum(_documents(manifest, "val") for manifest in manifests)
    tokens = sum(manifest.count("val") for manifest in manifests)
    if val_fraction == 0 or (documents >= LEAST_DOCUMENTS and tokens >= LEAST_TOKENS):
        return ""
    all_documents = sum(_documents(manifest, "train", "val") for manifest in manifests)
    all_tokens = tokens + sum(manifest.count("train") for manifest in manifests)
    too_few = all_documents * _FRACTIONS[-1] < LEAST_DOCUMENTS
    fraction = fitting_fraction(all_documents, all_tokens)
    ways = [f"try --val_fraction {fraction:g}"] if fraction > val_fraction else []
    if too_few or not ways:
        ways.append("add documents, or divide long texts into several with <|endoftext|> between them")
    return (
        f"{name} is too small to judge a model by: {documents:,} document{'s' * (documents != 1)}, "
        f"{tokens:,} token{'s' * (tokens != 1)}. Remedy: {'; '.join(ways)}."
    )


def fitting_fraction(documents: int, tokens: float) -> float:
    """Return a share of validation by which a model can be judged, given all documents and
    tokens.
    """
    too_few = documents * _FRACTIONS[-1] < LEAST_DOCUMENTS
    wanted = max(_WANTED_TOKENS / max(tokens, 1), 0 if too_few else _WANTED_DOCUMENTS / documents)
    return next((fraction for fraction in _FRACTIONS if fraction >= wanted), _FRACTIONS[-1])


def _documents(manifest: Manifest, *splits: str) -> int:
    return sum(manifest.count(split, "documents") for split in splits)
