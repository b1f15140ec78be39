"""The contract of every normalisation over time, against torch's own and against the formula of Zheng et al. 2021."""

import copy
import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surgrad.errors import BadValue
from surgrad.layers import PerStep
from surgrad.neurons import LIF
from surgrad.norm import BNTT, NORMS, TAB, TDBN, TEBN, BatchNorm, NormNeuron, StepBatchNorm, fold

SIZES = [(4, 3, 5), (2, 3, 5, 4, 6)]  # [T, N, C] and [T, N, C, H, W]
PER_STEP = [name for name, kind in NORMS.items() if kind.per_time_step]
every_norm = pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
every_constant_norm = pytest.mark.parametrize("name", [name for name in NORMS if name not in (*PER_STEP, "none")])
every_step_norm = pytest.mark.parametrize("name", PER_STEP)
every_size = pytest.mark.parametrize("size", SIZES, ids=["TNC", "TNCHW"])


def inputs(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (x * 2 + torch.arange(size[2]).view(-1, *[1] * (len(size) - 3))).to(dtype)


def made(name: str, channels: int) -> BatchNorm:
    """A norm for up to four steps."""
    return NORMS[name](channels, **({"steps": 4} if name in PER_STEP else {}))


def learned(norm: Any) -> Any:
    """A norm that looks as after some training: no weight is 1 and no bias is 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, parameter in norm.named_parameters():
            parameter.uniform_(*((-1.0, 1.0) if key == "bias" else (0.5, 2.0)), generator=generator)
        norm.running_mean.uniform_(-1.0, 1.0, generator=generator)
        norm.running_var.uniform_(0.5, 2.0, generator=generator)
    return norm


def along(vector: Tensor, x: Tensor) -> Tensor:
    return vector.view(-1, *[1] * (x.ndim - 3))


def moments(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of a channel over everything else, and the number of its values."""
    values = x.transpose(0, 2).flatten(1)
    mean = values.sum(1) / values.shape[1]
    return mean, (values - mean[:, None]).square().sum(1) / values.shape[1], values.shape[1]


# --- the constructor, and torch's own tools ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NORMS)
def test_every_option_is_a_named_parameter(name: str):
    parameters = inspect.signature(NORMS[name]).parameters.values()
    assert not [p.name for p in parameters if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert {p.name for p in parameters} == {*NORMS.options(name), *(NORMS.context & {p.name for p in parameters})}
    options = {key: option.default for key, option in NORMS.options(name).items()}
    norm = NORMS.build(name, options, channels=5, steps=4, threshold=2.0)
    assert norm.channels == 5
    assert repr(norm) == repr(made(name, 5))
    if name == "tdbn":
        assert norm.scale == 2.0
        with pytest.raises(BadValue, match=r"norm.alpha = -1 is out of range; give a number above 0"):
            NORMS.build(name, {"alpha": -1}, channels=5)


@every_norm
def test_conversion_to_synchronised_norms_leaves_them_as_they_are(name: str):
    """torch's would normalise axis 1, the batch, and know no scale."""
    network = nn.Sequential(NormNeuron(made(name, 5), LIF()), PerStep(nn.BatchNorm1d(5)))
    x = inputs(4, 3, 5)
    twin = copy.deepcopy(network[0])
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert type(converted[0].norm) is NORMS[name]
    assert isinstance(converted[1][0], nn.SyncBatchNorm), "torch's own are converted"
    assert torch.equal(converted[0](x), twin(x))


@every_norm
def test_keys_are_those_of_torchs_norms(name: str):
    keys = set(made(name, 5).state_dict())
    assert set(nn.BatchNorm2d(5).state_dict()) == keys - {"step_scale"} | ({"bias"} if name == "bntt" else set())


def test_weights_are_exchanged_with_torchs_norms():
    theirs = learned(nn.BatchNorm2d(5))
    theirs.num_batches_tracked.fill_(3)
    ours = BatchNorm(5)
    ours.load_state_dict(theirs.state_dict())
    assert all(torch.equal(value, ours.state_dict()[key]) for key, value in theirs.state_dict().items())
    theirs.load_state_dict(ours.state_dict())


@every_norm
def test_states_of_before_batches_were_counted_load(name: str):
    norm = made(name, 5)
    old = {key: value for key, value in learned(made(name, 5)).state_dict().items() if key != "num_batches_tracked"}
    norm.load_state_dict(old)
    assert norm.num_batches_tracked == 0
    with pytest.raises(RuntimeError, match="running_mean"):
        norm.load_state_dict({key: value for key, value in old.items() if key != "running_mean"})


# --- the formulas -----------------------------------------------------------------------------------------------------


@every_size
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("momentum", [0.1, 0.3, 1.0, 0.0, None])
def test_batchnorm_is_torchs_over_steps_and_samples(size: tuple[int, ...], dtype: torch.dtype, momentum: float | None):
    kind = nn.BatchNorm1d if len(size) == 3 else nn.BatchNorm2d
    ours = learned(BatchNorm(5, momentum=momentum))
    theirs = learned(kind(5, momentum=momentum))
    if dtype == torch.float64:
        ours = ours.double()
        theirs = theirs.double()
    for mode in (True, True, False):
        ours.train(mode)
        theirs.train(mode)
        x, y = (inputs(*size, dtype=dtype).requires_grad_() for _ in range(2))
        out = ours(x)
        expected = theirs(y.flatten(0, 1)).unflatten(0, size[:2])
        assert torch.equal(out, expected)
        for o in (out, expected):
            o.square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, msg=lambda text, key=key: f"{key}: {text}")
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(key).grad, parameter.grad)


