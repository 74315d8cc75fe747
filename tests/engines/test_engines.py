"""An engine gives what PyTorch gives, for every network at every batch and size, or says why it does not."""

import pytest
import torch
from torch import nn

from mmdiff.core.types import Condition
from mmdiff.data.cached import cache_folder
from mmdiff.engines.auto import Quickest
from mmdiff.engines.base import Compile, node_of
from mmdiff.engines.files import onnx_bytes, traced
from mmdiff.engines.onnx import Onnx
from mmdiff.engines.openvino import OpenVino
from mmdiff.engines.precision import Float32, Half, Int8
from mmdiff.engines.served import Served
from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.network import Network
from mmdiff.nn.point_dit import PointDiT
from mmdiff.nn.point_egnn import PointEGNN
from mmdiff.nn.unet1d import UNet1d
from mmdiff.nn.video_dit import VideoDiT
from mmdiff.nn.video_uvit import VideoUViT

CHANNELS, COND_DIM = 4, 3


class PlugIn(Network):
    """A network as a package of somebody else may have it."""

    def __init__(self):
        super().__init__()
        self.mix, self.told = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1), nn.Linear(COND_DIM, CHANNELS)

    def forward(self, x, level, cond=None, mask=None):
        return self.mix(x) * level[:, None, None] + self.told(cond.vector)[..., None]


NETWORKS = {
    "unet1d": (lambda: UNet1d(CHANNELS, COND_DIM, base=8, multipliers=(1, 2), heads=2), (13,), (8,)),
    "unet1d of texts": (
        lambda: UNet1d(CHANNELS, COND_DIM, base=8, multipliers=(1, 2), heads=2, tokens=True), (13,), (8,)
    ),
    "dit1d": (lambda: DiT1d(CHANNELS, COND_DIM, dim=16, depth=1, heads=2, patch=3), (13,), (4,)),
    "video_dit": (
        lambda: VideoDiT(CHANNELS, COND_DIM, dim=16, depth=1, heads=1, patch=(2, 2, 2)), (3, 5, 4), (1, 4, 6)
    ),
    "video_uvit": (
        lambda: VideoUViT(CHANNELS, COND_DIM, widths=(4,), dim=16, depth=1, heads=2), (3, 5, 4), (1, 4, 8)
    ),
    "point_dit": (lambda: PointDiT(CHANNELS, COND_DIM, dim=16, depth=1, heads=2, frequencies=4), (9,), (5,)),
    "point_egnn": (lambda: PointEGNN(CHANNELS, COND_DIM, dim=16, depth=1, heads=2, pair=4, nodes=4), (7,), (5,)),
    "of a plug-in": (PlugIn, (9,), (4,)),
}


def awake(name):
    torch.manual_seed(0)
    network = NETWORKS[name][0]().eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def asked(batch, size, *, tokens=False, masked=False):
    torch.manual_seed(batch)
    words = (torch.randn(batch, 5, COND_DIM), torch.rand(batch, 5) > 0.5) if tokens else (None, None)
    mask = torch.ones(batch, 1, *size, dtype=torch.bool) if masked else None
    if masked:
        mask[0, :, -1] = False
    return torch.randn(batch, CHANNELS, *size), torch.rand(batch), Condition(torch.randn(batch, COND_DIM), *words), mask


SLOW = {"unet1d of texts", "dit1d", "video_dit", "point_dit", "point_egnn"}
"""Tracing takes about ten seconds each: one network and one of a package are enough each time."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NETWORKS]
)
def test_onnx_runtime_and_openvino_agree_with_pytorch_at_any_batch_and_size_from_one_file(name):
    network, key = awake(name), f"weights of {name}"
    files = set((cache_folder() / "engines").glob("*.onnx"))
    for engine in (Onnx(), OpenVino()):
        served = engine(network, Float32(), key=key)
        for batch, size in ((1, NETWORKS[name][1]), (3, NETWORKS[name][2])):
            given = asked(batch, size, tokens="texts" in name)
            expected = network(*given)
            for _ in range(2):                                        # the second is not compared inside
                out = served(*given)
                assert (out - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
                assert served(*given).equal(out), "the same bits from call to call"
    assert len(set((cache_folder() / "engines").glob("*.onnx")) - files) == 1


def test_what_an_engine_cannot_do_is_told_before_work_with_the_remedy(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for engine in (Onnx(), OpenVino()):
        with pytest.raises(ValueError, match=f"engine={engine.name}: .*device=cpu"):
            engine.here(gpu, Float32())
        with pytest.raises(ValueError, match="not int8"):
            engine.here(cpu, Int8())
        monkeypatch.setitem(__import__("sys").modules, {"onnx": "onnxruntime"}.get(engine.name, engine.name), None)
        with pytest.raises(ValueError, match=f"mmdiff.{engine.name}"):
            engine.here(cpu, Float32())
    assert [engine.name for engine in Quickest().here(cpu, Float32())] == ["eager"], "what is there is tried"
    assert [engine.name for engine in Quickest().here(gpu, Float32())] == ["eager", "compile"]


class Branching(PlugIn):
    """What it computes hangs on the numbers that it is told."""

    def forward(self, x, level, cond=None, mask=None):
        return super().forward(x, level, cond) if x.sum() > 0 else x


def test_a_network_that_cannot_be_written_is_refused_by_name_and_reason():
    x, level, cond, _ = asked(2, (9,))
    with pytest.raises(ValueError, match="Branching cannot be traced: .*data-dependent"):
        traced(Branching(), {"x": x, "level": level, "vector": cond.vector})


def test_an_engine_that_gives_another_output_is_stopped_at_once():
    network, given = awake("of a plug-in"), asked(2, (9,))
    wrong = Served(network, lambda file: lambda arrays: network(*given).numpy() + 1e-3, key="weights of a plug-in")
    with pytest.raises(RuntimeError, match="than PyTorch"):
        wrong(*given)


def test_a_file_says_whose_weights_it_holds():
    import onnx

    x, level, cond, _ = asked(2, (9,))
    file = onnx_bytes(awake("of a plug-in"), {"x": x, "level": level, "vector": cond.vector}, model="abc")
    model = onnx.load_from_string(file)
    assert {one.key: one.value for one in model.metadata_props}["model"] == "abc"
    assert [one.name for one in model.graph.input] == ["x", "level", "vector"]


def test_an_engine_is_told_by_its_name_and_arguments_alone():
    assert node_of(Half("float16")) == {"_target_": "mmdiff.engines.precision.Half", "dtype": "float16"}
    assert node_of(Compile()) == {"_target_": "mmdiff.engines.base.Compile"}
