"""Tiny trainings for the tests of the training half: milliseconds a step, with augmentation and adapter at work."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported

from surgrad.config import Recipe, set_fields
from surgrad.recipes import find_recipe
from surgrad.train import train

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start

SLOW = frozenset(
    (
        "test_adapt.py",  # two ranks, finite differences
        "test_claims.py",
        "test_cli.py",
        "test_controllers.py",
        "test_conversion.py",
        "test_event_files.py",
        "test_figures.py",
        "test_folder.py",
        "test_instruments.py",
        "test_kernels.py",
        "test_memory.py",
        "test_models.py",
        "test_native.py",
        "test_recipes.py",  # two steps of every recipe
        "test_report.py",
        "test_resume.py",
        "test_sweep.py",
        "test_triton.py",
    )
)
"""Files whose tests are all marked slow, so that `make test-fast` leaves them out."""
SLOW_TESTS = frozenset(
    (
        "test_a_disk_that_is_really_full",
        "test_a_type_checker_finds_misspelt_names_and_keywords",
        "test_a_training_by_it_stops_and_resumes_exactly",
        "test_a_training_on_recordings_learns",
        "test_a_training_on_recordings_resumes_exactly",
        "test_compiled_training_is_one_graph_whatever_the_widths",
        "test_contenders_far_behind_are_measured_in_the_fewest_rounds",
        "test_every_optimiser_resumes_exactly",
        "test_large_tensors_come_in_huge_pages",
        "test_no_fresh_network_has_layers_without_gradient",
        "test_the_training_core_needs_torch_and_numpy_alone",
    )
)
"""Slow tests in other files, of a second or more."""
LONG = (
    "test_ranks.py",
    "test_torchrun.py",
    "test_sweep.py",
    "test_run_folder.py",
    "test_tuning.py",
    "test_cuda_compiled.py",
)
"""Files with tests of ten seconds and more. They begin first: a process that has nothing left to do takes over half of
what another one has not begun, which is little where that has long tests at its end."""

TINY = (
    "data.limit=128",
    "data.batch=32",
    "data.crop=2",
    "data.flip=true",
    "model.width_multiplier=0.125",
    "model.steps=2",
    "optim.epochs=2",
    "optim.neuron_lr=3e-4",
    "run.precision=fp32",
    "run.device=cpu",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in SLOW or getattr(item, "originalname", "") in SLOW_TESTS:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny tensors gain nothing by more, and a process that a test starts must sum in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny():
    """tiny("optim.epochs=3", ...) -> a recipe of 4 steps an epoch; 2 epochs unless told otherwise."""

    def make(*assignments: str) -> Recipe:
        return set_fields(find_recipe(), (*TINY, *assignments))

    return make


@pytest.fixture(scope="session")
def tiny_words():
    """The same settings as words of the command line."""
    return [word for assignment in TINY for word in ("--set", assignment)]


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory) -> Path:
    """A finished run of tiny(): to read; copy it to change it."""
    return train(tiny(), tmp_path_factory.mktemp("finished") / "run")