@every_size
@pytest.mark.parametrize(("threshold", "alpha"), [(0.5, 1.0), (1.0, 1 / math.sqrt(2)), (0.3, 2.0)])
def test_tdbn_formula(size: tuple[int, ...], threshold: float, alpha: float):
    """Zheng et al. 2021: γ·α·v_th·(x - mean)/√(var + ε) + μ; the biased variance normalises, the unbiased one enters
    the running estimate, which is used in evaluation."""
    norm = learned(TDBN(5, threshold, alpha, momentum=0.2)).double()
    x = inputs(*size, dtype=torch.float64)
    mean, variance, count = moments(x)
    gain = norm.weight.detach() * alpha * threshold
    running_mean = 0.8 * norm.running_mean + 0.2 * mean
    running_variance = 0.8 * norm.running_var + 0.2 * variance * count / (count - 1)

    centred = (x - along(mean, x)) / along((variance + 1e-5).sqrt(), x)
    torch.testing.assert_close(norm(x).detach(), along(gain, x) * centred + along(norm.bias.detach(), x))
    torch.testing.assert_close(norm.running_mean, running_mean)
    torch.testing.assert_close(norm.running_var, running_variance)

    norm.eval()
    centred = (x - along(running_mean, x)) / along((running_variance + 1e-5).sqrt(), x)
    torch.testing.assert_close(norm(x).detach(), along(gain, x) * centred + along(norm.bias.detach(), x))
    torch.testing.assert_close(norm.running_mean, running_mean, msg="evaluation leaves the estimate alone")


def test_none_changes_nothing():
    norm = NORMS["none"](5)
    x = inputs(2, 3, 5)
    assert norm(x) is x
    assert not list(norm.parameters())
    neuron = LIF()
    assert torch.equal(NormNeuron(norm, neuron)(x), neuron(x))


def test_tdbn_starts_currents_at_the_thresholds_scale():
    """N(0, (α·v_th)²) at the start, with α = 1 and v_th = 1/2 by default."""
    out = TDBN(5)(inputs(8, 16, 5, 7, 7))
    assert out.mean().item() == pytest.approx(0, abs=1e-5)
    assert out.std().item() == pytest.approx(0.5, rel=1e-3)
    out = TDBN(5, threshold=2.0, alpha=0.25)(inputs(8, 16, 5, 7, 7))
    assert out.std().item() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["batchnorm", "tdbn"])
