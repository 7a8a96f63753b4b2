"""A text is led back to the documents that have it, and to the steps that read it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_run import Planted

from gpt_research.checkpoint.files import saved_steps
from gpt_research.cli.command_line import main
from gpt_research.data import lineage
from gpt_research.data.shards import Dataset
from gpt_research.run import Run
from gpt_research.tracing.losses import losses_at_checkpoints
from gpt_research.tracing.matches import tokens_of
from gpt_research.tracing.trace import Span, Tracer


@pytest.fixture(scope="module")
def tracer(planted: Planted) -> Tracer:
    return Tracer.open(planted.run)


def test_opening_loads_what_the_first_question_needs(planted: Planted) -> None:
    lineage._row_group.cache_clear()
    tracer = Tracer.open(planted.run)
    # Machine code, the index of both splits and the document index of the shard.
    assert "gpt_research.tracing.kernels" in sys.modules
    assert {"train", "val"} <= vars(tracer.index).keys()
    assert lineage._row_group.cache_info().currsize > 0


def span_of(tracer: Tracer, text: str) -> Span:
    found = tracer.trace(text).longest
    assert found is not None
    return found


def test_a_planted_sentence_is_dated_to_its_checkpoint_interval_every_time(planted: Planted, tracer: Tracer) -> None:
    checkpoints, dated, in_parts = [0, *saved_steps(planted.run)], 0, 0
    for sentence, file in planted.sentences.items():
        span = span_of(tracer, sentence)
        assert span.text.strip() == sentence, "found whole"
        place = (span.places or span.validation_places)[0]
        assert (place.source, place.root) == (file, str(planted.data.parent / "texts"))
        text = (planted.data.parent / "texts" / file).read_text()
        assert text.encode()[place.byte :].startswith(span.tokens and tracer.tokenizer.decode_bytes(span.tokens))
        if span.validation_count:
            assert (span.count, place.split, place.readings) == (0, "val", [])
            continue
        assert (span.count, span.validation_count) == (1, 0)
        ids = np.array(span.tokens, np.int64)
        whole = [at for at, row in planted.rows.items() if ids.tobytes() in row.tobytes()]
        assert [(r.step, r.row) for r in place.readings if r.is_whole] == sorted(whole)
        for reading in place.readings:
            row = planted.rows[reading.step, reading.row]
            held = tracer.tokenizer.decode(row[reading.in_window :])
            assert held.startswith(reading.text) or reading.text.startswith(held)
            before, after = reading.checkpoint_before or 0, reading.checkpoint_after
            assert before < reading.step <= (after or 10**9)
            assert after is not None
            assert checkpoints.index(after) == checkpoints.index(before) + 1
            assert reading.is_whole == (reading.text == span.text or reading.text.strip() == sentence)
            in_parts += not reading.is_whole
        dated += len(whole)
    assert dated > 30
    assert in_parts > 5


def test_the_edges_of_a_text_do_not_depend_on_what_stands_beside_it(planted: Planted, tracer: Tracer) -> None:
    sentence = next(iter(planted.sentences))
    words = sentence.split(" ", 1)[1]  # goes on a line, so in the data its first token has a blank
    assert span_of(tracer, words).text == words
    assert span_of(tracer, words + "zzqx").text == words
    assert span_of(tracer, f"qzqz{words}").start > 0
    selected = tracer.trace("fox", before="The red ")
    assert [span.text for span in selected.spans] == ["fox"] or not selected.spans
    (alone,) = tokens_of(words, tracer.tokenizer, before="The ")
    assert int(alone.bounds[0]) == 0
    assert tracer.tokenizer.decode(alone.ids) == f" {words}"


def test_spans_are_the_longest_and_cover_what_is_known(planted: Planted, tracer: Tracer) -> None:
    one, other = list(planted.sentences)[:2]
    trace = tracer.trace(f"{one} éé {other}")
    texts = [span.text.strip() for span in trace.spans]
    assert one in texts
    assert other in texts
    ranges = [(span.start, span.stop) for span in trace.spans]
    assert all(not (a[0] <= b[0] and b[1] <= a[1]) for a in ranges for b in ranges if a != b)
    assert all(trace.text[span.start : span.stop] == span.text for span in trace.spans)
    json.dumps(trace.as_json())


def test_a_frequent_span_lists_the_places_that_were_read_first(tracer: Tracer) -> None:
    trace = tracer.trace(" met the", limit=3)
    (span,) = [span for span in trace.spans if span.text.strip() == "met the"] or [trace.longest]
    assert span is not None
    firsts = [place.readings[0].step if place.readings else 99 for place in span.places]
    assert firsts == sorted(firsts)
    assert len(span.places) <= 3


def test_what_a_checkpoint_had_read_ends_at_its_step(planted: Planted) -> None:
    early = Tracer.open(f"{planted.run}@6")
    assert early.readings.last_step == 6
    steps = {
        reading.step
        for sentence in planted.sentences
        for place in span_of(early, sentence).places
        for reading in place.readings
    }
    assert steps
    assert max(steps) <= 6


def test_the_loss_of_a_span_is_that_of_the_window_that_read_it(planted: Planted, tracer: Tracer) -> None:
    import torch

    sentence = next(
        s for s in planted.sentences if any(p.readings and p.readings[0].is_whole for p in span_of(tracer, s).places)
    )
    span = span_of(tracer, sentence)
    reading = next(r for r in span.places[0].readings if r.is_whole)
    losses = losses_at_checkpoints(planted.run, *tracer.in_context(span), last_step=18)
    assert [loss.step for loss in losses] == saved_steps(planted.run)
    row = torch.from_numpy(planted.rows[reading.step, reading.row])
    first, last = max(1, reading.in_window), reading.in_window + len(span.tokens)
    with torch.no_grad():
        model = Run.open(planted.run, step="9").model
        logits = model.logits(model.hidden(row[None, : last - 1]))[0]
    expected = torch.nn.functional.cross_entropy(logits[first - 1 :], row[first:last], reduction="none")
    at_9 = next(loss for loss in losses if loss.step == 9)
    assert at_9.token_losses == pytest.approx(expected.tolist(), abs=1e-4)
    assert at_9.loss == pytest.approx(expected.mean().item(), abs=1e-4)


def test_the_loss_of_a_span_is_that_of_the_tokens_that_stand_at_its_place(planted: Planted, tracer: Tracer) -> None:
    """The data may write one text as other tokens elsewhere, such as a word behind a blank."""
    others, split = 0, tracer.index.train.text
    for word in sorted({word for sentence in planted.sentences for word in sentence.split()}):
        for span in tracer.trace(word, limit=50).spans:
            for place in span.places:
                tokens, first = tracer.in_context(replace(span, places=[place]))
                array = split.files[place.corpus].arrays[place.shard]
                there = array[place.token_in_shard : place.token_in_shard + place.length].tolist()
                assert tokens[-place.length :] == there
                assert tracer.tokenizer.decode(there).strip() == span.text.strip()
                assert first == max(1, len(tokens) - place.length)
                others += place.length != len(span.tokens)
    assert others


def test_the_command_prints_places_steps_and_losses(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = next(iter(planted.sentences))
    assert main(["trace", str(planted.run), sentence]) == 0
    shown = capsys.readouterr().out
    for part in (
        "in training once, in validation never",
        "tales: 00.txt (0), byte ",
        "at step ",
        "checkpoint       18",
    ):
        assert part in shown
    assert main(["trace", f"{planted.run}@9", sentence, "--json", "--losses", "false"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["last_step"] == 9
    assert found["spans"][0]["places"][0]["source"] == "00.txt"
    assert main(["trace", str(planted.run), "ÿÿ"]) == 0
    assert "No two tokens of the text stand together" in capsys.readouterr().out


def test_what_does_not_belong_together_is_a_sentence(
    planted: Planted, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        assert main(["trace", *arguments]) == 2
        return capsys.readouterr().err

    assert "has no index yet. Make it with: " in refused(str(planted.run), "a text", "--index", str(tmp_path))
    assert "was not trained on the data set in" in refused(str(planted.run), "a text", "--data", str(dataset_folder))
    assert "No data set at" in refused(str(planted.run), "a text", "--data", str(tmp_path / "gone"))
    assert "query is '', but it must be the text to look for" in refused(str(planted.run))
    assert "is not a run folder" in refused(str(tmp_path), "a text")
    other = tmp_path / "other"
    shutil.copytree(planted.data / "suffix_array", other)
    fields = json.loads((other / "index.json").read_text())
    fields["data"]["fingerprint"] = "0" * 64
    (other / "index.json").write_text(json.dumps(fields))
    assert "is the index of other data (000000000000)" in refused(str(planted.run), "a text", "--index", str(other))
    assert Dataset(planted.data, 1)


def test_index_says_where_it_is(planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(planted.data), "--out", str(tmp_path / "index")]) == 0
    out, err = capsys.readouterr()
    assert f"Index: {tmp_path / 'index'}" in out
    assert "--index" in out
    assert "Sorting " in err
