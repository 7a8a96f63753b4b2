"""What GPT-2 124M reaches, as others published or measured it again.

WikiText-2 by the windows of `wikitext` with a stride of the context; LAMBADA and HellaSwag by lm-eval.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One published score."""

    value: float
    context: int
    source: str


PUBLISHED = {
    ("wikitext2", "perplexity"): [
        Figure(29.94, 1024, "the released weights in transformers, stride 1,024"),
        Figure(43.34, 256, "the released weights, stride 256"),
    ],
    ("lambada", "accuracy"): [Figure(0.3256, 1024, "lm-eval, lambada_openai")],
    ("lambada", "perplexity"): [Figure(40.06, 1024, "lm-eval, lambada_openai")],
    ("hellaswag", "accuracy_norm"): [Figure(0.3114, 1024, "lm-eval, hellaswag")],
}
"""By task and score."""


def nearest(task: str, metric: str, context: int) -> Figure | None:
    """Return the figure measured at the context nearest to `context`, if there is any."""
    figures = PUBLISHED.get((task, metric), [])
    return min(figures, key=lambda figure: abs(figure.context - context), default=None)
