"""The training loop: resumable at any step, bit for bit."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgrad.config.recipe import OptimConfig
from surgrad.errors import CheckpointError, Interrupted, TrainingStopped
from surgrad.measure import LayerEvidence, evidence, findings
from surgrad.models import in_chunks
from surgrad.neurons import keep_positive as keep_thresholds_positive
from surgrad.neurons import needs_whole_sequence, neurons
from surgrad.optim.building import rate, set_rate
from surgrad.surrogates import find_surrogates, keep_positive
from surgrad.train import checkpoint
from surgrad.train.build import Parts
from surgrad.train.faults import locate_nonfinite
from surgrad.train.log import append_rows, keep_rows, read_rows
from surgrad.train.progress import Progress

AT_ONCE = 16  # steps of an evaluation; those of longer ones are computed a few at a time
SAVE_SECONDS = 600.0  # between two checkpoints within a long epoch


@dataclass
class Position:
    """How far a training is, with the running sums of its unfinished epoch."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches done of the next one
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0  # of training, without evaluation
    epoch_seconds: float = 0.0
    best: float = -1.0


class Loop:
    """Trains `parts` in `folder`. The batches, their augmentation and the learning rate depend on the position alone,
    and a checkpoint holds all the rest, so that a resumed training repeats the one that was never stopped."""

    def __init__(self, parts: Parts, config: OptimConfig, folder: Path, progress: Progress):
        self.parts = parts
        self.config = config
        self.folder = folder
        self.progress = progress
        self.at = Position()
        self._time_steps = parts.model.steps
        self._slots = list(find_surrogates(parts.model).values())
        self._trains_thresholds = any(neuron.positive_parameters for neuron in neurons(parts.model).values())
        self._interrupted = False
        self._alarmed: dict[str, float] = {}  # layers of the last alarm, by kind
        self._saved = time.monotonic()
        self._first_test_batch = next(iter(parts.batches.test()))

    def resume(self) -> None:
        """Go on from the folder's newest whole checkpoint."""
        weights, state = checkpoint.load(self.folder, self.progress.say)
        if "progress" not in state:
            raise CheckpointError(
                f"{self.folder} holds a converted network and no training to go on with; begin one "
                f"from it, with --set start.weights={self.folder}"
            )
        self.parts.model.load_state_dict(weights)
        for optimizer, saved in zip(self.parts.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.parts.adapter.load_state_dict(state["adapter"])
        _set_random_state(state["rng"])
        self.at = Position(**state["progress"])
        for name in ("metrics.jsonl", "widths.jsonl", "alarms.jsonl"):
            keep_rows(self.folder / name, lambda row: row["epoch"] <= self.at.epoch)
        alarms = read_rows(self.folder / "alarms.jsonl")
        self._alarmed = {row["kind"]: len(row["layers"]) for row in alarms}
        done = self.at.epoch * self.parts.batches.per_epoch + self.at.batch
        keep_rows(self.folder / "adapt.jsonl", lambda row: row["step"] < done)

    def run(self) -> None:
        """Train to the end, or to the first Ctrl-C."""
        with self._on_interrupt():
            if not (self.folder / "widths.jsonl").exists():
                self._log_layers()
            while self.at.epoch < self.config.epochs:
                self._train_epoch()
                self._finish_epoch()

    def _train_epoch(self) -> None:
        batches = self.parts.batches
        at = self.at
        self.parts.model.train()
        self.progress.start(at.epoch, batches.per_epoch, at.batch)
        since = time.monotonic()
        for batch in batches.train(at.epoch, at.batch):
            loss, correct = self._step(batch)
            now = time.monotonic()
            at.batch = at.batch + 1
            at.loss_sum = at.loss_sum + loss
            at.correct = at.correct + correct
            at.epoch_seconds = at.epoch_seconds + now - since
            since = now
            self.progress.advance(len(batch[1]), loss)
            if now - self._saved > SAVE_SECONDS and at.batch < batches.per_epoch:
                self._save()
            self._stop_if_interrupted()

    def _step(self, batch: tuple[Tensor, Tensor]) -> tuple[float, int]:
        """One step of optimisation: (loss, number of right predictions)."""
        parts = self.parts
        at = self.at
        epoch = parts.batches.per_epoch
        steps = self.config.epochs * epoch
        number = at.epoch * epoch + at.batch
        starting = parts.batches.starting(at.epoch, at.batch)
        parts.model.steps = parts.batches.progressive.steps if starting else self._time_steps
        set_rate(parts.optimizers, rate(number, epoch, self.config))
        parts.adapter.step(batch)
        self._log_notes()
        for optimizer in parts.optimizers:
            optimizer.zero_grad()
        loss, output = parts.gradient(
            parts.model, batch[0], lambda out: parts.loss(out, batch[1]) + parts.penalty(number / steps), self._forward
        )
        self._guard(loss, batch, number)
        for optimizer in parts.optimizers:
            optimizer.step()
        keep_positive(self._slots)
        if self._trains_thresholds:
            keep_thresholds_positive(parts.model)
        return loss.item(), _right(output, batch[1])

    def _forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.parts.device.type, torch.bfloat16, enabled=self.parts.bf16):
            return self.parts.forward(x)

    def _guard(self, loss: Tensor, batch: tuple[Tensor, Tensor], number: int) -> None:
        """Clip the gradient; stop where it or the loss is not finite. A spike hides a NaN, its gradient does not."""
        parameters = [p for p in self.parts.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if torch.isfinite(loss) and torch.isfinite(norm):
            if self.config.clip:
                nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
            return
        what = "gradient" if torch.isfinite(loss) else "loss"
        value = (norm if what == "gradient" else loss).item()
        held = checkpoint.exists(self.folder)
        kept = f"the last good checkpoint is kept in {self.folder}" if held else "no checkpoint was saved before it"
        raise TrainingStopped(
            f"the {what} is {value} at step {number} (epoch {self.at.epoch + 1}, batch {self.at.batch + 1}): "
            f"{self._blame(batch)}; {kept}. Try a lower optim.lr, or optim.clip=1"
        )

    def _blame(self, batch: tuple[Tensor, Tensor]) -> str:
        with torch.autocast(self.parts.device.type, torch.bfloat16, enabled=self.parts.bf16):
            return locate_nonfinite(self.parts.model, batch)

    def _finish_epoch(self) -> None:
        at = self.at
        batches = self.parts.batches
        self.parts.model.steps = self._time_steps
        test_loss, test_accuracy = evaluate(self.parts)
        self._stop_if_interrupted()
        images = batches.per_epoch * batches.size
        at.seconds += at.epoch_seconds
        row = {
            "epoch": at.epoch + 1,
            "epochs": self.config.epochs,
            "step": (at.epoch + 1) * batches.per_epoch,
            "lr": self.parts.optimizers[0].param_groups[0]["lr"],
            "train_loss": at.loss_sum / batches.per_epoch,
            "train_accuracy": at.correct / images,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "epoch_seconds": at.epoch_seconds,
            "train_seconds": at.seconds,
            "images_per_second": images / at.epoch_seconds,
        }
        is_best = test_accuracy > at.best
        best = max(at.best, test_accuracy)
        self.at = Position(epoch=at.epoch + 1, seconds=at.seconds, best=best)
        self._log_layers()
        append_rows(self.folder / "metrics.jsonl", [row])
        if is_best:
            checkpoint.save_best(self.folder, self.parts.model)
        self._save()
        self.progress.finish(row)

    def _log_layers(self) -> None:
        """Widths, rates and shares on the first test batch, normalised by its own statistics as in training; at the
        start and at the end also the histograms of the potentials."""
        self.parts.model.train()
        layers = evidence(self.parts.model, self._first_test_batch, self.parts.loss)
        whole = self.at.epoch in (0, self.config.epochs)
        rows = [{"epoch": self.at.epoch, **(asdict(layer) if whole else layer.row())} for layer in layers]
        append_rows(self.folder / "widths.jsonl", rows)
        if self.at.epoch:
            self._alarm(layers)

    def _alarm(self, layers: list[LayerEvidence]) -> None:
        """Say what ails the network, once; and of the same kind again only when twice as many layers have it."""
        for finding in findings(layers, neurons(self.parts.model)):
            if len(finding.layers) < 2 * self._alarmed.get(finding.kind, 0.5):
                continue
            self._alarmed[finding.kind] = len(finding.layers)
            self.progress.say(f"after epoch {self.at.epoch}: {finding.sentence}")
            append_rows(self.folder / "alarms.jsonl", [{"epoch": self.at.epoch, **vars(finding)}])

    def _log_notes(self) -> None:
        """Append what the controller based its widths on."""
        notes = self.parts.adapter.notes()
        if notes:
            append_rows(self.folder / "adapt.jsonl", [{"epoch": self.at.epoch + 1, **row} for row in notes])

    def _save(self) -> None:
        state = {
            "progress": asdict(self.at),
            "optimizers": [optimizer.state_dict() for optimizer in self.parts.optimizers],
            "adapter": self.parts.adapter.state_dict(),
            "rng": _random_state(),
        }
        checkpoint.save(self.folder, self.parts.model, state)
        self._saved = time.monotonic()

    def _stop_if_interrupted(self) -> None:
        if self._interrupted:
            self._save()
            raise Interrupted(
                f"stopped at epoch {self.at.epoch + 1}, batch {self.at.batch}; saved. Go on with "
                f"`surgrad train --resume --out {self.folder}`"
            )

    @contextmanager
    def _on_interrupt(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM stop after the step under way; a second Ctrl-C stops at once."""

        def note(number: int, _frame: Any) -> None:
            signal.signal(number, before[number])
            self._interrupted = True

        here = threading.current_thread() is threading.main_thread()  # no other may take signals
        before: dict[int, Any] = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM) if here}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.progress.close()


@torch.no_grad()
def evaluate(parts: Parts) -> tuple[float, float]:
    """(mean loss, accuracy in [0, 1]) over all test images."""
    parts.model.eval()
    long = parts.model.steps > AT_ONCE and not needs_whole_sequence(parts.model)
    loss = 0.0
    right = 0
    for images, labels in parts.batches.test():
        with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.bf16):
            output = in_chunks(parts.model, images, parts.model.steps) if long else parts.forward(images)
        loss += parts.loss(output, labels).item() * len(labels)
        right += _right(output, labels)
    return loss / parts.batches.test_count, right / parts.batches.test_count


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _right(output: Tensor, labels: Tensor) -> int:
    """Predictions by the time-averaged readout that agree with the labels; of samples shown twice, the first time."""
    return int((output[:, : len(labels)].detach().float().mean(0).argmax(1) == labels).sum())
