"""Conversion of networks that are written in plain torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from surgrad.conversion import accuracy_over_time, convert
from surgrad.errors import BadValue
from surgrad.neurons import neurons


class Mine(nn.Module):
    """Every way to write a ReLU, one module used twice, a shortcut, norms, dropout and pooling."""

    def __init__(self, extra=None):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.Conv2d(6, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.extra = extra or nn.Identity()
        self.head = nn.Sequential(nn.Linear(8 * 4, 16), nn.ReLU(), nn.Linear(16, 5))

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        x = x + self.act(self.second(x))
        x = self.act(x).clamp(min=0)
        x = torch.relu(self.third(self.extra(F.avg_pool2d(x, 2))))
        x = self.drop(F.adaptive_avg_pool2d(x, 2)).view(x.size(0), -1)
        return self.head(x)


def made(extra=None):
    torch.manual_seed(0)
    network = Mine(extra)
    images = torch.rand(32, 1, 8, 8)
    network(images)  # statistics for the norm
    return network.eval(), images


def test_a_network_of_plain_torch_is_converted():
    network, images = made()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    labels = network(images).argmax(1)
    spiking = convert(network, [(images, labels)], percentile=100, steps=512)
    assert len(neurons(spiking)) == 6
    with torch.no_grad():
        output = spiking(images).mean(0)
        expected = network(images)
    assert (output - expected).abs().max() < 0.05 * expected.abs().max()
    accuracies = accuracy_over_time(spiking, [(images, labels)], 128)
    assert len(accuracies) == 128
    assert accuracies[-1] > 0.9
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert spiking(images[:3]).shape == (512, 3, 5)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (nn.LeakyReLU(), r"'extra' \(LeakyReLU\) cannot be converted"),
        (nn.SiLU(), r"'extra' \(SiLU\)"),
        (nn.AdaptiveMaxPool2d(4), r"'extra' \(AdaptiveMaxPool2d\)"),
        (nn.Softmax(1), r"'extra' \(Softmax\)"),
    ],
)
def test_what_cannot_be_converted_is_named(extra, said):
    network, images = made(extra)
    with pytest.raises(BadValue, match=said):
        convert(network, [(images, images)])


class Strange(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.function(F.relu(self.layer(x)))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: F.max_pool1d(x, 2), "max_pool1d"),
        (lambda x: x.sigmoid(), r"sigmoid\(\) \('sigmoid'\) cannot be converted"),
        (lambda x: x.clamp(min=0, max=6), r"clamp\(\)"),
        (lambda x: x * x, r"mul\(\)"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be traced by torch.fx"),
    ],
)
def test_functions_that_cannot_be_converted_are_named(function, said):
    with pytest.raises(BadValue, match=said):
        convert(Strange(function), [(torch.rand(3, 4), torch.zeros(3))])


def test_a_network_without_relus_and_one_that_is_not_called():
    with pytest.raises(BadValue, match=r"has no nn\.ReLU to convert"):
        convert(nn.Linear(4, 2), [(torch.rand(3, 4), torch.zeros(3))])
