"""The training loop, which can be resumed at any step, bit for bit."""

import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surgrad import process, ranks
from surgrad.adapt.probe import Batch
from surgrad.arithmetic import exact_arithmetic
from surgrad.config.parts import resolved
from surgrad.config.reading import from_dict
from surgrad.config.recipe import OptimConfig, described_as, to_dict
from surgrad.config.text import differences
from surgrad.errors import BadValue, CheckpointError, Interrupted, LostRank, TrainingStopped
from surgrad.files import append_rows, keep_rows
from surgrad.neurons import added_histograms, neurons
from surgrad.neurons import keep_positive as keep_thresholds_positive
from surgrad.optim import scale_lr
from surgrad.optim.device import keep_on_device, plain_state
from surgrad.surrogates import find_surrogates, keep_positive
from surgrad.train import checkpoint, watch
from surgrad.train.cuda_graph import GraphedStep
from surgrad.train.evaluation import correct_in, evaluate, selection_split
from surgrad.train.events import Observer, Observers
from surgrad.train.faults import locate_nonfinite
from surgrad.train.parts import Parts
from surgrad.train.progress import Progress
from surgrad.transfer import Reading

SAVE_SECONDS = 600.0
"""Between two checkpoints within a long epoch."""


_IN_MEMORY = ("params", "lr", "peak_lr")
"""What a recorded step reads of a group of an optimiser when it is repeated, or does not read."""


