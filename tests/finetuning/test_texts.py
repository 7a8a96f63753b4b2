"""Completions and conversations: the loss is on the answers alone, and packing changes nothing."""

from __future__ import annotations

import contextlib
import io
import json
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gpt_research.base import startup
from gpt_research.base.errors import UserError
from gpt_research.cli import main
from gpt_research.cli.interactive import Conversation
from gpt_research.config import GenerateConfig
from gpt_research.data.chat_format import MARKS, encode_chat, fitting_chat
from gpt_research.data.tokenizer import Tokenizer
from gpt_research.finetuning.examples import Example, Turn
from gpt_research.finetuning.fine_tuned import evaluate_fine_tuned, open_fine_tuned
from gpt_research.finetuning.finetune import finetune, prepared
from gpt_research.finetuning.forms import with_special_tokens
from gpt_research.finetuning.models import PackedGPT
from gpt_research.finetuning.settings import FinetuneSettings
from gpt_research.finetuning.text_forms import TextForm, packed, packed_batch
from gpt_research.finetuning.text_objective import TextObjective
from gpt_research.generation.engine import Request
from gpt_research.generation.torch_engine import TorchEngine
from gpt_research.model.gpt import GPT
from gpt_research.model_config import GPTConfig
from gpt_research.run import Run
from gpt_research.run_reference import run_reference
from gpt_research.training.loop import Trainer
from gpt_research.training.reporter import Reporter

Settings = Callable[..., FinetuneSettings]
TALK = (Turn("system", "Be brief."), Turn("user", "the king "), Turn("assistant", "a fool"))


@pytest.fixture
def chat_tokenizer(pretrained: Path) -> Tokenizer:
    return with_special_tokens(Tokenizer.load(pretrained / "tokenizer.json"), MARKS, end_of_text=MARKS[1])


