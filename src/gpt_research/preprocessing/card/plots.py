"""The figures of the data card, as SVG for an HTML page; equal numbers give equal bytes.

matplotlib is imported when a figure is drawn, because that takes half a second.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt_research.data.shards import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VAL = "#2f6fb2", "#e08a3c"
COLOURS = ("#2f6fb2", "#e08a3c", "#3f9c72", "#b5486b", "#7a5fb5", "#8c7a3f", "#4aa7b8", "#6b7785")
"""Colours of corpora or reasons, in order; the last is for all others together."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "gpt-research",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7785",
    "axes.axisbelow": True,
}


def _styled(draw: Callable[..., str]) -> Callable[..., str]:
    """Return a function that draws in the card's style, whatever the user's matplotlib style is."""

    @wraps(draw)
    def drawn(*args: Any) -> str:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args)

    return drawn


@_styled
def tokens(manifests: Mapping[str, Manifest]) -> str:
    """Return bars of the tokens of each corpus, with validation in another colour."""
    figure, axes = _bars(len(manifests))
    left = np.zeros(len(manifests))
    for split, label, colour in (("train", "training", TRAIN), ("val", "validation", VAL)):
        counts = np.array([manifest.count(split) for manifest in manifests.values()], dtype=float)
        axes.barh(list(manifests), counts, left=left, color=colour, label=label, height=0.65)
        left += counts
    axes.set_xlabel("tokens")
    return _finished(figure, axes)


@_styled
def drops(manifests: Mapping[str, Manifest]) -> str:
    """Return bars of the shares of documents that were kept or dropped, by reason."""
    figure, axes = _bars(len(manifests))
    kept = [sum(m.count(split, "documents") for split in m.splits) for m in manifests.values()]
    sums = np.array([k + sum(m.drops.values()) for k, m in zip(kept, manifests.values(), strict=True)], dtype=float)
    left = np.zeros(len(manifests))
    for (reason, counts), colour in zip(_by_reason(kept, manifests).items(), COLOURS, strict=False):
        shares = counts / np.maximum(sums, 1)
        axes.barh(list(manifests), shares, left=left, color=colour, label=reason, height=0.65)
        left += shares
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of documents")
    axes.xaxis.set_major_formatter(_percent)
    return _finished(figure, axes)


def _by_reason(kept: list[int], manifests: Mapping[str, Manifest]) -> dict[str, np.ndarray]:
    """Return the documents of each corpus by reason; "kept" is first, the rarest are "other"."""
    totals: dict[str, int] = {}
    for manifest in manifests.values():
        for reason, count in manifest.drops.items():
            totals[reason] = totals.get(reason, 0) + count
    named = sorted(totals, key=lambda reason: (-totals[reason], reason))
    shown = named if len(named) < len(COLOURS) else named[: len(COLOURS) - 2]
    by_reason = {"kept": np.array(kept, dtype=float)}
    for reason in shown:
        by_reason[reason] = np.array([m.drops.get(reason, 0) for m in manifests.values()], dtype=float)
    if len(shown) < len(named):
        rest = [sum(n for reason, n in m.drops.items() if reason not in shown) for m in manifests.values()]
        by_reason["other"] = np.array(rest, dtype=float)
    return by_reason


@_styled
def lengths(histograms: Mapping[str, np.ndarray]) -> str:
    """Return the shares of documents by length; bin i counts those of 2**i to 2**(i + 1) tokens."""
    figure = _figure(3.4)
    axes = figure.add_subplot()
    filled = [np.flatnonzero(histogram) for histogram in histograms.values()]
    low = min((int(bins[0]) for bins in filled if len(bins)), default=0)
    high = max((int(bins[-1]) for bins in filled if len(bins)), default=0) + 1
    largest = sorted(histograms, key=lambda name: (-int(histograms[name].sum()), name))[: len(COLOURS)]
    for name, colour in zip([n for n in histograms if n in largest], COLOURS, strict=False):
        shares = histograms[name][low:high] / max(1, histograms[name].sum())
        axes.stairs(shares, np.arange(low, high + 1), color=colour, label=name, linewidth=1.8)
        axes.stairs(shares, np.arange(low, high + 1), color=colour, fill=True, alpha=0.12)
    axes.xaxis.set_major_formatter(lambda value, _: f"{2 ** int(value):,}")
    axes.set_xticks(range(low, high + 1, 2))
    axes.yaxis.set_major_formatter(_percent)
    axes.set_xlabel("tokens of a document")
    axes.set_ylabel("share of documents")
    return _finished(figure, axes)


def _figure(height: float) -> Figure:
    """Return an empty figure, `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8.6, height), layout="constrained")


def _bars(count: int) -> tuple[Figure, Axes]:
    """Return a figure with room for `count` bars, the first on top."""
    figure = _figure(1.3 + 0.34 * count)
    axes = figure.add_subplot()
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(_short)
    return figure, axes


def _percent(value: float, _: float) -> str:
    return f"{value:.0%}"


def _short(value: float, _: float) -> str:
    """Write a count in a few characters: 1.5k, 200M, 3B."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _finished(figure: Figure, axes: Axes) -> str:
    axes.grid(axis="both", color="#e3e8ed", linewidth=0.8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :].strip()  # the XML declaration is not allowed inside HTML
