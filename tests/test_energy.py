"""Operations: the counts agree with those of torch, and the energies with the published costs."""

import inspect
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from surgrad import LIF, PerStep
from surgrad.cli.measuring import SWITCHES
from surgrad.errors import BadValue
from surgrad.measure import Accounting, energy
from surgrad.models import MODELS, SpikingNetwork, small_cnn
from surgrad.norm import TDBN, NormNeuron


def images(n=4, channels=3, side=32):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MODELS)
def test_connections_are_torchs_own_count(name):
    """Two floating-point operations a multiplication with addition, over all passes."""
    sized = inspect.signature(MODELS[name]).parameters.get("image_size")
    side = sized.default if sized else 32
    model = MODELS[name](in_channels=3, steps=3, width_multiplier=0.125).eval()
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(images(side=side))
    found = energy(model, [images(side=side)])
    assert 4 * sum(2 * layer.connections * layer.passes for layer in found.layers) == flops.get_total_flops()


class Chosen(LIF):
    """A neuron that fires at a chosen rate: a share of its inputs, the first ones, spikes at every time step."""

    def __init__(self, rate):
        super().__init__(0.2)
        self.rate = rate

    def forward(self, x):
        flat = torch.zeros_like(x).flatten(2)
        flat[..., : round(self.rate * flat.shape[2])] = 1
        return flat.view_as(x)


def chain(rate=0.25, steps=4):
    """1,100 multiplications: a stem of 10·20, 20·20 twice, and 20·5."""
    body = nn.Sequential(PerStep(nn.Linear(20, 20)), Chosen(rate), PerStep(nn.Linear(20, 20)), Chosen(rate))
    return SpikingNetwork(
        PerStep(nn.Flatten(), nn.Linear(10, 20)),
        NormNeuron(nn.Identity(), Chosen(rate)),
        body,
        PerStep(nn.Linear(20, 5)),
        steps,
    )


def test_ratio_of_li_et_al():
    """s + (1 - s)·0.9·T·r/4.6, the stem's share s counted once."""
    found = energy(chain(), [images(channels=1, side=1).expand(-1, 10, 1, 1)])
    share = 200 / 1100
    assert found.ann == pytest.approx(4.6 * 1100)
    assert found.ratio == pytest.approx(share + (1 - share) * 0.9 * 4 * 0.25 / 4.6)
    assert [layer.inputs for layer in found.layers] == ["image", "spikes", "spikes", "spikes"]
    assert [layer.passes for layer in found.layers] == [1, 4, 4, 4]
    assert all(rate == 0.25 for rate in found.firing_rates.values())
    assert len(found.firing_rates) == 3


def test_every_switch_of_the_accounting():
    data = [images(channels=1, side=1).expand(-1, 10, 1, 1)]
    plain = energy(chain(), data).total
    assert energy(chain(), data, Accounting(stem_every_step=True)).total == pytest.approx(plain + 4.6 * 3 * 200)
    assert energy(chain(), data, Accounting(updates=True)).total == pytest.approx(plain + 5.5 * 4 * 60)
    whole = energy(chain(), data)
    headless = energy(chain(), data, Accounting(without_head=True))
    assert headless.layers == whole.layers[:-1]
    assert headless.ann == pytest.approx(whole.ann - 4.6 * whole.layers[-1].connections)
    assert {*SWITCHES} == {field.name for field in fields(Accounting)}


class Times(nn.Module):
    def __init__(self, *factors):
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors))

    def forward(self, x):
        return self.factors.repeat(x.shape[-1])[: x.shape[-1]] * x


def behind(factors, accounting=None):
    """The layer of 4·400 connections behind a quarter of ones times the factors, by turns."""
    model = chain()
    model.body[2] = nn.Sequential(Times(*factors), model.body[2])
    return energy(model, [images(channels=1, side=1).expand(-1, 10, 1, 1)], accounting).layers[2]


