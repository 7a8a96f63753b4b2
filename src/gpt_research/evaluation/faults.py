"""Known faults of scores that others published, each computed on purpose.

The tests show that our way differs from each, and `audit` tries them on a published value that
differs from ours. A fault is another way to ask the model (`asks`), or another way to count the
answers (`counts`).

Sources: BabyLM's evaluation pipeline, issues 34 (ties, 16 bits) and 38 (padding); lm-eval's
handling of tokens that cross a border; OLMo's in-loop evaluation, versions 1 and 2 of its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gpt_research.evaluation.evaluated_model import EvaluatedModel
from gpt_research.evaluation.forms import Completion, Options, Question
from gpt_research.evaluation.statistics import Metric
from gpt_research.evaluation.task import Continuations, Measurement
from gpt_research.evaluation.windows import Scores, Window


@dataclass(frozen=True)
class Fault:
    """One known fault."""

    what: str
    """What is done wrongly, as a clause."""
    asks: Callable[[EvaluatedModel], EvaluatedModel] | None = None
    """Returns the model, asked in the wrong way."""
    counts: Callable[[Measurement, Sequence[Any], Metric], float | None] | None = None
    """Returns the value of a score that is counted in the wrong way; None if it does not apply."""


class _HalfSoftmax(EvaluatedModel):
    """Takes the logarithm of the softmax in bf16, whose numbers have 8 significant bits."""

    kind = torch.bfloat16

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        return [_alone(self, window, self.kind) for window in windows]


class _Fp16Softmax(_HalfSoftmax):
    kind = torch.float16


@torch.inference_mode()
def _alone(model: EvaluatedModel, window: Window, kind: torch.dtype, padding: int = 0) -> Scores:
    """Return the scores of one window, by a forward pass of its own.

    Args:
        padding: end-of-text tokens before it, which no mask hides.
    """
    tokens = [*[model.tokenizer.end_of_text] * padding, *np.asarray(window.tokens).tolist()]
    tokens = tokens[-(model.model.config.block_size + 1) :]
    device = model.runtime.device
    h = model.model.hidden(torch.tensor([tokens[:-1]], device=device))[:, -window.scored :]
    log_p = model.model.logits(h.float())[0].to(kind).log_softmax(-1)
    targets = torch.tensor(tokens[-window.scored :], device=device)
    chosen = log_p.gather(1, targets[:, None])[:, 0]
    return Scores(-chosen.double().cpu().numpy(), (chosen == log_p.amax(1)).cpu().numpy())


class _LeftPadding(EvaluatedModel):
    """Pads each batch of eight on the left to its longest text, and masks nothing."""

    def score(self, windows: Sequence[Window]) -> list[Scores]:
        found = []
        for begin in range(0, len(windows), 8):
            batch = windows[begin : begin + 8]
            longest = max(len(window.tokens) for window in batch)
            found += [_alone(self, window, torch.float32, longest - len(window.tokens)) for window in batch]
        return found


class _CutOnTheRight(EvaluatedModel):
    """Keeps the first tokens of a text that is longer than the context, and loses its end."""

    def token_continuations(self, pairs: Sequence[tuple[list[int], list[int]]]) -> Continuations:
        room = self.context
        short = [(before[: max(1, room + 1 - len(after[:room]))], after[:room]) for before, after in pairs]
        found = super().token_continuations(short)
        return replace(found, cut=sum(len(before) + len(after) > room + 1 for before, after in pairs))


class _Fused(EvaluatedModel):
    """Encodes context and continuation together, and scores what follows the context's tokens."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        end = self.tokenizer.end_of_text
        nats, greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
        encoded, kept = [], []
        for number, (before, after) in enumerate(pairs):
            context = self.tokenizer.encode(before) or [end]
            whole = self.tokenizer.encode(before + after) if before else [end, *self.tokenizer.encode(after)]
            if len(whole) > len(context):  # else nothing of the continuation is left to score
                encoded.append((whole[: len(context)], whole[len(context) :]))
                kept.append(number)
        found = self.token_continuations(encoded) if encoded else None
        tokens = np.zeros(len(pairs), dtype=np.int64)
        if found is not None:
            nats[kept], greedy[kept], tokens[kept] = found.nats, found.greedy, found.tokens
        return Continuations(nats, greedy, tokens, 0, np.zeros(len(pairs), dtype=bool))


