"""Settings that weights do not show, noted in a state dict."""

import warnings
from typing import Any

from torch import nn

KEY = "surgrad"
"""Of the notes in a module's metadata, next to torch's "version"."""


class Noted(nn.Module):
    """A module whose state dict notes settings that its tensors do not show.

    `state_dict` puts them into the metadata that torch keeps for every module (`torch.save` keeps it, safetensors does
    not). `load_state_dict` warns where the notes are those of another module.

    Example:
        >>> from surgrad import LIF
        >>> LIF(reset="subtract").state_dict()._metadata[""]["surgrad"]["reset"]
        'subtract'
    """

    def notes(self) -> dict[str, str | int | bool]:
        """The settings, by name."""
        raise NotImplementedError

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]][KEY] = self.notes()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        own = self.notes()
        theirs_noted = local_metadata.get(KEY) or own
        differing = {name: value for name, value in theirs_noted.items() if own.get(name) != value}
        if differing:
            theirs = ", ".join(f"{name} {value}" for name, value in differing.items())
            ours = ", ".join(f"{name} {own.get(name)}" for name in differing)
            warnings.warn(
                f"the weights were those of a module with {theirs}, and are loaded into one with {ours}: its outputs "
                "or gradients may differ; build it as it was (surgrad.load_run does, from a run folder)",
                stacklevel=2,
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
