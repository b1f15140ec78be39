"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from surgrad.cli import COMMANDS
from surgrad.neurons import neurons

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()


def test_the_ten_lines_train():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    torch.manual_seed(0)
    images, labels = torch.rand(4, 16, 784), torch.randint(0, 10, (16,))
    names = {"batches": [(images, labels)] * 20}
    exec(code, names)
    assert names["loss"].item() < 1.5  # from ln 10 = 2.3
    (neuron,) = neurons(names["network"]).values()
    with torch.no_grad():
        lsg = (1 + neuron.decay.square()).sqrt().item()
    assert neuron.surrogate.width.item() == pytest.approx(lsg, abs=1e-3)
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 10


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (README.parent / target).exists(), target


def test_every_command_is_named():
    assert all(f"surgrad {name}" in TEXT for name in COMMANDS)
