"""Low-rank changes of every network: exact at scale 0, when merged and when removed, and strict about what they fit."""

import copy

import pytest
import torch
from torch import nn

from mmdiff.core.types import Condition
from mmdiff.nn import lora
from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.network import Network
from mmdiff.nn.point_dit import PointDiT
from mmdiff.nn.point_egnn import PointEGNN
from mmdiff.nn.unet1d import UNet1d
from mmdiff.nn.video_dit import VideoDiT
from mmdiff.nn.video_uvit import VideoUViT

C, D = 3, 6


class Own(Network):
    """A network as a plug-in may have one: other kinds of layers, torch's own attention, a table."""

    def __init__(self, channels: int, cond_dim: int):
        super().__init__()
        self.stem, self.table = nn.Conv2d(channels, 8, 3, padding=1), nn.Embedding(4, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, channels)

    def forward(self, x, level, cond=None, mask=None):
        h = self.stem(x).flatten(2).mT + self.table((4 * level).long().clamp(max=3))[:, None]
        return self.out(h + self.attention(h, h, h, need_weights=False)[0]).mT.view_as(x)


NETWORKS = {
    "unet1d": (lambda: UNet1d(C, D, base=8, multipliers=(1, 2), groups=4), (13,), False),
    "unet1d_tokens": (lambda: UNet1d(C, D, base=8, multipliers=(1, 2), groups=4, tokens=True), (13,), True),
    "dit1d": (lambda: DiT1d(C, D, dim=16, depth=2, heads=2, patch=2), (13,), False),
    "video_dit": (lambda: VideoDiT(C, D, dim=32, depth=2, heads=2, patch=(1, 4, 4)), (2, 8, 8), False),
    "video_dit_tokens": (lambda: VideoDiT(C, D, dim=32, depth=1, heads=2, patch=(1, 4, 4), tokens=1), (2, 8, 8), True),
    "video_uvit": (lambda: VideoUViT(C, D, widths=(4, 8), dim=16, depth=1, heads=2), (2, 8, 8), False),
    "point_dit": (lambda: PointDiT(C, D, dim=16, depth=2, heads=2, frequencies=4), (20,), False),
    "point_dit_voxels": (lambda: PointDiT(C, D, dim=16, depth=2, heads=2, frequencies=4, voxels=4), (20,), False),
    "point_egnn": (lambda: PointEGNN(4, D, dim=16, depth=2, heads=2, pair=8, nodes=6), (6,), False, 4),
    "own": (lambda: Own(C, D), (4, 5), False),
}


class Case:
    """A network as training leaves it, and what it is asked."""

    def __init__(self, make, size, tokens, channels=C):
        torch.manual_seed(0)
        self.network = noisy(make()).eval().requires_grad_(False)     # as loaded: torch picks its product by that
        cond = Condition(torch.randn(2, D), torch.randn(2, 4, D) if tokens else None)
        self.inputs = torch.randn(2, channels, *size), torch.rand(2), cond

    @torch.no_grad()
    def __call__(self, network):
        return network(*self.inputs)

    def changed(self, *, dora=False, seed=1, network=None):
        """A copy of the network with a change that is no longer 0, and its tensors."""
        network = copy.deepcopy(self.network if network is None else network)
        lora.add(network, 4, dora=dora)
        torch.manual_seed(seed)
        return noisy(network, learning=True), lora.tensors_of(network)


def noisy(network, learning=False):
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad or not learning:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.fixture(params=NETWORKS)
def case(request):
    return Case(*NETWORKS[request.param])


@pytest.fixture(params=[False, True], ids=["lora", "dora"])
def dora(request):
    return request.param


def weights(network):
    """The weights that a network computes with, by layer."""
    return {name: layer.weight.detach().clone() for name, layer in lora.layers(network).items()}


