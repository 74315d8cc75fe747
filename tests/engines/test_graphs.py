"""A compiler sees a network, its guidance and the whole loop of a sampler as one graph, whatever the length."""

import functools

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.parameterizations import V, Velocity
from mmdiff.core.samplers import DDPM, Auto, DPMSolverPP2M, Euler, Heun, UniPC
from mmdiff.core.samplers.base import integrate
from mmdiff.core.schedules import Linear, VariancePreserving
from mmdiff.core.types import Condition
from mmdiff.nn.network import blocks
from mmdiff.nn.point_dit import PointDiT
from mmdiff.nn.unet1d import UNet1d
from mmdiff.nn.video_dit import VideoDiT
from mmdiff.nn.video_uvit import VideoUViT
from mmdiff.training.blocks import prepare
from tests.engines.test_engines import CHANNELS, COND_DIM, PlugIn

LENGTHS = (13, 9, 16, 21, 7, 32, 10)
NETWORKS = {                                                       # of the demos and the examples; network calls
    "sound": (lambda: UNet1d(CHANNELS, COND_DIM, base=8, multipliers=(1, 2), heads=2), (), 1),
    "films": (lambda: VideoDiT(CHANNELS, COND_DIM, dim=8, depth=1, heads=1, patch=(2, 4, 4)), (8, 8), 1),
    "films in pixels": (lambda: VideoUViT(CHANNELS, COND_DIM, widths=(4, 8), dim=16, depth=1, heads=2), (8, 8), 1),
    "points": (lambda: PointDiT(CHANNELS, COND_DIM, dim=16, depth=1, heads=2, frequencies=4), (), 1),
    "a plug-in": (PlugIn, (), 3),
}


def awake(network):
    torch.manual_seed(0)
    for parameter in network.eval().requires_grad_(False).parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "films in pixels" else name for name in NETWORKS]
)
def test_a_sampler_with_its_guidance_and_network_is_one_graph_and_two_serve_all_lengths(name):
    torch._dynamo.reset()
    make, rest, calls = NETWORKS[name]
    sampler = Auto(calls)
    denoiser, table = Denoiser(awake(make()), Linear(), Velocity()), sampler.table(Linear())
    null = Condition(torch.zeros(2, COND_DIM))

    def sample(x1, cond):
        return integrate(ClassifierFree(2.0)(denoiser, cond, null=null), x1, table)

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(sample, backend=counter, fullgraph=True)
    for length in LENGTHS:
        torch.manual_seed(length)
        x1, cond = torch.randn(2, CHANNELS, length, *rest), Condition(torch.randn(2, COND_DIM))
        whole = sampler(ClassifierFree(2.0)(denoiser, cond, null=null), x1, Linear())
        torch.testing.assert_close(compiled(x1, cond), whole, rtol=1e-4, atol=1e-5)
    assert counter.frame_count <= 2


def test_blocks_that_are_compiled_one_by_one_are_compiled_for_a_length_and_for_all_others(monkeypatch):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    network = awake(PointDiT(CHANNELS, COND_DIM, dim=16, depth=2, heads=2, frequencies=4))
    prepare(network, recompute=0, compiled=True)
    for length in LENGTHS:
        network(torch.randn(2, CHANNELS, length), torch.rand(2), Condition(torch.randn(2, COND_DIM)))
    assert counter.frame_count <= 2 * len(list(blocks(network)))


class _Through(torch.nn.Module):
    """A network of one operation that nothing else uses."""

    def forward(self, x, level, cond, mask):
        return torch.ops.aten.relu(x)


class _Operations(TorchDispatchMode):
    """Counts those that write a tensor of the size of ``like``, or of twice as many samples."""

    def __init__(self, like):
        super().__init__()
        self.size, self.count = like.shape[1:], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.shape[1:] == self.size and not function.is_view:
            self.count += function not in (torch.ops.aten.relu.default, torch.ops.aten.cat.default)
        return out


def operations(sampler, guidance, schedule, parameterization):
    """Element-wise operations of a step: what another network call costs outside of the network."""
    denoiser, x1 = Denoiser(_Through(), schedule, parameterization), torch.randn(2, 3, 5)
    cond = Condition(torch.zeros(2, 1))
    denoise = guidance(denoiser, cond, null=cond)
    with _Operations(x1) as found:
        sampler(denoise, x1, schedule, lambda i: x1)
    return found.count / sampler.calls


@pytest.mark.parametrize(("schedule", "parameterization"), [(Linear(), Velocity()), (VariancePreserving(), V())])
@pytest.mark.parametrize(
    "sampler", [Euler(6), DDPM(6), Heun(4), DPMSolverPP2M(6), UniPC(6), Auto(6), Auto(8), Auto(20)]
)
def test_a_step_takes_at_most_ten_operations_beside_the_network(sampler, schedule, parameterization):
    assert operations(sampler, ClassifierFree(2.0), schedule, parameterization) <= 10