def test_only_answers_and_their_ends_are_learnt(chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    begin, end = (chat_tokenizer.vocabulary.specials[mark] for mark in MARKS)

    def text_of(tokens: list[int]) -> str:
        marks = {begin: MARKS[0], end: MARKS[1]}
        return "".join(marks.get(token) or chat_tokenizer.decode([token]) for token in tokens)

    made = TextForm("chat", chat_tokenizer, 200).example(Example("", turns=TALK))
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe king<|im_end|>\n<|im_start|>assistant\n"
    assert text_of(made.tokens.tolist()) == expected + "a fool"
    assert text_of(made.targets[made.targets >= 0].tolist()) == "a fool<|im_end|>"
    assert text_of(encode_chat(chat_tokenizer, [(turn.role, turn.content) for turn in TALK[:2]])) == expected
    chat_tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").end_of_text == end == chat_tokenizer.end_of_text
    made = TextForm("complete", chat_tokenizer, 200).example(Example("", ("the king", " loves")))
    assert made.targets[made.targets >= 0].tolist() == [*chat_tokenizer.encode(" loves"), end]


def test_a_vocabulary_of_characters_keeps_its_end_of_text(tmp_path: Path) -> None:
    tokenizer = with_special_tokens(Tokenizer.from_characters("abc\n"), MARKS, end_of_text=MARKS[1])
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.fingerprint == tokenizer.fingerprint
    assert again.end_of_text == 6


def test_a_long_conversation_loses_its_oldest_messages(chat_tokenizer: Tokenizer) -> None:
    turns = (TALK[0], *(Turn(role, f"{n}") for n in range(9) for role in ("user", "assistant")))
    whole = TextForm("chat", chat_tokenizer, 999).example(Example("", turns=turns))
    made = TextForm("chat", chat_tokenizer, 60).example(Example("", turns=turns))
    assert made.cut
    assert not whole.cut
    system = chat_tokenizer.encode("Be brief.")
    assert made.tokens[: len(system) + 10].tolist() == whole.tokens[: len(system) + 10].tolist()
    assert made.tokens[-20:].tolist() == whole.tokens[-20:].tolist()
    with pytest.raises(UserError, match="its answer does not fit the context of 8 tokens"):
        TextForm("chat", chat_tokenizer, 8).example(Example("line 3", turns=turns[-2:]))
    long = TextForm("complete", chat_tokenizer, 4).example(Example("", ("the king loves the crown", "a")))
    assert long.cut
    assert len(long.tokens) == 4


def test_every_example_is_packed_once_and_rows_are_full() -> None:
    lengths = [3, 9, 4, 4, 7, 1, 10, 2] * 5
    rows = packed(lengths, 10, seed=1)
    assert sorted(number for row in rows for number in row) == list(range(40))
    assert all(sum(lengths[number] for number in row) <= 10 for row in rows)
    assert len(rows) <= 22  # 200 tokens in rows of 10
    assert rows != packed(lengths, 10, seed=2)


@pytest.mark.parametrize("positions", ["learned", "rope", "alibi", "sinusoidal", "none"])
def test_a_packed_example_is_what_it_is_alone(chat_tokenizer: Tokenizer, positions: str) -> None:
    shape = {"n_layer": 2, "n_head": 4, "n_kv_head": 2, "n_embd": 32, "block_size": 64, "vocab_size": 302}
    model = PackedGPT(GPTConfig(positions=positions, **shape))
    model.initialise(0)
    form = TextForm("complete", chat_tokenizer, 64)
    texts = [("the king", " loves the crown"), ("a fool", " gladly"), ("Romeo takes the horse", " sadly")]
    examples = [form.example(Example("", pair)) for pair in texts]
    model.train()
    together = model(*packed_batch([examples, examples[:1]]))
    alone = sum(model(*packed_batch([[example]])) for example in [*examples, examples[0]])
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    gradients = []
    for nats in (together, alone):
        model.zero_grad()
        nats.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    # The blocks are computed again in the backward pass with the same mask.
    model.gradient_checkpointing = True
    assert model(*packed_batch([examples, examples[:1]])).item() == pytest.approx(together.item(), rel=1e-6)


def test_the_loss_of_a_step_is_the_mean_over_the_answers(settings: Settings) -> None:
    config, objective = prepared(settings("chat", dropout=0.0, batch_size=2, micro_batch=1))
    assert isinstance(objective, TextObjective)
    trainer = Trainer(config, startup.start("cpu", "fp32"), objective, Reporter())
    nats, count = 0.0, 0
    for row in trainer.batches.order.of_step(0):
        for number in objective.packed_rows[row]:
            example = objective.examples["train"][number]
            logits = GPT.logits(trainer.model, GPT.hidden(trainer.model, torch.from_numpy(example.tokens)[None]))[0]
            targets = torch.from_numpy(example.targets)
            nats += F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum").item()
            count += int((targets >= 0).sum())
    got = trainer.train_step.accumulate(0)
    assert got is not None
    assert got.item() == pytest.approx(nats / count, rel=1e-5)


@pytest.mark.parametrize("task", ["complete", "chat"])
def test_answers_are_learnt_and_written(settings: Settings, task: str) -> None:
    asked = settings(task, epochs=60.0, learning_rate=0.01, dropout=0.0, batch_size=4, eval_interval=40)
    outcome = finetune(asked)
    summary, _ = evaluate_fine_tuned(open_fine_tuned(run_reference(outcome.run), ""), startup.start("cpu", "fp32"))
    scores = summary["tasks"][f"finetuned/{task}"]["scores"]
    assert scores["exact"]["value"] == 1.0
    assert scores["bits_per_byte"]["value"] < 0.2
    run = Run.open(outcome.run)
    engine, text = TorchEngine(run.model, run.tokenizer), "Romeo loves the sword"
    prompt = text if task == "complete" else encode_chat(run.tokenizer, [("user", text)])
    engine.add(Request(prompt, GenerateConfig(temperature=0)))
    samples = []
    while engine.busy:
        samples += [piece.sample for piece in engine.step() if piece.sample is not None]
    if task == "chat":
        _talks(outcome.run, text)
    assert (samples[0].text, samples[0].ended) == ({"complete": " gladly", "chat": "good"}[task], "end_of_text")


def _talks(folder: Path, text: str) -> None:
    """`generate` takes the prompt as a message, and prints the answer alone."""

    def printed(*flags: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(["generate", str(folder), "--temperature", "0", "--device", "cpu", *flags]) == 0
        return out.getvalue()

    assert printed("--prompt", text) == "good\n"
    assert json.loads(printed("--prompt", text, "--json")).items() >= {"prompt": text, "text": "good"}.items()
    raw = printed("--prompt", text, "--chat", "false", "--max_new_tokens", "3")
    assert raw.startswith(text)
    assert raw != f"{text}good\n"
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert main(["generate", str(folder)]) == 2
    assert "This run answers messages, and the prompt is empty" in said.getvalue()


def test_a_session_keeps_the_conversation(chat_tokenizer: Tokenizer) -> None:
    """Each line is answered after all before it; an empty line begins anew."""
    engine = types.SimpleNamespace(tokenizer=chat_tokenizer, block_size=400)
    talk = Conversation()
    assert talk.asked("the king", engine) == encode_chat(chat_tokenizer, [("user", "the king")])
    talk.answered("a fool")
    turns = [("user", "the king"), ("assistant", "a fool"), ("user", "Romeo?")]
    assert talk.asked("Romeo?", engine) == encode_chat(chat_tokenizer, turns)
    talk.answered("")  # it was stopped before its first word
    assert talk.asked("why", engine) == encode_chat(chat_tokenizer, [*turns[:2], ("user", "why")])
    assert talk.asked(" ", engine) is None
    assert talk.asked("the king", engine) == encode_chat(chat_tokenizer, turns[:1])


def test_a_chat_forgets_its_oldest_messages_and_not_the_systems(chat_tokenizer: Tokenizer) -> None:
    turns = [("system", "Be brief."), *((role, str(n)) for n in range(9) for role in ("user", "assistant"))]
    whole, some = (fitting_chat(chat_tokenizer, turns, room) for room in (999, 80))
    assert whole == encode_chat(chat_tokenizer, turns)
    assert len(some) <= 80
    kept = next(n for n in range(len(turns)) if some == encode_chat(chat_tokenizer, [turns[0], *turns[n:]]))
    assert kept > 1
    assert fitting_chat(chat_tokenizer, turns, 1) == encode_chat(chat_tokenizer, [turns[0], turns[-1]])