def test_what_is_no_spike_is_multiplied_or_counted():
    """Of 20 inputs 5 are ones or, every fifth, the factor: counts 2, or the half that is the average of one spike in
    two."""
    done = 4 * 400
    total = (4 + 2) / 20
    for factor, kind, macs, acs in ((2.0, "counts", 0, total * done), (0.5, "fractions", done, 0)):
        factors = (1.0, 1.0, 1.0, 1.0, factor)
        layer = behind(factors)
        assert (layer.inputs, layer.macs) == (kind, macs)
        assert layer.acs == pytest.approx(acs)
        other = behind(factors, Accounting(counts_as_macs=True, fractions_as_acs=True))
        assert other.macs == (done if kind == "counts" else 0)
        assert other.acs == pytest.approx(0 if kind == "counts" else (8 + 1) / 20 * done)  # each 1 is two halves


@pytest.mark.parametrize("factors", [(0.37,), (2.0,), (1.0, -1.0), (0.37, -0.37)])
def test_spikes_of_one_size_are_added_whatever_it_is_and_the_sign(factors):
    """Its size is the weights' to have: what is converted, or ternary, multiplies nothing."""
    layer = behind(factors)
    assert (layer.inputs, layer.macs) == ("spikes", 0)
    assert layer.rate == pytest.approx(0.25)
    assert layer.acs == pytest.approx(0.25 * 4 * 400)


def test_spikes_of_an_average_are_added_one_by_one():
    """2×2 pooling: of ones it is one; of a row and a half of ones in each channel it is 1, ½ or 0."""
    pooled = nn.Sequential(Chosen(1.0), PerStep(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3 * 4, 5)))
    fire = NormNeuron(nn.Identity(), Chosen(0.25))
    model = SpikingNetwork(PerStep(nn.Conv2d(3, 3, 1)), fire, nn.Identity(), pooled, 2)
    assert energy(model, [images(side=4)], Accounting(fractions_as_acs=True)).layers[-1].inputs == "spikes"
    pooled[0].rate = 0.375
    layer = energy(model, [images(side=4)], Accounting(fractions_as_acs=True)).layers[-1]
    assert layer.inputs == "fractions"
    assert layer.spikes == pytest.approx(layer.rate / 0.5)


def test_recordings_have_the_steps_that_they_have():
    """Ten steps through a model made for two; events are added, not multiplied."""
    model = MODELS["small_cnn"](in_channels=2, steps=2, width_multiplier=0.25)
    events = (torch.rand(10, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    found = energy(model, [events])
    assert (found.steps, found.images) == (10, 3)
    assert [layer.passes for layer in found.layers] == [10] * len(found.layers)
    assert found.layers[0].inputs == "spikes"
    assert energy(model, [events], Accounting(stem_every_step=True)).total == pytest.approx(found.total)


def test_the_last_steps_output_takes_all_steps():
    model = small_cnn(in_channels=3, steps=3, width_multiplier=0.25)
    whole = energy(model, [images()])
    model.last_step = True
    assert energy(model, [images()]) == whole
    assert whole.steps == 3


def test_a_linear_layer_without_perstep_is_counted_alike():
    data = [images(channels=1, side=1).expand(-1, 10, 1, 1)]
    plain = chain()
    plain.head = nn.Linear(20, 5)
    assert energy(plain, data).ann == pytest.approx(energy(chain(), data).ann)


def test_shortcuts_are_counted_once_a_step():
    """The small ResNet's two, of 16×8×8 and 32×4×4 currents, and ResNet-19's, with the outputs of its eight blocks."""
    sizes = {"small_resnet": 16 * 64 + 32 * 16, "resnet19": 3 * 16 * 1024 + 3 * 32 * 256 + 2 * 64 * 64}
    for name, size in sizes.items():
        model = MODELS[name](steps=2, width_multiplier=0.125)
        shortcuts = energy(model, [images()], Accounting(residuals=True)).layers[-1]
        assert (shortcuts.layer, shortcuts.acs) == ("shortcuts", 2 * size)
        assert shortcuts.energy == pytest.approx(0.9 * 2 * size)


def test_model_is_left_as_it_was():
    model = small_cnn(in_channels=3, steps=2, width_multiplier=0.25, norm=TDBN)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    energy(model, [images()])
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_no_image_is_an_error():
    with pytest.raises(BadValue, match="no image was given"):
        energy(small_cnn(), [])
