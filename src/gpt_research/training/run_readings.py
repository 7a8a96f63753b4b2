"""Which steps of a run read which tokens, with the settings and the data that each step had.

A run may have gone on with other settings, other data or on other hardware, and it may have gone
back to an earlier step. `settings_history` says what held for each step, and `data.readings`
computes the order of the data backwards for each period.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt_research.base.errors import UserError
from gpt_research.checkpoint.files import find_step
from gpt_research.data.loader import DataLoader
from gpt_research.data.readings import Reading, Stretch, readings
from gpt_research.data.shards import Dataset, data_fingerprint
from gpt_research.run_reference import RunReference
from gpt_research.settings_history import Period, periods
from gpt_research.training.inputs import loader_of_run
from gpt_research.training.inspect_run import training_of


@dataclass(frozen=True)
class Part:
    """Steps that were taken with the same order of the data."""

    steps: range
    loader: DataLoader


@dataclass(frozen=True)
class RunReadings:
    """What a run has read of one data set."""

    dataset: Dataset
    parts: Sequence[Part]
    last_step: int
    """The last step that the run has taken, or that leads to the checkpoint that is named."""
    unknown: Sequence[str]
    """Sentences about what the run has read besides, as far as that is known."""

    @classmethod
    def open(cls, reference: RunReference, data: str = "") -> RunReadings:
        """Look up what the steps of a run read, up to its checkpoint if one is named.

        Args:
            data: where the data set lies; empty if it is where the run's newest step found it.

        Raises:
            UserError: there is no such run, checkpoint or data set, or the run has read none of it.
        """
        folder = reference.folder
        training = training_of(reference)
        if reference.is_named:
            last_step = find_step(folder, reference.step)
        else:
            last_step = max([_newest(reference), *(line["step"] for line in training.metrics)])
        known = [period for period in periods(folder) if period.from_step < last_step]
        place = data or (known[-1].config if known else training.config).data
        dataset = Dataset(place, training.config.model.block_size)
        fingerprint = data_fingerprint(dataset.manifests)
        parts, unknown = [], _origin(training.lineage)
        for number, period in enumerate(known):
            end = known[number + 1].from_step if number + 1 < len(known) else last_step
            # A run of version 0.1 has no history. Its checkpoints know the data.
            trained_on = period.data or training.lineage.get("data", "")
            if trained_on in ("", fingerprint):
                parts.append(Part(range(period.from_step + 1, end + 1), _loader(period, dataset)))
            else:
                unknown.append(
                    f"Steps {period.from_step + 1:,} to {end:,} read another data set ({period.config.data}, "
                    f"{trained_on[:12]}), which is not looked at here."
                )
        if known and not parts:
            raise UserError(
                f"{folder} was not trained on the data set in {place} ({fingerprint[:12]}), but on that of "
                f"{known[-1].config.data} ({trained_on[:12]}). Name the place of that one with --data."
            )
        return cls(dataset, parts, last_step, unknown)

    def of(self, stretches: Sequence[Stretch]) -> list[list[Reading]]:
        """Return for each stretch of the training split when it was read, in the order of steps."""
        found: list[list[Reading]] = [[] for _ in stretches]
        for part in self.parts:
            for own, more in zip(found, readings(part.loader, stretches, part.steps), strict=True):
                own += more
        return found


def _newest(reference: RunReference) -> int:
    try:
        return find_step(reference.folder, "newest")
    except UserError:  # nothing is saved yet, but steps may be logged
        return 0


def _loader(period: Period, dataset: Dataset) -> DataLoader:
    # How a step was divided into micro-batches over ranks does not change what it read.
    return loader_of_run(dataclasses.replace(period.config, micro_batch=1), dataset.train)


def _origin(lineage: Mapping[str, Any]) -> list[str]:
    """Return in words what the weights were before the first step, if they were not drawn."""
    if "init_from" in lineage:
        origin = lineage["init_from"]
        return [
            f"The run began with the weights of step {origin['step']:,} of {origin['run']}. What that run read is not "
            f"looked at here: trace {origin['run']}@{origin['step']} too."
        ]
    if "mean_of" in lineage:
        runs = ", ".join(dict.fromkeys(each["run"] for each in lineage["mean_of"]["checkpoints"]))
        return [f"The run began with the mean of checkpoints of {runs}. What these read is not looked at here."]
    if "imported_from" in lineage:
        return [f"The run began with the weights of {lineage['imported_from']}. What these have read is not known."]
    return []
