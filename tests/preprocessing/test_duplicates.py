"""Copies are found, other texts are not, and nothing but the documents and their order decides."""

from __future__ import annotations

import random
import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_research.base.errors import UserError
from gpt_research.preprocessing.text import duplicates
from gpt_research.preprocessing.text.arrow import encoded
from gpt_research.preprocessing.text.duplicates import (
    KnownTexts,
    MinHash,
    exact_duplicates,
    group_keys,
    near_duplicates,
    text_hashes,
)
from gpt_research.preprocessing.text.words import Words, hash_words

GUTENBERG = Path(__file__).parents[2].parent / "shared" / "corpora" / "gutenberg"
MINHASH = MinHash()


def signatures(texts: list[str]) -> np.ndarray:
    return MINHASH.signatures(hash_words(texts))


def generated_words(count: int, seed: int) -> list[str]:
    """Words drawn as in natural text, where the most frequent are very frequent."""
    rng = np.random.default_rng(seed)
    return [f"w{rank}" for rank in np.minimum(rng.zipf(1.2, count), 50_000)]


def words_of(words: Words, text: int) -> list[int]:
    return words.hashes[words.offsets[text] : words.offsets[text + 1]].tolist()


def jaccard(a: str, b: str) -> float:
    """Of the sets of 5 words in a row, without any hashing."""
    shingles = []
    for text in (a, b):
        words = text.split()
        shingles.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])


# -- words


@settings(deadline=None)
@given(st.lists(st.text("aAbB1zÉéẞßȺⱥΩω '-.,\n漢字ไท’…", max_size=40), max_size=5))
def test_words_equal_those_of_a_regular_expression(texts: list[str]) -> None:
    words = hash_words(texts)
    expected = [re.findall(r"[a-z0-9éßⱥω]+|[漢字ไท]", text.lower()) for text in texts]
    assert np.diff(words.offsets).tolist() == [len(text) for text in expected]
    names = [word for text in expected for word in text]
    pairs = set(zip(words.hashes.tolist(), names, strict=True))
    assert len(set(words.hashes.tolist())) == len(set(names)) == len(pairs)


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_a_text_has_the_same_words_alone_and_in_a_batch(texts: list[str]) -> None:
    alone = [hash_words([text]).hashes for text in texts]
    together = hash_words(texts)
    for i, hashes in enumerate(alone):
        assert words_of(together, i) == hashes.tolist()


def test_a_long_text_has_the_words_of_its_lines() -> None:
    lines = [" ".join(generated_words(50, seed)) for seed in range(1500)]
    assert np.array_equal(hash_words(["\n".join(lines)]).hashes, hash_words(lines).hashes)
    assert np.diff(hash_words(["漢" * 200_000, "x" * 200_000, "y"]).offsets).tolist() == [200_000, 1, 1]


def test_tokenised_and_typeset_forms_have_the_same_words() -> None:
    tokenised = hash_words(["Teddy 's guest @-@ starring role"])
    typeset = hash_words(["Teddy’s “Guest-Starring” role…"])
    assert len(tokenised.hashes) == 5
    assert np.array_equal(tokenised.hashes, typeset.hashes)


def test_hashes_and_signatures_never_change() -> None:
    words = hash_words(["Hello, Wörld 漢"]).hashes
    assert [f"{word:x}" for word in words.tolist()] == [
        "56defbfd8fb2ce49",
        "98298fe2e3dbc9db",
        "5f372b34417ecc5e",
    ]
    digest = xxhash.xxh3_128_digest(b"Hello")
    assert text_hashes(encoded([" Hello\n"])).tolist() == [[int.from_bytes(digest[:8]), int.from_bytes(digest[8:])]]
    rows = signatures(["one two three four five six", "a b c d e " * 3000])
    assert xxhash.xxh3_64_hexdigest(rows.tobytes()) == "bce4a20a4f6660d9"


def test_every_character_is_accepted() -> None:
    texts = ["", "\ud800 half a surrogate", "\x00", "\U0010ffff", "!?", "\N{GRINNING FACE}", "e\u0301"]
    assert np.diff(hash_words(texts).offsets).tolist() == [0, 3, 0, 0, 0, 0, 1]
    assert signatures(texts).shape == (len(texts), 128)
    assert text_hashes(encoded(texts, "replace")).shape == (len(texts), 2)


