"""Observers that send metrics to another program: TensorBoard, Weights & Biases.

To add one: derive a class from `MetricLogger` and add it to `LOGGERS`.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from surgrad.config.registry import Registry
from surgrad.config.values import Count
from surgrad.errors import BadValue, SurgradError
from surgrad.train.events import Observer

if TYPE_CHECKING:
    from surgrad.train.loop import Loop


class MissingPackage(SurgradError, ImportError):
    """A package that an optional part needs and that is not installed."""


class MetricLogger(Observer):
    """Sends the loss and the learning rate of training steps, and the numbers of every row of metrics.jsonl.

    Args:
        every: a training step is logged if its number is a multiple of this.
    """

    def __init__(self, every: Count = 50):
        self.every = every

    def log(self, step: int, values: dict[str, float]) -> None:
        """Send numbers by name.

        Args:
            step: how many training steps were finished.
            values: the numbers by name.
        """
        raise NotImplementedError

    def step_ends(self, loop: "Loop", loss: Tensor) -> None:
        if loop.step_number % self.every == 0:
            lr = float(loop.parts.optimizers[0].param_groups[0]["lr"])
            self.log(loop.step_number, {"step/train_loss": loss.item(), "step/lr": lr})

    def epoch_ends(self, loop: "Loop", row: dict[str, Any]) -> None:
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        left_out = ("epochs", "step")
        self.log(row["step"], {f"epoch/{key}": value for key, value in numbers.items() if key not in left_out})


class TensorBoardLogger(MetricLogger):
    """Writes event files for TensorBoard. Needs the package tensorboard: pip install 'surgrad[tensorboard]'.

    Args:
        folder: where the files go; None: "tensorboard" in the run folder.
        every: see `MetricLogger`.
    """

    name = "tensorboard"

    def __init__(self, folder: str | None = None, every: Count = 50):
        super().__init__(every)
        self.folder = folder
        self._writer: Any = None

    def run_begins(self, loop: "Loop") -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing("tensorboard", error) from error
        # what was logged after the checkpoint is logged again
        first = loop.step_number or None
        self._writer = SummaryWriter(self.folder or str(loop.folder / "tensorboard"), purge_step=first)

    def log(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def run_ends(self, loop: "Loop") -> None:
        if self._writer is not None:
            self._writer.close()


class WandbLogger(MetricLogger):
    """Logs to Weights & Biases. Needs the package wandb: pip install 'surgrad[wandb]'.

    A resumed training continues the same run there.

    Args:
        project: the project's name.
        entity: a user or team; None: the default of the account.
        mode: "online", "offline" (to files in the run folder, for `wandb sync`) or "disabled"; None: as the environment
            variable WANDB_MODE says, else online.
        every: see `MetricLogger`.
    """

    name = "wandb"

    def __init__(
        self,
        project: str = "surgrad",
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        every: Count = 50,
    ):
        super().__init__(every)
        self.project = project
        self.entity = entity
        self.mode = mode
        self._id: str | None = None
        self._run: Any = None

    def run_begins(self, loop: "Loop") -> None:
        try:
            import wandb
        except ImportError as error:
            raise missing("wandb", error) from error
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,
                name=loop.folder.name,
                dir=str(loop.folder),
                id=self._id,
                resume="allow",
            )
        except wandb.Error as error:
            raise BadValue(
                f"Weights & Biases cannot be used: {error} Or log to files in the run folder: WANDB_MODE=offline"
            ) from error
        self._id = self._run.id

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def run_ends(self, loop: "Loop") -> None:
        if self._run is not None:
            self._run.finish()

    def state_dict(self) -> dict[str, Any]:
        return {} if self._id is None else {"id": self._id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._id = state["id"]


LOGGERS: Registry[type[MetricLogger]] = Registry("logger", {"tensorboard": TensorBoardLogger, "wandb": WandbLogger})


def loggers_by_name(names: Iterable[str]) -> list[Observer]:
    """Loggers with their default options, for `train(observers=...)`.

    Raises:
        UnknownName: for a name that `LOGGERS` does not have.
    """
    return [LOGGERS.build(name) for name in names]


def missing(package: str, error: ImportError) -> MissingPackage:
    """The error for a package that is not installed; `package` is also the name of the extra that installs it."""
    return MissingPackage(f"{package} is not installed ({error}); pip install 'surgrad[{package}]'")
