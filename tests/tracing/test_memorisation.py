"""How much a text has copied is what a search through the training split counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from planted_run import Planted

from gpt_research.cli.command_line import main
from gpt_research.data.shards import Dataset
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.tracing.index import Index
from gpt_research.tracing.memorisation import Memorisation, N, memorisation, validation_pieces


@pytest.fixture(scope="module")
def opened(planted: Planted) -> tuple[Index, Tokenizer]:
    return Index(Dataset(planted.data, 1)), Tokenizer.load(planted.data / "tokenizer.json")


def test_longest_spans_and_new_ngrams_are_those_of_a_search(opened: tuple[Index, Tokenizer]) -> None:
    index, tokenizer = opened
    split = index.train.text
    known = split.tokens(0, split.count).astype("<u2")
    plain = known.tobytes()

    def stands(part: np.ndarray) -> bool:
        at = plain.find(part.astype("<u2").tobytes())
        while at > 0 and at % 2:
            at = plain.find(part.astype("<u2").tobytes(), at + 1)
        return at >= 0

    rng = np.random.default_rng(2)
    texts = [
        np.concatenate([known[50:70], rng.integers(0, 300, 8), known[400:424]]),
        rng.integers(0, 300, 25),
        known[:9],
    ]
    found = memorisation(index, tokenizer, texts)
    for text, copied in zip(texts, found.samples, strict=True):
        grams = [text[at : at + N] for at in range(len(text) - N + 1)]
        assert copied.new_ngrams == pytest.approx(np.mean([not stands(gram) for gram in grams]))
        longest = max(
            length
            for length in range(len(text) + 1)
            for at in range(len(text) - length + 1)
            if stands(text[at : at + length])
        )
        assert copied.longest == longest
        assert copied.longest_text == tokenizer.decode(text[copied.first_token : copied.first_token + longest])
        assert copied.longest_count >= 1
    assert found.longest == found.samples[0]
    grams = [len(text) - N + 1 for text in texts]
    shares = [copied.new_ngrams for copied in found.samples]
    assert found.new_ngrams == pytest.approx(np.average(shares, weights=grams))
    short = memorisation(index, tokenizer, [known[:3]])
    assert (short.samples[0].new_ngrams, short.new_ngrams, short.samples[0].longest) == (None, None, 3)
    assert Memorisation([]).mean_longest is None


def test_pieces_of_the_validation_split_lie_in_its_documents(opened: tuple[Index, Tokenizer]) -> None:
    index, tokenizer = opened
    pieces = validation_pieces(index, tokenizer.end_of_text, 7, 40, seed=1)
    assert [len(piece) for piece in pieces] == [40] * 7
    assert all(tokenizer.end_of_text not in piece for piece in pieces)
    assert all(index.val.longest(np.array(piece))[0].length == 40 for piece in pieces)
    assert validation_pieces(index, tokenizer.end_of_text, 7, 10**6, seed=1) == []


def test_the_command_and_evaluate_report_the_same(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(planted.run, run)
    assert main(["memorisation", str(run), "--num_samples", "3", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"]["count"] == found["validation"]["count"] == 3
    assert main(["memorisation", f"{run}@3", "--num_samples", "2", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "step 3, seed 1337" in shown
    assert "of their 5-grams are new" in shown
    assert "2 pieces of the validation split, for comparison" in shown
    assert main(["evaluate", str(run), "--memorisation", "3", "--device", "cpu"]) == 0
    assert "3 samples: " in capsys.readouterr().out
    result = json.loads((run / "evaluation.json").read_text())["memorisation"]
    assert result["samples"] == found["samples"]
    assert main(["memorisation", str(run), "--index", str(tmp_path)]) == 2
    assert "has no index yet" in capsys.readouterr().err