def test_marks_stay_within_their_word() -> None:
    hindi = "हिन्दी में"
    assert any(unicodedata.category(character) == "Mn" for character in hindi)
    assert len(hash_words([hindi]).hashes) == 2


@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_ngrams_are_those_of_each_text_alone(n: int) -> None:
    texts = [" ".join(generated_words(length, length)) for length in (0, 30, n - 1, 1, n, n + 1, 0, 0, 57, 3)]
    together = hash_words(texts).ngrams(n)
    for i, text in enumerate(texts):
        alone = hash_words([text]).ngrams(n)
        assert len(alone.hashes) == max(len(text.split()) - n + 1, 0)
        assert words_of(together, i) == alone.hashes.tolist()


@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_ngrams_are_equal_where_their_words_are(n: int) -> None:
    words = generated_words(3000, 1)
    grams = hash_words([" ".join(words)]).ngrams(n).hashes.tolist()
    pairs = set(zip(grams, (tuple(words[i : i + n]) for i in range(len(grams))), strict=True))
    assert len({gram for gram, _ in pairs}) == len({of for _, of in pairs}) == len(pairs)


@given(st.lists(st.text(" \n\u2003\u3000\x85“”—é漢.ab", max_size=6), max_size=6))
def test_white_space_around_a_text_makes_no_difference(texts: list[str]) -> None:
    assert np.array_equal(text_hashes(encoded(texts)), text_hashes(encoded([text.strip() for text in texts])))


# -- signatures


def test_equal_bytes_estimate_the_jaccard_similarity() -> None:
    rng = random.Random(5)
    errors = []
    for length in (20, 60, 200, 1000, 9000):
        for changed in (0.01, 0.03, 0.08, 0.2):
            words = generated_words(length, length)
            copy = [f"new{rng.getrandbits(64)}" if rng.random() < changed else word for word in words]
            a, b = " ".join(words), " ".join(copy)
            exact = jaccard(a, b)
            sketches = signatures([a, b])
            estimate = ((sketches[0] == sketches[1]).mean() * 256 - 1) / 255
            errors.append((estimate - exact) / np.sqrt(exact * (1 - exact) / 128 + 1e-4))
    assert np.abs(errors).max() < 4
    assert abs(np.mean(errors)) < 1


def test_a_signature_depends_on_the_set_of_shingles_alone() -> None:
    # 102 words, 5,002 and 600,002 hold the same five shingles.
    once, often, always = ("a b c d e " * count + "a b" for count in (20, 1000, 120_000))
    sketches = signatures([once, often, always, "a b c d f " * 20])
    assert np.array_equal(sketches[0], sketches[1])
    assert np.array_equal(sketches[0], sketches[2])
    assert (sketches[0] == sketches[3]).mean() < 0.1


def test_signatures_do_not_depend_on_the_batch() -> None:
    texts = [" ".join(generated_words(length, length)) for length in (5, 4, 0, 12, 300, 1500, 5000, 40, 7, 90)]
    together = signatures(texts)
    assert np.array_equal(together, np.concatenate([signatures([text]) for text in texts]))
    assert together.any(axis=1).tolist() == [True, False, False] + [True] * 7


def test_bytes_of_a_signature_are_spread_evenly() -> None:
    texts = [" ".join(generated_words(40, seed)) for seed in range(600)]
    counts = np.bincount(signatures(texts).ravel(), minlength=256)
    expected = 600 * 128 / 256
    assert ((counts - expected) ** 2 / expected).sum() < 400  # chi-square with 255 degrees: 400 is 1e-8 away


@pytest.mark.parametrize("field", [{"ngram": 0}, {"num_bands": 0}, {"rows_per_band": 0}, {"threshold": 1.5}])
def test_a_senseless_setting_is_named(field: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(field))):
        MinHash(**field)  # type: ignore[arg-type]


# -- duplicates


def test_the_first_of_equal_texts_is_the_original_over_all_tasks() -> None:
    tasks = [["a", "b", " a\n"], [], ["c", "b", "A", "a"]]
    assert exact_duplicates([text_hashes(encoded(task)) for task in tasks]).tolist() == [0, 1, 0, 3, 1, 5, 0]
    assert exact_duplicates([]).tolist() == []


