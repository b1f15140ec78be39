"""What the README shows works as it stands there."""

import importlib
import math
import re
from pathlib import Path

import pytest
import torch

from surgrad.cli import COMMANDS
from surgrad.coding import CODINGS
from surgrad.gradients import GRADIENTS
from surgrad.losses import LOSSES
from surgrad.models import MODELS
from surgrad.neurons import NEURONS, neurons
from surgrad.norm import NORMS
from surgrad.penalties import PENALTIES
from surgrad.surrogates import SURROGATES, SurrogateFunction, surrogate_function

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()


def test_the_ten_lines_train():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    torch.manual_seed(0)
    images = torch.rand(4, 16, 784)
    labels = torch.randint(0, 10, (16,))
    names = {"batches": [(images, labels)] * 20}
    exec(code, names)
    assert names["loss"].item() < 1.5  # from ln 10 = 2.3
    (neuron,) = neurons(names["network"]).values()
    with torch.no_grad():
        lsg = (1 + neuron.decay.square()).sqrt().item()
    assert neuron.surrogate.width.item() == pytest.approx(lsg, abs=1e-3)


def test_the_surrogate_shown_to_contributors_keeps_the_contract_and_reaches_the_kernels(monkeypatch):
    text = (README.parent / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {
        "math": math,
        "torch": torch,
        "Tensor": torch.Tensor,
        "SurrogateFunction": SurrogateFunction,
        "surrogate_function": surrogate_function,
    }
    exec(code, names)
    made = names["parabola"]()
    x = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64, requires_grad=True)
    w = torch.tensor(0.8)
    (slope,) = torch.autograd.grad(made.step(x, w).sum(), x)
    torch.testing.assert_close(slope, made.slope(x, w))
    half = made.reach(w.double(), 0.7)
    assert (made.step(half, w) - made.step(-half, w)).item() == pytest.approx(0.7)
    monkeypatch.syspath_prepend(str(README.parent / "scripts"))
    generator = importlib.import_module("generate_slopes")
    monkeypatch.setitem(SURROGATES, "parabola", made)
    assert "float slope_parabola(" in generator.cpp()
    assert "def width_slope_parabola(" in generator.triton()


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (README.parent / target).exists(), target


def test_every_command_is_named():
    assert all(f"surgrad {name}" in TEXT for name in COMMANDS)


def test_the_table_of_shapes_is_whole_and_its_windows_right():
    table = (README.parent / "docs" / "surrogates.md").read_text()
    windows = dict(re.findall(r"^\| `(\w+)` .* \| ([^|]+) \|$", table, re.MULTILINE))
    assert list(windows) == list(SURROGATES)
    for name, said in windows.items():
        half = SURROGATES[name].window(torch.tensor(1.0, dtype=torch.float64)).item()
        factor = {"w/2": "0.5", "w": "1", "½": "0.5"}.get(said, said.removesuffix(" w"))
        assert half == pytest.approx(float(factor), abs=6e-3), name


CARDS = README.parent / "docs" / "methods.md"


NAMED = {
    "neurons": NEURONS,
    "norms": NORMS,
    "losses": LOSSES,
    "penalties": PENALTIES,
    "gradients": GRADIENTS,
    "codings": CODINGS,
    "models": MODELS,
}


@pytest.mark.parametrize("registry", NAMED.values(), ids=NAMED)
def test_everything_that_a_recipe_may_name_has_a_card(registry):
    named = set(re.findall(r"`(?:model\.coding=)?(\w+)`", CARDS.read_text()))
    assert not set(registry) - named


@pytest.mark.parametrize("page", sorted((README.parent / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
