"""Observers that write a run folder's logs: widths.jsonl, alarms.jsonl, adapt.jsonl."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from surgrad.adapt.probe import Batch
from surgrad.files import append_rows, keep_rows
from surgrad.measure import Finding, LayerEvidence, evidence, findings
from surgrad.train.events import Observer

if TYPE_CHECKING:
    from surgrad.train.loop import Loop

LOGS = ("widths.jsonl", "alarms.jsonl", "adapt.jsonl")


def standard_observers() -> list[Observer]:
    """The observers of every training by `surgrad.train.train`."""
    layers = LayerLog()
    return [ControllerLog(), layers, Alarms(layers)]


class ControllerLog(Observer):
    """Appends to adapt.jsonl what the controller based its widths on (`surgrad.adapt.Controller.note`)."""

    def run_begins(self, loop: "Loop") -> None:
        keep_rows(loop.folder / "adapt.jsonl", lambda row: row["step"] < loop.step_number)

    def step_begins(self, loop: "Loop", batch: Batch) -> None:
        notes = loop.parts.adapter.notes()
        if notes:
            append_rows(loop.folder / "adapt.jsonl", [{"epoch": loop.at.epoch + 1, **row} for row in notes])


class LayerLog(Observer):
    """Appends to widths.jsonl the evidence on every layer (`surgrad.measure.LayerEvidence`) before the training and
    after every epoch; before the training and after the last epoch with the histograms of the potentials.

    It is measured on the first test batch, normalised by the batch's own statistics as in training.

    layers: the evidence of the last measurement.
    """

    def __init__(self) -> None:
        self.layers: list[LayerEvidence] = []

    def run_begins(self, loop: "Loop") -> None:
        self._batch = next(iter(loop.parts.batches.test()))
        path = loop.folder / "widths.jsonl"
        keep_rows(path, lambda row: row["epoch"] <= loop.at.epoch)
        if not path.exists():
            self._measure(loop)

    def epoch_ends(self, loop: "Loop", row: dict[str, Any]) -> None:
        self._measure(loop)

    def _measure(self, loop: "Loop") -> None:
        loop.parts.model.train()
        self.layers = evidence(loop.parts.model, self._batch, loop.parts.loss)
        epoch = loop.at.epoch
        complete = epoch in (0, loop.config.epochs)
        rows = [{"epoch": epoch, **(asdict(layer) if complete else layer.row())} for layer in self.layers]
        append_rows(loop.folder / "widths.jsonl", rows)


class Alarms(Observer):
    """Warns of what is wrong with the network after an epoch (`surgrad.measure.findings`), and appends it to
    alarms.jsonl: once for each kind of finding, and again when at least twice as many layers have it."""

    def __init__(self, log: LayerLog):
        self._log = log
        self._warned: dict[str, int] = {}  # by kind, the number of layers in the last warning

    def run_begins(self, loop: "Loop") -> None:
        rows = keep_rows(loop.folder / "alarms.jsonl", lambda row: row["epoch"] <= loop.at.epoch)
        self._warned = {row["kind"]: len(row["layers"]) for row in rows}

    def epoch_ends(self, loop: "Loop", row: dict[str, Any]) -> None:
        self.warn(loop, findings(self._log.layers))

    def warn(self, loop: "Loop", found: Sequence[Finding]) -> None:
        """Warn of those findings that are new, or that have spread."""
        for finding in found:
            before = self._warned.get(finding.kind, 0)
            if before and len(finding.layers) < 2 * before:
                continue
            self._warned[finding.kind] = len(finding.layers)
            loop.progress.say(f"after epoch {loop.at.epoch}: {finding.sentence}")
            append_rows(loop.folder / "alarms.jsonl", [{"epoch": loop.at.epoch, **vars(finding)}])
