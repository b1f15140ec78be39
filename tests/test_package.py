"""The package's door: public names, and what a type checker finds."""

import subprocess
import sys
from pathlib import Path

import pytest

import surgrad
import surgrad.train

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("package", [surgrad, surgrad.train], ids=lambda package: package.__name__)
def test_one_list_is_behind_every_public_name(package):
    assert set(package.__all__) <= set(dir(package))
    assert len(dir(package)) == len(set(dir(package)))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'LIFF'"):
        _ = package.LIFF


def test_a_star_import_brings_the_public_names_and_nothing_else():
    names: dict[str, object] = {}
    exec("from surgrad import *", names)
    assert set(names) - {"__builtins__"} == set(surgrad.__all__)


def test_modules_are_there_without_an_import_of_their_own():
    script = (
        "import surgrad; print(surgrad.neurons.LIF, surgrad.norm.TDBN, surgrad.report.__name__, surgrad.sweep.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


COMPUTED = """
import sys, torch
from surgrad import LIF, TDBN, Adapter, NormNeuron
layer = NormNeuron(TDBN(3), LIF())
adapter = Adapter(layer, "lsg")
layer(torch.rand(4, 2, 3, 8, 8)).sum().backward()
adapter.step()
print(sorted({"torch._dynamo", "sympy", "triton", "matplotlib"} & set(sys.modules)))
"""


def test_layers_compute_without_what_takes_long_to_load():
    done = subprocess.run([sys.executable, "-c", COMPUTED], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_type_checker_finds_misspelt_names_and_keywords(tmp_path):
    wrong = (
        "surgrad.LIFF()",
        "surgrad.losess",
        "surgrad.LIF(thresold=1.0)",
        "surgrad.PLIF(thresold=1.0)",
        "surgrad.neurons.GLIF(thresold=1.0)",
        "surgrad.data.loaad",
        "surgrad.TDBN(8, treshold=1.0)",
        "surgrad.adapt.ESG(lwo=0.3)",
    )
    (tmp_path / "wrong.py").write_text("import surgrad\n\n" + "\n".join(wrong) + "\n")
    (tmp_path / "right.py").write_text(
        "import surgrad\n\nneuron = surgrad.LIF(0.2, threshold=1.0)\nwidth = surgrad.Surrogate('rect', 1.0).width\n"
    )
    done = subprocess.run(  # with the settings and the cache of `make lint`
        [sys.executable, "-m", "mypy", tmp_path / "wrong.py", tmp_path / "right.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    found = {int(line.split(":")[1]) for line in errors if "wrong.py:" in line}
    assert found == set(range(3, 3 + len(wrong))), done.stdout + done.stderr
    assert len(errors) == len(wrong), done.stdout
