"""What an ablation says about each arm: verdicts with their intervals, pairs, ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_research.report.charts import COLOURS
from gpt_research.report.html import Html, element, joined, paragraph, table, verdict
from gpt_research.report.intervals import Row, interval_table
from gpt_research.report.numbers import number_of
from gpt_research.report.scales import short

Arm = Mapping[str, Any]
NO_END = 1e300
"""Above this the end of a ratio stands for none, as earlier results have it."""


def verdicts(result: Mapping[str, Any], confidence: float) -> Html:
    """Return the verdict on each arm, for each horizon: in bits per byte, with its interval drawn,
    and below in nats, with what the pairs could show.
    """
    comparisons, arms = result["comparisons"], result["arms"]
    if not comparisons:
        return paragraph("Nothing was compared yet.")
    base = arms[0]["name"] if arms else "the base"
    colours = {arm["name"]: number % COLOURS for number, arm in enumerate(arms)}
    horizons = sorted({one.get("horizon", 1.0) for one in comparisons}, reverse=True)
    interval = f"{100 * confidence:g}% interval"
    parts = []
    for horizon in horizons:
        at = f" at horizon {horizon:g}" if len(horizons) > 1 else ""
        rows, others = [], []
        for one in (one for one in comparisons if one.get("horizon", 1.0) == horizon):
            arm, bits, nats = str(one.get("arm", "")), one.get("bits_per_byte"), one.get("loss")
            mean, low, high = (number_of(bits, end) for end in ("mean", "low", "high"))
            pairs = [d for _, d in differences(arms, arm, horizon) if d is not None]
            shown = [verdict(one.get("verdict")), verdict(one.get("holm")), signed(mean), _interval(bits)]
            rows.append(Row(arm, mean, low, high, pairs, [*shown, one.get("pairs", "–")], colours.get(arm, 0)))
            noise, gain = number_of(one, "seed_noise"), number_of(one, "pairing_gain")
            visible = short(number_of(one, "smallest_visible"), 3)
            others.append(
                [arm, signed(number_of(nats, "mean")), _interval(nats), visible, short(noise, 3), _times(gain)]
            )
        headings = ["arm", "bits per byte", "verdict", "after Holm", "difference", interval, "pairs"]
        parts.append(interval_table(f"Difference to {base}{at}", headings, rows, texts=(0, 1)))
        headings = ["arm", "nats a token", interval, "smallest visible", "noise of a seed", "pairing helped"]
        parts.append(table(f"The same in nats, and what the pairs could show{at}", headings, others))
    note = (
        "Below 0 is better than the base. A pair is two runs with the same seed: the same batches in the same order "
        "and, wherever shapes and names agree, the same initial weights. The whisker is the interval, pale dots are "
        "single pairs. Intervals hold although the result was looked at after each pair. “After Holm” is the verdict "
        "if all arms of this experiment count as one question. “Smallest visible” is the effect in bits per byte that "
        "this many pairs show in half of such experiments. “Pairing helped” is how many times more seeds it takes "
        "without pairs."
    )
    return joined([*parts, element("p", note, class_="quiet")])


def signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}×"


def _interval(values: Mapping[str, Any] | None) -> str:
    low, high = number_of(values, "low"), number_of(values, "high")
    return "–" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def differences(arms: Sequence[Arm], name: str, horizon: float) -> list[tuple[Any, float | None]]:
    """Return seed and difference of each pair of an arm and the base, the first arm; None where a
    run has no number.
    """

    def ends(arm: Arm) -> dict[Any, float | None]:
        runs = [run for run in arm["runs"] if run.get("horizon", 1.0) == horizon]
        return {run.get("seed"): number_of(run, "bits_per_byte") for run in runs}

    other = next((arm for arm in arms if arm["name"] == name), None)
    if other is None:
        return []
    base, own = ends(arms[0]), ends(other)
    shared = [seed for seed in base if seed in own]
    return [(s, None if base[s] is None or own[s] is None else own[s] - base[s]) for s in shared]  # type: ignore[operator]


def pair_tables(arms: Sequence[Arm]) -> Html:
    """Return the difference of each pair, for each horizon."""
    parts = []
    horizons = sorted({run.get("horizon", 1.0) for arm in arms for run in arm["runs"]}, reverse=True)
    for horizon in horizons:
        columns = {arm["name"]: dict(differences(arms, arm["name"], horizon)) for arm in arms[1:]}
        seeds = sorted({seed for of_arm in columns.values() for seed in of_arm}, key=str)
        rows = [[f"seed {seed}", *(signed(of_arm.get(seed)) for of_arm in columns.values())] for seed in seeds]
        if rows:
            at = f" at horizon {horizon:g}" if len(horizons) > 1 else ""
            title = f"Bits per byte of each pair: arm minus {arms[0]['name']}{at}"
            parts.append(table(title, ["pair", *columns], rows))
    if not parts:
        return Html("")
    return joined(
        [
            *parts,
            element(
                "p",
                "– stands where a run of the pair has no number: it diverged, failed or is not there yet.",
                class_="quiet",
            ),
        ]
    )


def ratios(result: Mapping[str, Any], confidence: float) -> Html:
    """Return how many times the base's tokens and time an arm needs to the same loss."""
    parts = []
    for name, title in (("tokens_ratio", "Tokens to the same loss"), ("time_ratio", "Time to the same loss")):
        rows = []
        for one in result["comparisons"]:
            ratio = one.get(name)
            if not ratio:
                continue
            mean, low, high = (number_of(ratio, end) for end in ("mean", "low", "high"))
            if high is not None and high > NO_END:
                low = high = None
            beyond = ratio.get("beyond")
            shown = (
                f"{beyond} than {mean:.2f}" if beyond and mean is not None else "–" if mean is None else f"{mean:.2f}"
            )
            interval = f"{low:.2f} to {high:.2f}" if low is not None and high is not None else "–"
            rows.append(Row(one.get("arm", ""), mean, low, high, cells=[shown, interval]))
        if rows:
            base = result["arms"][0]["name"]
            headings = ["arm", f"times fewer than {base} (1 is the same)", "ratio", f"{100 * confidence:g}% interval"]
            parts.append(interval_table(f"{title}: {base}'s divided by the arm's", headings, rows, mark=1.0))
    return joined(parts)
