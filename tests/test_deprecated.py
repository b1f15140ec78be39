"""Old public names work for one release, with a warning that says the new name."""

import importlib

import pytest
import torch

import surgrad
from surgrad.kernels.lif import lif

OLD = {
    "surgrad.shapes.SHAPES": "surgrad.surrogates.SURROGATES",
    "surgrad.shapes.Shape": "surgrad.surrogates.SurrogateFunction",
    "surgrad.shapes.find_shape": "surgrad.surrogates.find_surrogate",
    "surgrad.shapes.shape": "surgrad.surrogates.surrogate_function",
    "surgrad.shapes.dspike": "surgrad.surrogates.dspike",
    "surgrad.surrogate.Surrogate": "surgrad.surrogates.Surrogate",
    "surgrad.surrogate.spike": "surgrad.surrogates.spike",
    "surgrad.surrogate.surrogates": "surgrad.surrogates.find_surrogates",
    "surgrad.adapt.fixed": "surgrad.adapt.Fixed",
    "surgrad.adapt.schedule": "surgrad.adapt.Schedule",
    "surgrad.adapt.follow": "surgrad.adapt.Follow",
    "surgrad.adapt.steer": "surgrad.adapt.ESG",
    "surgrad.adapt.search": "surgrad.adapt.Dspike",
    "surgrad.adapt.compete": "surgrad.adapt.DGS",
    "surgrad.adapt.clip": "surgrad.adapt.Clip",
    "surgrad.adapt.every": "surgrad.adapt.Every",
    "surgrad.adapt.Moment": "surgrad.adapt.StepContext",
    "surgrad.neurons.Stepped": "surgrad.neurons.SteppedNeuron",
    "surgrad.neurons.carrying": "surgrad.neurons.streaming",
    "surgrad.neurons.against": "surgrad.neurons.broadcast_channels",
    "surgrad.neurons.whole_sequences": "surgrad.neurons.needs_whole_sequence",
    "surgrad.gradients.rate": "surgrad.gradients.rate_based",
    "surgrad.data.FOLDERS": "surgrad.data.FOLDER_SETS",
    "surgrad.train.recipe.Recipe": "surgrad.config.Recipe",
    "surgrad.train.recipe.derive": "surgrad.config.derive",
    "surgrad.train.recipe.set_fields": "surgrad.config.set_fields",
    "surgrad.train.recipe.from_dict": "surgrad.config.from_dict",
}


def found(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_an_old_name_is_the_new_object(old, new):
    with pytest.warns(FutureWarning, match="deprecated and will be removed in the next release; use surgrad"):
        assert found(old) is found(new)


def test_old_attributes_and_keywords_are_served():
    neuron = surgrad.LIF()
    with pytest.warns(FutureWarning, match=r"Surrogate\.shape is deprecated .* use function"):
        assert neuron.surrogate.shape is neuron.surrogate.function
    with pytest.warns(FutureWarning, match=r"Surrogate\(shape=\) is deprecated .* use function="):
        assert surgrad.Surrogate(shape="atan").function.name == "atan"
    with pytest.warns(FutureWarning, match=r"Neuron\.penalise is deprecated .* use penalty_fn"):
        neuron.penalise = len
    assert neuron.penalty_fn is len
    x = torch.rand(2, 3, 4)
    with pytest.warns(FutureWarning, match=r"lif\(.*\) is deprecated"):
        out = lif(x, 0.5, 1.0, shape="atan", watch=True)
    with pytest.warns(FutureWarning, match=r"LIFOutput\.membrane is deprecated .* use histogram"):
        assert out.membrane is out.histogram


def test_new_names_do_not_warn(recwarn):
    for path in OLD.values():
        found(path)
    assert not [warning for warning in recwarn if issubclass(warning.category, FutureWarning)]