@dataclass
class Position:
    """How far a training is, with the running sums of its unfinished epoch.

    Attributes:
        epoch: finished epochs.
        batch: finished batches of the next epoch.
        loss_sum: of those batches.
        correct: of those batches.
        epoch_seconds: of those batches.
        epoch_cpu_seconds: processor time of those batches: of this process alone, and so without processes that read.
        seconds: of training in the finished epochs, without evaluation.
        cpu_seconds: processor time in the finished epochs, likewise.
        best: the best accuracy so far; negative: none.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_cpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: float = -1.0


@dataclass(frozen=True)
class _Outcome:
    """What a step found, which the host may not know yet: loss, correct predictions and norm of the gradient."""

    position: tuple[int, int, int]
    """The number of the step, of its epoch and of its batch in the epoch."""
    batch: Batch
    values: Reading


class Loop:
    """A training in a run folder.

    The batches, their augmentation and the learning rate depend on the position alone, and a checkpoint holds all other
    state, so that a resumed training repeats the one that was never stopped.

    Args:
        parts: what is trained, and by what.
        config: epochs, and the largest norm of the gradient (clip).
        folder: the run folder; it exists.
        progress: shows the training to a person.
        observers: receive the events of the training, in this order; see `surgrad.train.events`.

    Attributes:
        at: the `Position`.
    """

    def __init__(
        self,
        parts: Parts,
        config: OptimConfig,
        folder: Path,
        progress: Progress,
        observers: Iterable[Observer] = (),
    ):
        self.parts = parts
        self.config = config
        self.folder = folder
        self.progress = progress
        self.observers = Observers(observers)
        self.at = Position()
        self._time_steps = parts.model.steps
        self._slots = list(find_surrogates(parts.model).values())
        self._trains_thresholds = any(neuron.positive_parameters for neuron in neurons(parts.model).values())
        self._reads_late = parts.device.type == "cuda" and all(map(_skips_bad_steps, parts.optimizers))
        self._bad = torch.zeros((), device=parts.device)  # 1 from the first step on whose gradient is not finite
        self._in_one = parts.graph and self._reads_late and not self.observers.see_gradients
        recorded = self._compute if self._in_one else self._find
        self._run = (
            GraphedStep(recorded, parts.model, progress.say, settings=self._settings) if parts.graph else recorded
        )
        keep_on_device(parts.optimizers, parts.device)
        self._unread: _Outcome | None = None
        self._loss = 0.0  # the newest that is known
        self._stopping = False
        # what several ranks agree to do after the newest known step
        self._stop_agreed = False
        self._save_agreed = False
        self._saved = time.monotonic()

    @property
    def step_number(self) -> int:
        """Finished training steps; within a step, the number of that step, from 0."""
        return self.at.epoch * self.parts.batches.per_epoch + self.at.batch

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.config.epochs * self.parts.batches.per_epoch

    def resume(self) -> None:
        """Load the folder's newest complete checkpoint.

        Raises:
            CheckpointError: where there is none, or the folder holds a network without a training.
        """
        weights, state = ranks.from_first(lambda: checkpoint.load(self.folder, self.progress.say))
        if "progress" not in state:
            raise CheckpointError(
                f"{self.folder} holds a converted network and no training to continue; begin one "
                f"from it, with --set init_from={self.folder}"
            )
        self._check_recipe(state)
        checkpoint.fit(self.parts.model, weights, self.folder)
        for optimizer, saved in zip(self.parts.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        keep_on_device(self.parts.optimizers, self.parts.device)
        self.parts.adapter.load_state_dict(state["adapter"])
        self.observers.load_state_dict(state.get("observers", {}))
        _set_random_state(state["rng"])
        self.at = Position(**_timed(state["progress"]))

    def _check_recipe(self, state: dict[str, Any]) -> None:
        """Refuse a checkpoint of another recipe, as after recipe.json was edited. Older ones do not hold theirs."""
        if "recipe" not in state:
            return
        own = self.parts.recipe
        differing = differences(described_as(from_dict(state["recipe"]), own), own)
        if differing:
            raise CheckpointError(
                f"the checkpoint in {self.folder} was made by another recipe than its recipe.json; these settings "
                f"differ: {'; '.join(differing)}. Put them back, or begin again in another folder"
            )

    def run(self) -> None:
        """Train to the end.

        Raises:
            Interrupted: after Ctrl-C, SIGTERM, SIGHUP or `stop`, when the state is saved.
            TrainingStopped: where the loss or the gradient is not finite.
        """
        with self._on_interrupt(), watch.limited(watch.of_steps(self.parts.recipe.run.timeout)):
            try:
                self._begin()
                while self.at.epoch < self.config.epochs:
                    self._train_epoch()
                    self._finish_epoch()
            except LostRank as lost:
                lost.asked_to_end = self._stopping
                raise
            finally:
                self.observers.run_ends(self)
                if isinstance(self._run, GraphedStep):
                    self._run.forget()  # now, and not when Python next collects garbage: it is most of a GPU's memory

    def _begin(self) -> None:
        first = not ranks.place().rank
        if first:
            keep_rows(self.folder / "metrics.jsonl", lambda row: row["epoch"] <= self.at.epoch)
        self.observers.run_begins(self)
        if first and not checkpoint.exists(self.folder):
            self.save()  # of the beginning: from here on there is always one to continue from

    def stop(self) -> None:
        """End the training after the current step, with its state saved; `run` then raises `Interrupted`."""
        self._stopping = True

    def train_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One step of optimisation at the position `at`, which it does not advance; its results join the sums of `at`.

        Where several ranks share a batch (`surgrad.ranks`), all find the gradient and the results of the whole one.

        On a GPU the host does not wait for the step, and reads its results during the next one. Until then, the
        optimisers leave out a step whose gradient is not finite, and all steps after it.

        Args:
            batch: (inputs, labels), or this rank's share of them.

        Returns:
            The loss and the number of correct predictions, each 0-d on the device; to read them is to wait for it.

        Raises:
            TrainingStopped: where the loss or the gradient is not finite; on a GPU also that of the step before.
        """
        self._set_schedules(batch)
        self.observers.step_begins(self, batch)
        if self._in_one:
            loss, values = self._run(*batch)
            self._judge(batch, values)
        else:
            loss, values = self._in_parts(batch)
        self.observers.step_ends(self, loss)
        return loss, values[1]

    def _in_parts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A step that observers see from within, or that is judged before the optimisers use its gradient."""
        self._forget_gradients()
        loss, correct = self._run(*batch)
        self.observers.after_backward(self, loss)
        values = self._values(loss, correct)
        self._judge(batch, values)
        self._update(values)
        return loss, values

    def _compute(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """All that the device computes in a step, from the batch to the new weights: the loss, and `_values`."""
        self._forget_gradients()
        loss, correct = self._find(x, labels)
        values = self._values(loss, correct)
        self._update(values)
        return loss, values

    def save(self) -> None:
        """Save a checkpoint; of several ranks, which all call it, the first does."""
        self._read_last()
        self._saved = time.monotonic()
        self._save_agreed = False
        adapter = self.parts.adapter.state_dict()
        if ranks.place().rank:
            return
        state = {
            "recipe": to_dict(resolved(self.parts.recipe)),
            "progress": asdict(self.at),
            "optimizers": [plain_state(optimizer) for optimizer in self.parts.optimizers],
            "adapter": adapter,
            "observers": self.observers.state_dict(),
            "rng": _random_state(),
        }
        checkpoint.save(self.folder, self.parts.model, state)

    def _train_epoch(self) -> None:
        batches = self.parts.batches
        at = self.at
        self.parts.model.train()
        self.progress.start(at.epoch, batches.per_epoch, at.batch)
        since, cpu_since = time.monotonic(), time.process_time()
        for batch in batches.train(at.epoch, at.batch):
            self.train_step(batch)
            process.alive()
            if at.batch + 1 == batches.per_epoch:
                self._read_last()
            now, cpu_now = time.monotonic(), time.process_time()
            at.batch = at.batch + 1
            at.epoch_seconds = at.epoch_seconds + now - since
            at.epoch_cpu_seconds = at.epoch_cpu_seconds + cpu_now - cpu_since
            since, cpu_since = now, cpu_now
            self.progress.advance(batches.size, self._loss)
            save_due = self._save_agreed if ranks.several() else self._wants_to_save()
            if save_due and at.batch < batches.per_epoch:
                self._equalise_norms()
                self.save()
            self._stop_if_asked()

    def _equalise_norms(self) -> None:
        """Where ranks have separate statistics (run.sync_norms=false), take those of the first, which are saved."""
        if not ranks.several() or ranks.share_statistics():
            return
        for module in self.parts.model.modules():
            if getattr(module, "tracks_batch_statistics", isinstance(module, _BatchNorm)):
                ranks.equalise(module.buffers(recurse=False))

    def _wants_to_save(self) -> bool:
        """Whether the last checkpoint is old; of several ranks, the first says so."""
        return not ranks.place().rank and time.monotonic() - self._saved > SAVE_SECONDS

    def _set_schedules(self, batch: Batch) -> None:
        """Set what changes over a training: the number of time steps, the learning rate, the widths."""
        parts = self.parts
        batches = parts.batches
        cheaper = batches.starting(self.at.epoch, self.at.batch)
        parts.model.steps = batches.progressive.steps if cheaper else self._time_steps
        scale_lr(parts.optimizers, parts.schedule.lr_factor(self.step_number, batches.per_epoch, self.config.epochs))
        parts.adapter.step(batch)

    def _forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.parts.device.type, torch.bfloat16, enabled=self.parts.bf16):
            return self.parts.forward(x)

    @exact_arithmetic()
    def _find(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Find the gradient of the loss and the penalty; the loss and the number of correct predictions."""
        whole = len(labels)
        if ranks.several():
            whole = self.parts.batches.size
            self._check_share(len(labels))
        if self.config.accumulate == 1:
            found = self._find_part(x, labels, len(labels) / whole)
        else:
            found = self._accumulated(x, labels, whole)
        ranks.sum_gradients(self.parts.model.parameters())
        return found

    def _check_share(self, found: int) -> None:
        """Refuse data of the user's own that does not divide its batches."""
        own = sum(map(len, self.parts.batches.shares()))
        if found != own:
            raise BadValue(
                f"rank {ranks.place().rank} of {ranks.place().count} got {found} samples of a batch of "
                f"{self.parts.batches.size}, and its share is {own}; let {type(self.parts.batches).__name__}._training "
                "give what Batches.own() says, or train by one process"
            )

    def _accumulated(self, x: Tensor, labels: Tensor, whole: int) -> tuple[Tensor, Tensor]:
        """`_find_part` for the parts of a batch of `whole` samples, one after the other; the sums of its results."""
        model = self.parts.model
        sizes = [len(share) for share in self.parts.batches.shares()]
        inputs = x.split(sizes, int(model.is_sequence(x)))
        losses, corrects = [], []
        with added_histograms(model) as add:
            for piece, targets in zip(inputs, labels.split(sizes), strict=True):
                loss, correct = self._find_part(piece, targets, len(targets) / whole)
                losses.append(loss)
                corrects.append(correct)
                add()
        return torch.stack(losses).sum(), torch.stack(corrects).sum()

    def _find_part(self, x: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Add the gradient of a share of a batch; its share of the loss, and its correct predictions."""
        parts = self.parts
        progress = self.step_number / self.steps

        def loss(output: Tensor) -> Tensor:
            found = parts.loss(output, labels) + parts.penalty(progress)
            return found if share == 1.0 else share * found

        found, output = parts.gradient.find(parts.model, x, loss, self._forward)
        return found, correct_in(output, labels)

    def _forget_gradients(self) -> None:
        for optimizer in self.parts.optimizers:
            optimizer.zero_grad()

    def _settings(self) -> tuple[Any, ...]:
        """The optimisers' numbers besides the learning rate, which a recorded step reads from memory."""
        groups = [group for optimizer in self.parts.optimizers for group in optimizer.param_groups]
        return tuple(repr(value) for group in groups for key, value in group.items() if key not in _IN_MEMORY)

    def _values(self, loss: Tensor, correct: Tensor) -> Tensor:
        """Clip the gradient, if it is to be clipped; loss, correct predictions and the gradient's norm before. A spike
        hides a NaN, its gradient does not."""
        parameters = [p for p in self.parts.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.config.clip:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        own = [loss.double(), correct.double()]
        if not ranks.several():
            return torch.stack([*own, norm.double()])
        asked = [torch.full_like(own[0], flag) for flag in (self._stopping, self._wants_to_save())]
        of_all = ranks.summed(torch.stack([*own, *asked]))
        return torch.cat([of_all[:2], norm.double()[None], of_all[2:]])

    def _update(self, values: Tensor) -> None:
        """Let the optimisers use the gradient; on a GPU, where the host does not know it yet, if it is finite."""
        if self._reads_late:
            self._bad.copy_(torch.maximum(self._bad, (~torch.isfinite(values).all()).float()))
        for optimizer in self.parts.optimizers:
            if self._reads_late:
                optimizer.found_inf = self._bad  # type: ignore[attr-defined]  # as torch.amp.GradScaler sets it
            optimizer.step()
        keep_positive(self._slots)
        if self._trains_thresholds:
            keep_thresholds_positive(self.parts.model)

    def _judge(self, batch: Batch, values: Tensor) -> None:
        """Stop where loss or gradient of a step is not finite: of this one, or on a GPU of the one before."""
        due = self._unread
        position = (self.step_number, self.at.epoch, self.at.batch)
        self._unread = _Outcome(position, batch, Reading(values))
        if due is not None:
            self._accept(due)
        if not self._reads_late:
            self._read_last()

    def _read_last(self) -> None:
        """Wait for the newest step's results."""
        due = self._unread
        self._unread = None
        if due is not None:
            self._accept(due)

    def _accept(self, outcome: _Outcome) -> None:
        """Add the results of a step to the sums of the epoch."""
        loss, correct, norm, *asked = outcome.values.wait().tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._unread = None
            self._refuse(outcome, loss, norm)
        self.at.loss_sum = self.at.loss_sum + loss
        self.at.correct = self.at.correct + int(correct)
        self._loss = loss
        if asked:
            self._stop_agreed, self._save_agreed = map(bool, asked)

    def _refuse(self, outcome: _Outcome, loss: float, norm: float) -> NoReturn:
        what, value = ("gradient", norm) if math.isfinite(loss) else ("loss", loss)
        with torch.autocast(self.parts.device.type, torch.bfloat16, enabled=self.parts.bf16):
            cause = locate_nonfinite(self.parts.model, outcome.batch)
        self._bad.zero_()
        step, epoch, batch = outcome.position
        raise TrainingStopped(
            f"the {what} is {value} at step {step} (epoch {epoch + 1}, batch {batch + 1}): "
            f"{cause}; the last good checkpoint is kept in {self.folder}. "
            "Try a lower optim.lr, optim.clip=1, or wider surrogates (adapt.name=share finds the widths)"
        )

    def _finish_epoch(self) -> None:
        self.parts.model.steps = self._time_steps
        self._equalise_norms()
        scores = self._evaluated()
        self._stop_if_asked()
        row = self._row(scores)
        accuracy = scores[f"{selection_split(self.parts)}_accuracy"]
        is_best = accuracy > self.at.best
        self.at = Position(
            epoch=self.at.epoch + 1,
            seconds=row["train_seconds"],
            cpu_seconds=row["cpu_seconds"],
            best=accuracy if is_best else self.at.best,
        )
        self.observers.epoch_ends(self, row)
        if not ranks.place().rank:
            append_rows(self.folder / "metrics.jsonl", [row])
            if is_best:
                checkpoint.save_best(self.folder, self.parts.model)
        self.save()
        self.progress.finish(row)

    def _evaluated(self) -> dict[str, float]:
        """Loss and accuracy on the test examples, and on the held-out ones where there are any."""
        scores = {}
        for split in dict.fromkeys(("test", selection_split(self.parts))):
            loss, accuracy = evaluate(self.parts, split)
            scores[f"{split}_loss"] = loss
            scores[f"{split}_accuracy"] = accuracy
        return scores

    def _row(self, scores: dict[str, float]) -> dict[str, Any]:
        """The epoch's row of metrics.jsonl."""
        at = self.at
        batches = self.parts.batches
        images = batches.per_epoch * batches.size
        return {
            "epoch": at.epoch + 1,
            "epochs": self.config.epochs,
            "step": (at.epoch + 1) * batches.per_epoch,
            "lr": float(self.parts.optimizers[0].param_groups[0]["lr"]),
            "train_loss": at.loss_sum / batches.per_epoch,
            "train_accuracy": at.correct / images,
            **scores,
            "epoch_seconds": at.epoch_seconds,
            "train_seconds": at.seconds + at.epoch_seconds,
            "cpu_seconds": at.cpu_seconds + at.epoch_cpu_seconds,
            "images_per_second": images / at.epoch_seconds,
        }

    def _stop_if_asked(self) -> None:
        if self._stop_agreed if ranks.several() else self._stopping:
            self._equalise_norms()
            self.save()
            raise Interrupted(
                f"stopped at epoch {self.at.epoch + 1}, batch {self.at.batch}; saved. Continue with "
                f"`surgrad train --resume --out {self.folder}`"
            )

    @contextmanager
    def _on_interrupt(self) -> Iterator[None]:
        """Within it, Ctrl-C, SIGTERM and SIGHUP stop after the current step; a second one stops at once."""

        def note(number: int, _frame: Any) -> None:
            signal.signal(number, before[number])
            self.stop()

        in_main_thread = threading.current_thread() is threading.main_thread()  # no other one may handle signals
        names = ("SIGINT", "SIGTERM", "SIGHUP") if in_main_thread else ()
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        before: dict[int, Any] = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.progress.close()


def _timed(progress: dict[str, Any]) -> dict[str, Any]:
    """The position of a checkpoint. Earlier versions counted no processor time: there it is that of the clock."""
    times = {f"{part}cpu_seconds": progress[f"{part}seconds"] for part in ("", "epoch_")}
    return times | progress


def _skips_bad_steps(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its step does nothing while its `found_inf` is 1, as those do that `torch.amp.GradScaler` supports."""
    return getattr(optimizer, "_step_supports_amp_scaling", False)


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