def test_a_change_begins_as_the_base_to_the_bit_and_learns_alone(case, dora):
    network = copy.deepcopy(case.network)
    names = lora.add(network, 4, dora=dora)
    assert names == list(lora.layers(case.network))
    assert torch.equal(case(network), case(case.network))
    learning = [name for name, p in network.named_parameters() if p.requires_grad]
    assert len(learning) == len(names) * (3 if dora else 2)
    network(*case.inputs).square().sum().backward()
    reached = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert set(reached) <= set(learning)
    assert any(grad.abs().sum() > 0 for name, grad in reached.items() if name.endswith("b"))


def test_scale_zero_and_removal_are_the_base_to_the_bit(case, dora):
    network, _ = case.changed(dora=dora)
    assert not torch.equal(case(network), case(case.network))
    lora.rescale(network, 0)
    assert torch.equal(case(network), case(case.network))
    lora.remove(network)
    assert torch.equal(case(network), case(case.network))
    assert [type(m) for m in network.modules()] == [type(m) for m in case.network.modules()]
    assert list(network.state_dict()) == list(case.network.state_dict())


def test_merged_is_unmerged_to_the_bit_with_the_names_of_the_base(case, dora):
    network, _ = case.changed(dora=dora)
    lora.rescale(network, 0.7)
    before = case(network)
    lora.merge(network)
    assert torch.equal(case(network), before)
    assert list(network.state_dict()) == list(case.network.state_dict())
    assert {type(m) for m in network.modules()} == {type(m) for m in case.network.modules()}


def test_the_tensors_of_a_change_give_its_bits_again(case, dora):
    network, tensors = case.changed(dora=dora)
    again = copy.deepcopy(case.network)
    lora.attach(again, {name: tensor.clone() for name, tensor in tensors.items()})
    assert torch.equal(case(again), case(network))
    assert not any(p.requires_grad for n, p in again.named_parameters() if "_parts" in n)


def test_a_scale_multiplies_what_changes(case, dora):
    network, _ = case.changed(dora=dora)
    base, whole = weights(case.network), weights(network)
    lora.rescale(network, 0.3)
    for name, weight in weights(network).items():
        torch.testing.assert_close(weight - base[name], 0.3 * (whole[name] - base[name]), atol=1e-6, rtol=0)


def test_two_changes_add_up_in_either_order(case, dora):
    (first, one), (second, two) = case.changed(dora=dora), case.changed(dora=dora, seed=2)
    both, other = copy.deepcopy(case.network), copy.deepcopy(case.network)
    for network, order in ((both, (one, two)), (other, (two, one))):
        for i, tensors in enumerate(order):
            lora.attach(network, tensors, name=f"change{i}")
    base, a, b, sums, turned = map(weights, (case.network, first, second, both, other))
    for name, weight in sums.items():
        torch.testing.assert_close(weight - base[name], a[name] + b[name] - 2 * base[name], atol=1e-6, rtol=0)
        torch.testing.assert_close(turned[name], weight, atol=1e-6, rtol=0)


def test_a_copy_is_independent_of_what_it_was_made_of(case, dora):
    network, _ = case.changed(dora=dora)
    before, copied = case(network), copy.deepcopy(network)
    lora.rescale(copied, 0.5)
    noisy(copied, learning=True)
    assert not torch.equal(case(copied), before)
    lora.merge(copied)
    assert torch.equal(case(network), before)
    lora.remove(network)
    assert torch.equal(case(network), case(case.network))


def test_autocast_changes_no_weight(case, dora):
    network, _ = case.changed(dora=dora)
    plain = weights(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(weight, plain[name]) for name, weight in weights(network).items())


def test_large_layers_learn_without_a_weight_of_their_own_and_to_rounding_alike(case, dora, monkeypatch):
    network, tensors = case.changed(dora=dora)
    lora.attach(network, {n: 0.5 * t for n, t in tensors.items()}, scale=0.4, name="second")

    def learned():
        network.zero_grad()
        (out := network(*case.inputs)).square().sum().backward()
        return out.detach(), {name: p.grad.clone() for name, p in network.named_parameters() if p.requires_grad}

    (out, gradients), plain = learned(), case(network)
    monkeypatch.setattr(lora, "LARGE", 1)
    assert torch.equal(case(network), plain), "without gradients it is the plain weight"
    factored, others = learned()
    torch.testing.assert_close(factored, out, atol=1e-5, rtol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, atol=1e-4, rtol=1e-4)


