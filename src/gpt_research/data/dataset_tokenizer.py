"""Finds the tokenizer of a data set, whoever prepared it."""

from __future__ import annotations

from pathlib import Path

from gpt_research.base.errors import UserError
from gpt_research.data.nanogpt_meta import META, read_characters
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer


def tokenizer_of(dataset: Dataset) -> tuple[Tokenizer, Path | None]:
    """Return the tokenizer that the shards of a data set were written with, and its own file.

    Data that was prepared elsewhere has the characters of nanoGPT's `meta.pkl` if that lies beside
    it, and GPT-2's tokens if no file says anything else. Then there is no file.

    Raises:
        UserError: the tokenizer is missing, is not that of the shards, or cannot be read.
    """
    path, folder = dataset.tokenizer_file, dataset.folder
    if dataset.fingerprint:
        if path is None:
            raise UserError(f"{folder / 'tokenizer.json'} is missing. Put it back or run preprocessing again.")
        tokenizer = Tokenizer.load(path)
        if dataset.fingerprint != tokenizer.fingerprint:
            raise UserError(
                f"The shards in {folder} were written with the tokenizer {dataset.fingerprint[:12]}, "
                f"but {path} is {tokenizer.fingerprint[:12]}. Put the right one back or run preprocessing again."
            )
        return tokenizer, path
    meta = folder / META
    if not meta.is_file():
        return (Tokenizer.gpt2(), None) if path is None else (Tokenizer.load(path), path)
    if path is not None and path.parent == folder:
        raise UserError(f"{folder} has two vocabularies, {path.name} and {META}. Move away the one that is wrong.")
    try:
        return Tokenizer.from_characters(read_characters(meta)), None
    except UserError as error:
        raise error if str(meta) in str(error) else UserError(f"{meta}: {error}") from None


def check_same_tokens(dataset: Dataset, tokenizer: Tokenizer, run: Path) -> None:
    """Check that the tokens of a data set mean what they mean to a run's tokenizer.

    Raises:
        UserError: they do not; the message says how to make a data set that fits.
    """
    written_with = dataset.fingerprint
    if not written_with:
        theirs = tokenizer_of(dataset)[0]
        written_with = theirs.fingerprint
        # An import may have a few entries more than the data that another program prepared.
        pairs = zip(theirs.vocabulary.tokens, tokenizer.vocabulary.tokens, strict=False)
        if all(one == other for one, other in pairs):
            return
    if written_with == tokenizer.fingerprint:
        return
    raise UserError(
        f"{dataset.folder} was written with the tokenizer {written_with[:12]}, but {run} was trained with "
        f"{tokenizer.fingerprint[:12]}. Preprocess the text with --tokenizer {run}/tokenizer.json."
    )
