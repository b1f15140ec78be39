"""A trained network from its run folder, without the data set."""

from pathlib import Path
from typing import Literal

from surgrad.models import SpikingNetwork
from surgrad.train import checkpoint
from surgrad.train.building import build_model
from surgrad.train.inputs import InputSpec as InputSpec
from surgrad.train.inputs import read_inputs
from surgrad.train.progress import say_on_stderr
from surgrad.train.run_folder import recipe_of

Which = Literal["last", "best", "average"]


def load_run(folder: Path | str, which: Which = "last", say: checkpoint.Say = say_on_stderr) -> SpikingNetwork:
    """The network of a run, in evaluation mode and on the CPU. The data set need not be on the disk.

    Args:
        folder: a run folder, the `out` of a training or of a conversion.
        which: the weights: "last" (the newest checkpoint), "best" (of the best epoch) or "average"
            (`surgrad.train.average`).
        say: called with a sentence where the last checkpoint is damaged and the one before it is used.

    Raises:
        CheckpointError: where the folder is not a run folder, does not hold these weights, or holds those of another
            network.

    Example:
        >>> import tempfile, torch
        >>> from surgrad import Recipe, derive, load_run
        >>> from surgrad.data import ArraySource
        >>> from surgrad.train import train
        >>> images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 2
        >>> recipe = derive(Recipe("tiny"), data={"batch": 8}, model={"steps": 2}, optim={"epochs": 1})
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
        ...     run = train(recipe, Path(folder) / "tiny", data=ArraySource((images, labels), (images, labels)))
        ...     network = load_run(run)
        epoch   1/1  loss ...
        >>> network(images).mean(0).argmax(1).shape  # images [N, C, H, W], normalised as in the training
        torch.Size([16])
    """
    folder = Path(folder)
    recipe = recipe_of(folder)
    network = build_model(recipe, read_inputs(folder, recipe))
    checkpoint.fit(network, checkpoint.load_weights(folder, which, say), folder)
    return network.eval()