class _NoStart(EvaluatedModel):
    """Begins a text without an end-of-text token, so that its first token is not scored."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        encoded = []
        for before, after in pairs:
            tokens = self.tokenizer.encode(before + after)
            first = len(self.tokenizer.encode(before)) if before else 1
            encoded.append((tokens[:first], tokens[first:] or tokens[-1:]))
        return self.token_continuations(encoded)


class _SpaceFirst(EvaluatedModel):
    """Puts a space before a text without a context."""

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> Continuations:
        return super().continuations([(b, after if b or after[:1] == " " else " " + after) for b, after in pairs])


def _as(kind: type[EvaluatedModel]) -> Callable[[EvaluatedModel], EvaluatedModel]:
    return lambda model: model.as_a(kind)


def _halved_context(model: EvaluatedModel) -> EvaluatedModel:
    context = max(1, model.context // 2)
    return replace(model, context=context, stride=None if model.stride is None else min(model.stride, context))


def _ties(count: Callable[[np.ndarray], np.ndarray]) -> Callable[[Measurement, Sequence[Any], Metric], float | None]:
    def value(found: Measurement, items: Sequence[Any], metric: Metric) -> float | None:
        correct = np.asarray(found.columns.get(metric.numerator, np.zeros(0)), dtype=np.float64)
        is_choice = metric.numerator.startswith("correct") and "chance" in found.columns
        return float(count(correct).mean()) if is_choice else None

    return value


def _lengths(length: Callable[[str], int]) -> Callable[[Measurement, Sequence[Any], Metric], float | None]:
    """Return a way to count bits per something else than a byte of the true answer."""

    def value(found: Measurement, items: Sequence[Any], metric: Metric) -> float | None:
        if metric.numerator != "bits" or not items:
            return None
        texts = [_true(item) for item in items]
        sizes = np.array([max(1, length(text)) for text in texts])
        return float((found.columns["nats"] / math.log(2) / sizes).mean())

    return value


def _true(item: Any) -> str:
    if isinstance(item, Question | Options):
        return item.pairs[item.label][1]
    if isinstance(item, Completion):
        return item.continuation
    return " " + str(item).rpartition(" ")[2]  # a passage of LAMBADA


def _nats(found: Measurement, items: Sequence[Any], metric: Metric) -> float | None:
    return float((found.columns["nats"] / found.columns["bytes"]).mean()) if metric.numerator == "bits" else None


FAULTS: dict[str, Fault] = {
    "ties count as right": Fault("a tie counts as right", counts=_ties(np.ceil)),
    "ties count as wrong": Fault("a tie counts as wrong", counts=_ties(np.floor)),
    "characters as bytes": Fault("characters were counted as bytes", counts=_lengths(len)),
    "space not counted": Fault(
        "the space before an answer was scored but not counted (OLMo's bpb_v1)",
        counts=_lengths(lambda text: len(text.encode()) - 1),
    ),
    "nats as bits": Fault("nats were taken for bits", counts=_nats),
    "bf16 softmax": Fault("the logarithm of the softmax was taken in bf16", _as(_HalfSoftmax)),
    "fp16 softmax": Fault("the logarithm of the softmax was taken in fp16", _as(_Fp16Softmax)),
    "left padding": Fault("batches were padded on the left without a mask", _as(_LeftPadding)),
    "cut on the right": Fault("long texts were cut on the right", _as(_CutOnTheRight)),
    "half the context": Fault("the model saw only half of its context", _halved_context),
    "fused continuations": Fault("a token across the border was not scored", _as(_Fused)),
    "no start": Fault("the first token of a text was not scored", _as(_NoStart)),
    "space first": Fault("a space was put before each sentence (lm-eval's blimp)", _as(_SpaceFirst)),
}
"""The faults, the cheap ones first."""
