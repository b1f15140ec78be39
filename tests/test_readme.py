"""The code, links and tables of the documents work as they stand there."""

import importlib
import math
import re
from pathlib import Path

import pytest
import torch

from surgrad.cli import COMMANDS
from surgrad.coding import CODINGS
from surgrad.criteria import GOOD_SHARE
from surgrad.gradients import GRADIENTS
from surgrad.kernels.lif import share_within
from surgrad.losses import LOSSES
from surgrad.models import MODELS
from surgrad.neurons import NEURONS, neurons
from surgrad.norm import NORMS
from surgrad.optim import OPTIMIZERS, SCHEDULES
from surgrad.penalties import PENALTIES
from surgrad.surrogates import SURROGATES, SurrogateFunction, equivalent_half_width, surrogate_function
from surgrad.train.average import AVERAGES

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "bench").glob("*.md"),
        *(ROOT / "records").rglob("*.md"),
        *(ROOT / "src").rglob("*.md"),
    ]
)


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The fragments by which a page's headings are linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_training_loop_of_the_readme_trains():
    quick_start, _, _ = python_blocks(ROOT / "README.md")
    torch.manual_seed(0)
    names = {}
    exec(quick_start, names)
    assert names["loss"].item() < 1.0  # from ln 10 = 2.3
    (neuron,) = neurons(names["network"]).values()
    neuron.record_histogram = True
    names["network"](names["x"])
    reach = neuron.surrogate.width.item() / 2 / neuron.threshold.item()
    assert share_within(neuron.histogram, reach) == pytest.approx(GOOD_SHARE, abs=0.05)


def test_the_sequences_of_the_guide_train():
    (example,) = python_blocks(ROOT / "docs" / "sequences.md")
    torch.manual_seed(0)
    names = {}
    exec(example, names)
    assert names["loss"].isfinite()
    assert names["cost"].images == 4


def test_a_surrogate_fits_the_neurons_of_other_libraries():
    pytest.importorskip("snntorch")
    pytest.importorskip("spikingjelly")
    _, drop_in, _ = python_blocks(ROOT / "README.md")
    exec(drop_in, {})


def test_a_neuron_from_outside_the_package_gets_a_recipe(request):
    """The neuron is registered for this test only."""
    from surgrad.train.building import build

    _, _, own = python_blocks(ROOT / "README.md")
    before = set(NEURONS)
    request.addfinalizer(lambda: [NEURONS.remove(name) for name in set(NEURONS) - before])
    names = {"__name__": "mine"}
    exec(own, names)
    parts = build(names["recipe"]())
    assert {type(neuron) for neuron in neurons(parts.model).values()} == {names["SoftFloor"]}
    assert {neuron.floor for neuron in neurons(parts.model).values()} == {-0.5}


def test_the_surrogate_shown_to_contributors_keeps_the_contract_and_reaches_the_kernels(monkeypatch):
    (code,) = python_blocks(ROOT / "CONTRIBUTING.md")
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
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    generator = importlib.import_module("generate_slopes")
    monkeypatch.setitem(SURROGATES, "parabola", made)
    assert "float slope_parabola(" in generator.cpp()
    assert "def width_slope_parabola(" in generator.triton()


def test_every_command_is_named():
    assert all(f"surgrad {name}" in TEXT for name in COMMANDS)


def test_there_are_as_many_parts_as_the_readme_says():
    for registry, what in ((SURROGATES, "surrogate functions"), (NEURONS, "neurons"), (MODELS, "networks")):
        said = re.search(rf"more than (\d+) {what}", TEXT)
        assert said is not None, what
        assert len(registry) > int(said.group(1)), what


def test_the_readme_names_surrogate_functions_that_exist():
    listed = re.search(r"\*\*Surrogate functions\*\*.*?among them: (.*?)\. Give", TEXT, re.DOTALL)
    assert listed is not None
    named = re.findall(r"`(\w+)`", listed.group(1))
    assert named
    assert not set(named) - set(SURROGATES)


def test_the_table_of_surrogates_is_complete_and_its_half_widths_right():
    table = (ROOT / "docs" / "surrogates.md").read_text()
    rows = re.findall(r"^\| `(\w+)` .* \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert [row[0] for row in rows] == list(SURROGATES)

    def factor(said: str) -> float:
        return {"w/2": 0.5, "w": 1, "½": 0.5, "π w": math.pi}.get(said) or float(said.removesuffix(" w"))

    for name, window, equivalent in rows:
        wide, narrow = (torch.tensor(width, dtype=torch.float64) for width in (1.0, 0.01))
        assert SURROGATES[name].window(wide).item() == pytest.approx(factor(window), abs=6e-3), name
        half = equivalent_half_width(SURROGATES[name], narrow).item()
        assert half / 0.01 == pytest.approx(factor(equivalent.removesuffix(", at most ½")), abs=6e-3), name


NAMED = {
    "neurons": NEURONS,
    "norms": NORMS,
    "losses": LOSSES,
    "penalties": PENALTIES,
    "gradients": GRADIENTS,
    "codings": CODINGS,
    "models": MODELS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "averages": AVERAGES,
}


@pytest.mark.parametrize("registry", NAMED.values(), ids=NAMED)
def test_everything_that_a_recipe_may_name_has_a_card(registry):
    cards = (ROOT / "docs" / "methods.md").read_text()
    named = set(re.findall(r"`(?:\w+\.name=)?(\w+)`", cards))
    assert not set(registry) - named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, fragment = target.partition("#")
        place = page.parent / file if file else page
        if target.startswith("http"):
            continue
        if not place.exists() or (fragment and place.suffix == ".md" and fragment not in anchors(place)):
            wrong.append(target)
    assert wrong == []