def test_known_texts_are_those_of_all_batches() -> None:
    known = KnownTexts()
    numbers, is_new = known.look_up(text_hashes(encoded(["a", "b", "a", " b "])))
    assert (numbers.tolist(), is_new.tolist()) == ([0, 1, 0, 1], [True, True, False, False])
    numbers, is_new = known.look_up(text_hashes(encoded(["b", "c", "a", "d", "c"])))
    assert (numbers.tolist(), is_new.tolist()) == ([1, 2, 0, 3, 2], [False, True, False, True, False])
    numbers, is_new = known.look_up(text_hashes(encoded([])))
    assert (numbers.tolist(), is_new.tolist()) == ([], [])


def test_hashes_that_share_half_their_bits_are_no_duplicates() -> None:
    hashes = np.array([[1, 2], [1, 3], [2, 2], [1, 2]], dtype=np.uint64)
    assert exact_duplicates([hashes]).tolist() == [0, 1, 2, 0]


def gutenberg_passages(count: int) -> list[list[str]]:
    """Passages of 150 to 600 words, most books giving several."""
    rng = random.Random(11)
    passages: list[list[str]] = []
    for path in sorted(GUTENBERG.glob("*.txt"))[: count // 8]:
        book = path.read_text(encoding="utf-8", errors="replace").split()
        start, stop = len(book) // 10, len(book) * 8 // 10  # without the licence, which all books share
        while stop - start > 600 and len(passages) % 16 < 15:
            length = rng.randint(150, 600)
            passages.append(book[start : start + length])
            start += length
        passages.append(book[start : start + 150])
    return passages[:count]


def with_changed_words(words: list[str], rng: random.Random) -> list[str]:
    copy = list(words)
    for i in rng.sample(range(len(words)), round(0.05 * len(words))):
        copy[i] = rng.choice(words) + "x"
    return copy


def with_moved_ends(words: list[str], rng: random.Random) -> list[str]:
    """What stood at the head stands at the foot, and the other way round."""
    return words[-15:] + words[15:-15] + words[:15]


def truncated(words: list[str], rng: random.Random) -> list[str]:
    return words[: round(0.9 * len(words))]


@pytest.mark.parametrize("source", ["gutenberg", "generated"])
def test_planted_copies_are_found_and_other_texts_are_not(source: str) -> None:
    if source == "gutenberg":
        if not GUTENBERG.is_dir():
            pytest.skip("no books in ../shared/corpora/gutenberg")
        passages = gutenberg_passages(600)
    else:
        passages = [generated_words(150 + seed, seed) for seed in range(450)]
    rng = random.Random(3)
    edits = (with_changed_words, with_moved_ends, truncated)
    copies = [edits[i % 3](words, rng) for i, words in enumerate(passages[:300])]
    # All others share a fifth of their words, less one: a masthead and a licence.
    boilerplate = generated_words(120, 99)
    others = [boilerplate[: len(words) // 5 - 1] + words for words in passages[300:]]
    texts = [" ".join(words) for words in passages[:300] + others + copies]

    originals, clusters = near_duplicates([signatures(texts)], MINHASH)
    found = originals[-300:] == np.arange(300)
    for edit in range(3):
        assert found[edit::3].mean() > 0.9, edits[edit].__name__
    dropped = np.flatnonzero(originals != np.arange(len(texts)))
    right = (originals[dropped] < 300) & (dropped - (len(texts) - 300) == originals[dropped])
    assert right.mean() > 0.98
    assert np.array_equal(clusters[dropped], clusters[originals[dropped]])


def test_texts_without_spaces_are_told_apart_and_their_copies_found() -> None:
    rng = random.Random(8)
    texts = ["".join(chr(rng.randint(0x4E00, 0x4E00 + 800)) for _ in range(300)) for _ in range(40)]
    thai = ["".join(chr(rng.randint(0x0E01, 0x0E2E)) for _ in range(300)) for _ in range(40)]
    copies = [text[:100] + "。" + text[103:] for text in texts + thai]
    originals, _ = near_duplicates([signatures(texts + thai + copies)], MINHASH)
    assert originals.tolist() == [*range(80), *range(80)]


def test_short_texts_are_near_to_nothing() -> None:
    originals, _ = near_duplicates(
        [signatures(["", "", "Thank you!", "thank you", "!", "one two three four"])], MINHASH
    )
    assert originals.tolist() == list(range(6))


def test_texts_with_half_their_words_in_common_are_not_near() -> None:
    # 296 shingles each, 148 of them shared: a similarity of a third, at which one pair in three
    # meets.
    texts = []
    for seed in range(100):
        words = generated_words(152, seed)
        texts += [" ".join(words + [f"{side}{seed}x{i}" for i in range(148)]) for side in "ab"]
    assert jaccard(texts[0], texts[1]) == pytest.approx(1 / 3, abs=0.02)
    originals, clusters = near_duplicates([signatures(texts)], MINHASH)
    assert originals.tolist() == clusters.tolist() == list(range(200))


def test_near_texts_meet_behind_one_that_is_unlike_both() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 128), dtype=np.uint8)
    rows[1:, :4] = rows[0, :4]
    rows[2] = rows[1]
    rows[2, 4::4] += 1  # the last two agree in three bytes of four, but in no band that the first is not in
    originals, clusters = near_duplicates([rows], MINHASH)
    assert originals.tolist() == clusters.tolist() == [0, 1, 1]


def chain_of_versions() -> list[str]:
    """Forty versions of a text, each with 7 of 200 words new, four times over among other texts."""
    texts = []
    for seed in range(4):
        words = generated_words(200, seed)
        for version in range(40):
            words = words[7:] + [f"v{seed}x{version}x{i}" for i in range(7)]
            texts.append(" ".join(words))
    texts += [" ".join(generated_words(120, seed)) for seed in range(100, 160)]
    random.Random(1).shuffle(texts)
    return texts


def test_what_is_dropped_is_near_to_what_is_kept_and_what_is_kept_is_not() -> None:
    texts = chain_of_versions()
    rows = signatures(texts)
    originals, clusters = near_duplicates([rows], MINHASH)
    documents = np.arange(len(texts))
    estimate = ((rows[:, None] == rows[None]).mean(axis=2) * 256 - 1) / 255
    dropped, kept = documents[originals != documents], documents[originals == documents]
    assert (originals[dropped] < dropped).all()
    assert np.isin(originals[dropped], kept).all()
    assert (estimate[dropped, originals[dropped]] >= 0.5).all()
    among_kept = estimate[np.ix_(kept, kept)] - np.eye(len(kept))
    assert (among_kept < 0.5).all()
    assert len(np.unique(clusters)) == 4 + 60
    assert len(kept) > 4 + 60 + 8  # a chain's ends have nothing in common, so more than its first is kept


def test_the_division_into_tasks_changes_nothing() -> None:
    rows = signatures(chain_of_versions())
    whole = near_duplicates([rows], MINHASH)
    for cuts in ([0, 0, 50], [1, 2, 3, 100, 219], range(len(rows))):
        parts = np.split(rows, list(cuts))
        divided = near_duplicates(parts, MINHASH)
        assert np.array_equal(whole[0], divided[0])
        assert np.array_equal(whole[1], divided[1])
    assert [part.tolist() for part in near_duplicates([], MINHASH)] == [[], []]


def test_signatures_may_lie_in_memory_maps(tmp_path: Path) -> None:
    rows = signatures(chain_of_versions())
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert np.array_equal(near_duplicates([mapped], MINHASH)[0], near_duplicates([rows], MINHASH)[0])


def test_clusters_are_connected_groups() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 300, (2, 200))
    parents = np.arange(300)
    for start in range(0, 200, 17):
        duplicates._unite(parents, a[start : start + 17], b[start : start + 17])
    roots = duplicates._roots(parents, np.arange(300))
    groups = [{i} for i in range(300)]
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if groups[x] is not groups[y]:
            groups[x] |= groups[y]
            for member in groups[y]:
                groups[member] = groups[x]
    assert roots.tolist() == [min(group) for group in groups]


def test_a_cluster_has_one_key_and_later_documents_do_not_change_it() -> None:
    texts = chain_of_versions()
    keys = {}
    for count in (len(texts), 150):
        _, clusters = near_duplicates([signatures(texts[:count])], MINHASH)
        keys[count] = group_keys([text_hashes(encoded(texts[:70])), text_hashes(encoded(texts[70:count]))], clusters)
        for i, j in pairwise(np.argsort(clusters)):
            assert (clusters[i] == clusters[j]) == (keys[count][i] == keys[count][j])
    first = np.flatnonzero(clusters == np.arange(150))
    assert np.array_equal(keys[150][first], text_hashes(encoded(texts))[first, 0])


def test_meeting_probability_is_that_of_banding() -> None:
    assert MINHASH.meeting_probability(1.0) == 1.0
    assert MINHASH.meeting_probability(0.5) == pytest.approx(1 - (1 - 0.5**4) ** 32, abs=0.01)
    assert MINHASH.meeting_probability(0.1) < 0.01