def test_a_large_layer_makes_nothing_of_the_size_of_its_weight(monkeypatch):
    layer = nn.Sequential(nn.Linear(64, 96))
    lora.add(layer, 2)
    monkeypatch.setattr(lora, "LARGE", 1)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append((t.data_ptr(), t.numel())) or t, lambda t: t):
        layer(torch.randn(5, 64)).sum().backward()
    own = layer[0].parametrizations.weight.original
    assert max((n for place, n in sizes if place != own.data_ptr()), default=0) < own.numel() and own.grad is None


def test_the_rank_is_cut_to_the_width_and_chosen_layers_alone_are_changed():
    network = Own(C, D)
    assert lora.add(network, 100, where=["out", "stem"]) == ["out", "stem"]
    shapes = {name: tuple(tensor.shape) for name, tensor in lora.tensors_of(network).items()}
    assert shapes == {
        "stem.lora_A": (8, 27), "stem.lora_B": (8, 8), "out.lora_A": (3, 8), "out.lora_B": (3, 3),
    }


def test_a_row_of_zeros_has_a_direction_once_it_is_changed():
    layer = nn.Sequential(nn.Linear(4, 3))
    nn.init.zeros_(layer[0].weight)
    lora.add(layer, 2, dora=True)
    x = torch.randn(5, 4)
    assert torch.equal(layer(x), layer[0].bias.expand(5, 3))
    layer(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


def test_what_does_not_fit_is_refused_by_name():
    tensors, base = Case(*NETWORKS["own"]).changed()[1], Own(C, D)
    with pytest.raises(ValueError, match=r"1 of 4 changed layers are not in this network, such as stem2"):
        lora.attach(base, {name.replace("stem", "stem2"): tensor for name, tensor in tensors.items()})
    with pytest.raises(ValueError, match=r"out has 3 x 8 weights here: its a of rank 3 is \(3, 8\), got \(3, 9\)"):
        lora.attach(base, {**tensors, "out.lora_A": torch.zeros(3, 9)})
    with pytest.raises(ValueError, match=r"out has 3 x 8 weights here: its b of rank 2 is \(3, 2\), got \(3, 3\)"):
        lora.attach(base, {**tensors, "out.lora_A": torch.zeros(2, 8)})
    with pytest.raises(ValueError, match="out has no lora_B"):
        lora.attach(base, {name: tensor for name, tensor in tensors.items() if name != "out.lora_B"})
    with pytest.raises(ValueError, match=r"out\.alpha is no part of a low-rank change"):
        lora.attach(base, {**tensors, "out.alpha": torch.ones(())})
    assert all(type(layer).__module__.startswith("torch") for layer in lora.layers(base).values())
    assert not lora.tensors_of(base), "nothing is changed where anything is refused"
    lora.attach(base, tensors)
    with pytest.raises(ValueError, match="has a change 'change' already"):
        lora.attach(base, tensors)
    with pytest.raises(ValueError, match="no layer 'attention' that can be changed"):
        lora.add(Own(C, D), 4, where=["attention"])
    with pytest.raises(ValueError, match="the rank is at least 1, got 0"):
        lora.add(Own(C, D), 0)
    with pytest.raises(ValueError, match="GELU has no layer '' that can be changed"):
        lora.add(nn.GELU(), 4)


def test_a_weight_that_is_computed_already_is_refused():
    network = Own(C, D)
    nn.utils.parametrizations.weight_norm(network.out)
    with pytest.raises(ValueError, match="the parameters of out are computed by another parametrization"):
        lora.add(network, 4)
