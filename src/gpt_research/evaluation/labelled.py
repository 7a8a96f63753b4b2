"""Scores of predictions for labelled examples: accuracy, F1, Matthews, Pearson and Spearman.

Not all of them are ratios of sums, so how far each item moves a score comes from leaving it out
(the jackknife): e_i = (n - 1) / n (mean of the scores without one item - score without item i).
For an accuracy that is what `statistics` has. Intervals are exact for an accuracy, and from 2,000
samples of the items with replacement (the bootstrap) for the others.
Sources: Matthews 1975; Efron 1979; Clopper and Pearson 1934.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from gpt_research.evaluation.statistics import ACCURACY, BITS_PER_BYTE, LOSS, PERPLEXITY, Columns, Estimate, Metric

FINETUNED = "finetuned"
"""Name of the task that measures a fine-tuned model, as finetuned/classify."""
SAMPLES = 2000
"""Samples of the bootstrap."""

Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Takes labels, predictions and the weight of each item, (items,) each."""


@dataclass(frozen=True)
class ItemScore(Metric):
    """A score of labels and predictions that is no ratio of sums."""

    score: Score = lambda labels, predicted, weights: math.nan

    @property
    def columns(self) -> set[str]:
        return {"label", "predicted"}

    def estimate(self, columns: Columns) -> Estimate:
        """Return the score; nan where it is not defined, such as the correlation of constants."""
        labels, predicted = columns["label"], columns["predicted"]
        n, weights = len(labels), np.ones(len(labels))
        value = self.score(labels, predicted, weights)
        # Items with the same label and prediction move the score alike.
        pairs, kind = np.unique(np.stack([labels, predicted], 1).astype(np.float64), axis=0, return_inverse=True)
        first = np.full(len(pairs), -1)
        first[kind[::-1]] = np.arange(n)[::-1]
        without = np.empty(len(pairs))
        for index, item in enumerate(first):
            weights[item] = 0.0
            without[index] = self.score(labels, predicted, weights)
            weights[item] = 1.0
        left_out = without[kind]
        return Estimate(value, (n - 1) / n * (left_out.mean() - left_out))


def f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int = 0) -> float:
    """Return 2 TP / (2 TP + FP + FN): with two classes that of the second one, as it is published,
    with more the mean over the classes. It is nan where no class that counts occurs.

    Args:
        classes: the number of classes that can be predicted, of which items need not have all; 0
            takes those up to the last one that the items have.
    """
    classes = classes or max(2, int(max(labels.max(), predicted.max())) + 1)
    table = _confusion(labels, predicted, weights, classes)
    hits, both = table.diagonal(), table.sum(0) + table.sum(1)
    if classes == 2:
        return float(2 * hits[1] / both[1]) if both[1] else math.nan
    seen = both > 0
    return float((2 * hits[seen] / both[seen]).mean()) if seen.any() else math.nan


def matthews(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Return the correlation of classes; 0 if all predictions, or all labels, are one class."""
    table = _confusion(labels, predicted, weights, int(max(labels.max(), predicted.max())) + 1)
    n, hits, said, there = table.sum(), table.trace(), table.sum(0), table.sum(1)
    spread = (n**2 - (said**2).sum()) * (n**2 - (there**2).sum())
    return float((hits * n - (said * there).sum()) / math.sqrt(spread)) if spread > 0 else 0.0


def pearson(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Return the linear correlation."""
    total = weights.sum()
    a, b = labels - (weights * labels).sum() / total, predicted - (weights * predicted).sum() / total
    spread = (weights * a**2).sum() * (weights * b**2).sum()
    return float((weights * a * b).sum() / math.sqrt(spread)) if spread > 0 else math.nan


def spearman(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Return the linear correlation of ranks; equal numbers share the mean of their ranks."""
    return pearson(_ranks(labels, weights), _ranks(predicted, weights), weights)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    _, kind = np.unique(values, return_inverse=True)
    counts = np.bincount(kind, weights)
    return (np.cumsum(counts) - (counts - 1) / 2)[kind]


def _confusion(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    cells = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, weights, classes * classes).reshape(classes, classes)


def _of(score: Score) -> ItemScore:
    return ItemScore("label", score=score, higher_is_better=True)


_TASK_LOSS = Metric("nats")
_CLASSES: dict[str, Metric] = {
    "accuracy": ACCURACY,
    "f1": _of(f1),
    "matthews": _of(matthews),
    "loss": _TASK_LOSS,
}
_TEXTS: dict[str, Metric] = {"loss": LOSS, "perplexity": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE, "exact": ACCURACY}
METRICS: Mapping[str, Mapping[str, Metric]] = {
    "classify": _CLASSES,
    "pairs": _CLASSES,
    "similarity": {"pearson": _of(pearson), "spearman": _of(spearman), "mean_squared_error": Metric("squared_error")},
    "choice": {"accuracy": ACCURACY, "loss": _TASK_LOSS},
    "complete": _TEXTS,
    "chat": _TEXTS,
}
"""The scores of each task of fine-tuning."""


def metrics_for(task: str, classes: int) -> Mapping[str, Metric]:
    """Return the scores of a task of fine-tuning.

    Args:
        classes: the number of classes of the head; 0 if it has none, or the number is not known.
    """
    if METRICS[task] is not _CLASSES:
        return METRICS[task]
    return {**_CLASSES, "f1": _of(partial(f1, classes=classes))}


def interval(metric: Metric, columns: Columns, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of a score: exact for an accuracy, else by bootstrap."""
    items = len(next(iter(columns.values())))
    if metric is ACCURACY:
        return exact_interval(int(columns["correct"].sum()), items, confidence)
    stream, found = np.random.default_rng(0), []
    for _ in range(SAMPLES):
        drawn = stream.integers(items, size=items)
        found.append(value_of(metric, {name: column[drawn] for name, column in columns.items()}))
    if not np.isfinite(found).any():
        return math.nan, math.nan
    low, high = np.nanquantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def value_of(metric: Metric, columns: Columns) -> float:
    """Return the score alone, without what each item does to it, which takes longer."""
    if isinstance(metric, ItemScore):
        return metric.score(columns["label"], columns["predicted"], np.ones(len(columns["label"])))
    return metric.estimate(columns).value


def exact_interval(hits: int, items: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson for a share of `hits` among `items`."""
    tail = (1 - confidence) / 2
    # The lower end is the share at which `hits` or more have the probability of the tail, the upper
    # end that at which `hits` or fewer have it.
    low = _bisect(lambda p: _at_least(hits, items, p) - tail) if hits else 0.0
    high = _bisect(lambda p: tail - (1 - _at_least(hits + 1, items, p))) if hits < items else 1.0
    return low, high


def _at_least(hits: int, items: int, p: float) -> float:
    """Return the probability of `hits` or more, if each of `items` is one with probability p."""
    k = np.arange(hits, items + 1)
    logs = np.array([math.lgamma(items + 1) - math.lgamma(i + 1) - math.lgamma(items - i + 1) for i in k])
    return float(np.exp(logs + k * math.log(p) + (items - k) * math.log1p(-p)).sum())


def _bisect(rising: Callable[[float], float]) -> float:
    """Return where a rising function on (0, 1) is 0."""
    low, high = 1e-12, 1 - 1e-12
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