@every_size
def test_statistics_are_shared_by_steps_samples_and_positions(name: str, size: tuple[int, ...]):
    """Which value sits at which step or sample is nothing to the norm: shuffle, normalise, shuffle back."""
    norm = NORMS[name](5)
    x = inputs(*size)
    T, N = size[:2]
    order = torch.randperm(T * N, generator=torch.Generator().manual_seed(3))
    shuffled = x.flatten(0, 1)[order].unflatten(0, (T, N))
    out = norm(x).flatten(0, 1)[order].unflatten(0, (T, N))
    torch.testing.assert_close(norm(shuffled), out, rtol=1e-5, atol=1e-6)
    mean, variance, _ = moments(norm(x).detach())
    torch.testing.assert_close(mean, torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(variance.sqrt(), torch.full((5,), norm.scale), rtol=1e-4, atol=0)


@every_constant_norm
def test_is_called_with_channels_alone_and_starts_as_the_identity_of_its_scale(name: str):
    norm = NORMS[name](5)
    assert torch.equal(norm.weight, torch.ones(5))
    assert torch.equal(norm.bias, torch.zeros(5))
    assert {key for key, _ in norm.named_parameters()} == {"weight", "bias"}


@every_norm
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out(name: str, dtype: torch.dtype):
    norm = learned(made(name, 5))
    x = inputs(2, 3, 5, 4, 6, dtype=dtype)
    out = norm(x)
    assert out.dtype == dtype
    expected = learned(made(name, 5))(x.float())
    torch.testing.assert_close(out.float(), expected, rtol=1e-2, atol=1e-2)


@every_constant_norm
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_folded_convolution_computes_the_normed_one(name: str, bias: bool, groups: int):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=groups, bias=bias).double()
    conv_before = {key: value.clone() for key, value in conv.state_dict().items()}
    norm = learned(NORMS[name](6)).double().eval()
    folded = fold(conv, norm)
    x = inputs(2, 4, 3, 9, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = norm(PerStep(conv)(x))
        torch.testing.assert_close(PerStep(folded)(x), expected, rtol=1e-12, atol=1e-12)
    assert (folded(x[0]) - conv(x[0])).abs().max() > 0.1
    assert all(torch.equal(value, conv_before[key]) for key, value in conv.state_dict().items()), "conv is untouched"


@every_constant_norm
@pytest.mark.parametrize("bias", [False, True])
def test_folded_linear_layer_computes_the_normed_one(name: str, bias: bool):
    torch.manual_seed(0)
    linear = nn.Linear(7, 5, bias=bias).double()
    norm = learned(NORMS[name](5)).double().eval()
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fold(linear, norm)(x), norm(linear(x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_folding_keeps_the_layers_dtype(kind: str):
    layer = (nn.Conv2d(3, 5, 3, bias=False) if kind == "conv" else nn.Linear(3, 5)).bfloat16()
    folded = fold(layer, learned(TDBN(5)).eval())
    assert {p.dtype for p in folded.parameters()} == {torch.bfloat16}
    x = torch.randn(2, 3, 4, 4) if kind == "conv" else torch.randn(2, 3)
    assert folded(x.bfloat16()).dtype == torch.bfloat16


@every_norm
@pytest.mark.parametrize("size", [(2, 3, 4), (2, 3, 4, 5, 5), (2, 5), (3, 5, 4, 4)])
def test_refuses_other_channels(name: str, size: tuple[int, ...]):
    with pytest.raises(BadValue, match=r"input \[.*\] does not fit; give \[T, N, 5, ...\]"):
        made(name, 5)(torch.zeros(size))


@every_size
@pytest.mark.parametrize("training", [True, False])
def test_tebn_scales_the_steps_of_a_batch_norm(size: tuple[int, ...], training: bool):
    """Duan et al. 2022: y_t = p_t·BN(x)_t."""
    norm = learned(TEBN(5, 6)).train(training)
    plain = BatchNorm(5).train(training)
    plain.load_state_dict({key: value for key, value in norm.state_dict().items() if key != "step_scale"})
    x = inputs(*size)
    expected = plain(x) * norm.step_scale[: size[0]].view(-1, *[1] * (len(size) - 1))
    torch.testing.assert_close(norm(x), expected)
    assert norm.step_scale.min() > 0.4
    assert torch.equal(TEBN(5, 6).step_scale, torch.ones(6))


@every_size
def test_step_batchnorm_is_torchs_norm_in_a_loop_over_time(size: tuple[int, ...]):
    norm = learned(StepBatchNorm(5))
    one = (nn.BatchNorm1d if len(size) == 3 else nn.BatchNorm2d)(5)
    one.load_state_dict(norm.state_dict())
    for mode in (True, True, False):
        x, y = (inputs(*size).requires_grad_() for _ in range(2))
        expected = torch.stack([one.train(mode)(now) for now in y])
        torch.testing.assert_close(norm.train(mode)(x), expected)
        norm(x).square().sum().backward()
        torch.stack([one(now) for now in y]).square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        for key, value in one.state_dict().items():
            torch.testing.assert_close(norm.state_dict()[key], value)


@every_size
def test_bntt_is_a_norm_of_each_step(size: tuple[int, ...]):
    """Kim and Panda 2021: separate statistics, running estimates and weights for each step, and no bias."""
    norm = learned(BNTT(5, size[0] + 1))
    apart = []
    for t in range(size[0]):
        one = (nn.BatchNorm1d if len(size) == 3 else nn.BatchNorm2d)(5, eps=1e-4)
        of_step = {key: getattr(norm, key)[5 * t : 5 * t + 5] for key in ("weight", "running_mean", "running_var")}
        one.load_state_dict(of_step, strict=False)
        apart.append(one)
    x = inputs(*size)
    for mode in (True, True, False):
        expected = torch.stack([one.train(mode)(now) for one, now in zip(apart, x, strict=True)])
        torch.testing.assert_close(norm.train(mode)(x), expected)
    assert norm.bias is None


@every_size
def test_tab_sees_no_later_step(size: tuple[int, ...]):
    """Jiang et al. 2024: mean and variance of all steps up to each; in evaluation their running estimates."""
    norm = learned(TAB(5, size[0])).double()
    x = inputs(*size, dtype=torch.float64)
    held = norm.running_mean.clone()
    spread = norm.running_var.clone()
    found = norm(x)
    for t in range(size[0]):
        mean, variance, count = moments(x[: t + 1])
        centred = (x[t] - along(mean, x)) / along((variance + norm.eps).sqrt(), x)
        weight, bias = (rows[5 * t : 5 * t + 5] for rows in (norm.weight, norm.bias))
        expected = norm.step_scale[t] ** 2 * (along(weight, x) * centred + along(bias, x))
        torch.testing.assert_close(found[t], expected)
        torch.testing.assert_close(norm.running_mean[t], 0.9 * held[t] + 0.1 * mean)
        torch.testing.assert_close(norm.running_var[t], 0.9 * spread[t] + 0.1 * variance * count / (count - 1))
    norm.eval()
    centred = (x[-1] - along(norm.running_mean[-1], x)) / along((norm.running_var[-1] + norm.eps).sqrt(), x)
    expected = norm.step_scale[-1] ** 2 * (along(norm.weight[-5:], x) * centred + along(norm.bias[-5:], x))
    torch.testing.assert_close(norm(x)[-1], expected)


@every_step_norm
def test_norms_of_steps_take_shorter_sequences_and_refuse_longer_ones(name: str):
    norm = made(name, 5)
    assert norm(inputs(1, 3, 5, 4, 4)).shape == (1, 3, 5, 4, 4)
    with pytest.raises(BadValue, match="has 5 steps, and this norm was built for 4; build it with steps=5"):
        norm(inputs(5, 3, 5, 4, 4))
    with pytest.raises(
        BadValue, match="differs from step to step, so no single convolution computes it; fold a BatchNorm or TDBN"
    ):
        fold(nn.Conv2d(3, 5, 3), norm)


@pytest.mark.parametrize("with_plus", [False, True])
def test_an_expanded_image_keeps_its_layout(with_plus: bool):
    """`x.expand(T, ...)` of a channels_last image: spikes are channels_last, and all else is as of T copies."""
    x = inputs(1, 2, 4, 3, 5).movedim(-1, 2)
    plus = inputs(4, 2, 4, 3, 5).movedim(-1, 2) if with_plus else None
    found = []
    shown = x.expand(4, *x.shape[1:])
    for copies in (shown, shown.movedim(2, -1).contiguous().movedim(-1, 2)):
        torch.manual_seed(0)
        layer = NormNeuron(TDBN(5), LIF(0.3, backend="native"), TDBN(5) if with_plus else None)
        leaf = copies.detach().requires_grad_()
        spikes = layer(leaf, plus)
        (spikes * torch.arange(spikes.numel()).view(spikes.shape)).sum().backward()
        found.append((spikes.detach(), leaf.grad, layer.norm.running_var))
        assert spikes[0].is_contiguous(memory_format=torch.channels_last)
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected)


@every_step_norm
def test_norms_of_steps_expand_a_static_image(name: str):
    """A current that is the same at every step is normalised at each."""
    norm = learned(made(name, 5)).eval()
    module = NormNeuron(norm, nn.Identity(), learned(made(name, 5)).eval())
    x = inputs(1, 3, 5, 4, 4)
    plus = inputs(1, 3, 5, 4, 4) + 1
    shown = norm(x.expand(4, -1, -1, -1, -1)) + module.plus_norm(plus.expand(4, -1, -1, -1, -1))
    torch.testing.assert_close(module(x, plus, steps=4), shown)
    assert (shown[0] - shown[1]).abs().max() > 0.1


class TestNormNeuron:
    """A norm and its neuron in one pass do what they do one after the other."""

    @staticmethod
    def made(neuron: nn.Module | None = None, norm: nn.Module | None = None) -> NormNeuron:
        torch.manual_seed(0)
        return NormNeuron(norm or TDBN(5), neuron or LIF(0.3, train_decay=True, surrogate="tanh"), BatchNorm(5))

    @staticmethod
    def apart(module: NormNeuron, x: Tensor, plus: Tensor) -> Tensor:
        assert module.plus_norm is not None
        return module.neuron(module.norm(x) + module.plus_norm(plus))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("backend", ["auto", "reference", "torch"])
    def test_outputs_gradients_and_running_statistics(self, training: bool, backend: str):
        x = torch.randn(3, 2, 5, 4, 4) * 2 + 1
        plus = torch.randn(3, 2, 5, 4, 4)
        found = []
        for together in (True, False):
            module = self.made().train(training)
            module.neuron.backend = backend if together else "reference"
            leaves = [x.clone().requires_grad_(), plus.clone().requires_grad_()]
            out = module(*leaves) if together else self.apart(module, *leaves)
            (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
            grads = {name: p.grad for name, p in module.named_parameters()}
            buffers = dict(module.named_buffers())
            found.append({"out": out, "x": leaves[0].grad, "plus": leaves[1].grad, **grads, **buffers})
        for name, value in found[0].items():
            torch.testing.assert_close(value, found[1][name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")

    def test_hooks_see_what_they_would_see_alone(self):
        x = torch.randn(3, 2, 5)
        plus = torch.randn(3, 2, 5)
        for name in ("norm", "neuron"):
            seen = []
            module = self.made()
            getattr(module, name).register_forward_pre_hook(
                lambda m, args, seen=seen: seen.append(args[0]) or (args[0],)
            )
            expected = self.apart(copy.deepcopy(module), x, plus)
            seen.clear()
            assert torch.equal(module(x, plus), expected)
            assert len(seen) == 1
            wanted = x if name == "norm" else copy.deepcopy(module).norm(x) + copy.deepcopy(module).plus_norm(plus)
            torch.testing.assert_close(seen[0], wanted)

    def test_a_forward_of_ones_own_is_used(self):
        class Louder(BatchNorm):
            def forward(self, input: Tensor) -> Tensor:
                return super().forward(input) + 100

        class Alone(LIF):
            def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
                return super().forward(x)

        x = torch.randn(3, 2, 5)
        plus = torch.randn(3, 2, 5)
        assert self.made(norm=Louder(5))(x, plus).all()
        assert torch.equal(
            self.made(neuron=Alone(0.3, surrogate="tanh"))(x, plus),
            self.made(neuron=LIF(0.3, surrogate="tanh", backend="torch"))(x, plus),
        )

    def test_a_static_current_and_a_summand_of_another_kind(self):
        x = torch.randn(1, 2, 5, 3, 3)
        module = self.made()
        module.plus_norm = None
        assert module(x, steps=4).shape == (4, 2, 5, 3, 3)
        assert torch.equal(module.eval()(x, steps=4), module(x.expand(4, 2, 5, 3, 3)))
        small = torch.randn(1, 2, 5, 1, 1, dtype=torch.float64)
        assert module(x, small, steps=4).shape == (4, 2, 5, 3, 3)
