"""What a run will take on a device that is not here: counts are those by hand."""

import copy
import dataclasses
import shutil

import pytest
import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mmdiff.adapters.public import PublicModel, weight_bytes
from mmdiff.cli.plan import main
from mmdiff.config.build import ConfigError
from mmdiff.config.files import resolved
from mmdiff.config.overrides import composed
from mmdiff.engines.memory import Peak
from mmdiff.training.advice import advice
from mmdiff.training.elsewhere import HOST, RESERVED, Device, costs, estimate
from mmdiff.training.published import unpacked
from mmdiff.training.run import assemble
from mmdiff.training.trainer import build_trainer
from tests import tiny

N, C, D, E = 50, 48, 32, 16
"""Frames and channels of the latent, width of the network and of the condition vector."""
WORDS = [
    "adapter=audio_dit", f"adapter.network.dim={D}", "adapter.network.depth=2", "adapter.network.heads=2",
    f"adapter.conditioner.dim={E}", "data=notes", "data.n=4", "adapter.codec.mel=speech_8k_48",
    "adapter.reader.seconds=0.8", "loader.batch_size=8", "trainer.max_steps=1000",
]
CARD = Device("card", memory_gb=1, tflops_16=10, tflops_32=1, link_gb=10)


@pytest.fixture(scope="module")
def config():
    return composed("train", WORDS)


@pytest.fixture(scope="module")
def found(config):
    return estimate(config)


def test_parameters_are_those_by_hand(found):
    block = D * D + 2 * D * D + D // 2 + (D + 1) * D + (D + 1) * 4 * D + (4 * D + 1) * D + (D + 1) * 6 * D
    ends = (64 + 1) * D + (D + 1) * D + E * D + (C + 1) * D + (D + 1) * 2 * D + (D + 1) * C + D + 1
    told = 4 * E + (17 + 1) * E + E                                   # three instruments or none, a pitch or none
    assert found.parameters == 2 * block + ends + told
    assert (found.learned, found.averages) == (4 * found.parameters, 4 * found.parameters)
    assert found.moments == pytest.approx(8 * found.parameters, rel=1e-2)        # and a count of steps for each tensor


def test_operations_are_those_by_hand(found):
    """A product counts twice its size, once forward and once for each of its factors that learns or hands on."""
    of_frames = N * (2 * (4 * D * D + 8 * D * D) + D * C)
    of_samples = D * D + E * D + 2 * 6 * D * D + 2 * D * D + 2 * D    # the last of one row, which is filled up to two
    first = N * C * D + 64 * D + 32 * E                               # hand nothing on; of 17 columns, filled up to 32
    attention = 2 * N * N * D                                         # q k, and what it weighs; 2 forward, 5 backward
    assert found.flop == 2 * (3 * (of_frames + of_samples) + 2 * first + (2 + 5) * attention)


def test_recomputed_blocks_take_less_memory_and_once_more_their_forward_pass(found):
    blocks = 2 * (N * (4 * D * D + 8 * D * D) + 6 * D * D + 2 * N * N * D)
    assert found.again - found.flop == 2 * blocks
    assert found.recomputed < 0.7 * found.activations


def test_a_run_is_as_long_as_its_slowest_part_and_memory_is_shared_where_training_is_sharded(config, found):
    one = costs(found, config, CARD, devices=1, trainer="ddp", utilisation=0.5)
    assert one.seconds == pytest.approx(8 * found.flop / 0.5e12) and one.sent == 0
    assert one.memory == found.fixed + 8 * found.activations
    assert one.largest == int((RESERVED * 1e9 - found.fixed) // found.activations)
    assert one.hours == pytest.approx(one.seconds * 1000 / 3600) and one.days == pytest.approx(one.hours / 24)
    four = costs(found, config, CARD, devices=4, trainer="fsdp", utilisation=0.5)
    assert four.memory == found.fixed / 4 + 2 * found.activations
    assert four.sent == 3 / 4 * 3 * found.weights
    assert four.seconds == pytest.approx(max(one.seconds / 4, four.sent / 10e9))


def test_memory_is_what_training_takes_within_a_tenth_and_not_less(tmp_path):
    words = ["experiment=points/demo", "data.n=40", "trainer=cpu", "logger=csv", "trainer.max_steps=2", "preview.n=0",
             "validation.every=0", "checkpoint.every=0", "loader.batch_size=8", "loader.val=0", f"run={tmp_path}"]
    config = composed("train", words)
    reckoned = costs(estimate(config), config, CARD, devices=1, trainer="ddp", utilisation=1.0).memory
    module = assemble(resolved(config), tmp_path).module
    with Peak(module) as peak:
        build_trainer(config, tmp_path, []).fit(module)
    measured = peak.most + sum(t.untyped_storage().nbytes() for t in (*module.parameters(), *module.buffers()))
    assert measured <= reckoned <= 1.1 * measured


def test_the_command_prints_it_and_tells_mistakes(capsys):
    assert main([*WORDS, "plan.device=h100", "plan.devices=8", "plan.trainer=fsdp", "plan.price=2.5"]) == 0
    said = capsys.readouterr().out
    assert "8 x H100, 80 GB each, fsdp" in said and "GFLOP a sample" in said and "at 2.5 a device and hour" in said
    for words, told in ((["plan.device=h101"], "h100"), (["plan.devices=8"], "goes with plan.device"),
                        (["plan.device=h100", "plan.minutes=3"], "use one"),
                        (["plan.device=h100", "plan.devices=0"], "plan.devices")):
        with pytest.raises(ConfigError, match=told):
            main([*WORDS, *words])


def test_a_pass_takes_as_many_bytes_traced_as_done():
    network = nn.ModuleList(nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(3))

    def peak():
        made = copy.deepcopy(network)
        with Peak(made) as found:
            x = torch.randn(100, 8)
            for block in made:
                x = x + checkpoint(block, x, use_reentrant=False)
            x.square().mean().backward()
        return found.most

    done = peak()
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert 0 < peak() == done


@pytest.fixture(scope="module")
def settings_alone(tmp_path_factory):
    """A public model, and a folder of its files of settings."""
    folder = tiny.wan(tmp_path_factory.mktemp("models") / "wan")
    weights = shutil.ignore_patterns("*.safetensors")
    bare = shutil.copytree(folder, tmp_path_factory.mktemp("bare") / "wan", ignore=weights)
    return folder, ["adapter=wan", f"adapter.model={bare}", "lora=4", "loader.batch_size=4", *(
        f"adapter.reader.{name}={n}" for name, n in {"frames": 5, "height": 32, "width": 48}.items()
    )]


@pytest.fixture(scope="module")
def half(settings_alone):
    """What is found of that model in 16 bits."""
    return estimate(composed("train", settings_alone[1]))


def test_a_public_model_is_planned_without_weights_and_without_data(settings_alone, half):
    folder, words = settings_alone
    model = PublicModel(folder)
    base = sum(p.numel() for p in model.load("transformer", "WanTransformer3DModel").parameters())
    found = estimate(composed("train", [*words, "adapter.network.dtype=float32"]))
    assert found.learned == 4 * (found.parameters - base) and found.moments >= 2 * found.learned
    assert 4 * found.parameters <= found.weights < 4.5 * found.parameters          # and angles of positions
    assert half.weights < found.weights and half.learned == found.learned and half.half and not found.half
    assert half.activations < found.activations and half.flop < found.flop         # no weight is computed from a change
    vae = model.load("vae", "AutoencoderKLWan")
    assert found.beside == {"autoencoder": weight_bytes(vae), "text encoder": weight_bytes(
        transformers.UMT5EncoderModel.from_pretrained(folder / "text_encoder"))}


def test_without_a_rank_a_public_model_has_nothing_to_plan(settings_alone):
    with pytest.raises(ConfigError, match="give the change that learns a rank"):
        estimate(composed("train", [*settings_alone[1], "lora=null"]))


@pytest.mark.parametrize(("name", "billions"), [
    ("wan_1_3b", 1.42), ("wan_14b", 14.29), ("wan_ti2v_5b", 5.0), ("stable_audio_open", 1.06),
    ("ltx_video_2b", 1.92), ("cogvideox_2b", 1.69), ("cogvideox_5b", 5.57), ("ace_step_1_5", 1.58),
])
def test_published_settings_are_of_models_of_the_published_size(name, billions):
    with unpacked(name) as folder, torch.device("meta"):
        model = PublicModel(folder)
        network = model.load("transformer", model.config("transformer")["_class_name"])
    assert sum(p.numel() for p in network.parameters()) / 1e9 == pytest.approx(billions, abs=0.005)


def test_what_does_not_fit_is_told_with_what_would(config, found):
    run = {"devices": 1, "trainer": "ddp", "utilisation": 0.5}
    assert advice(found, config, CARD, **run) == []
    per = found.recomputed + 8 * (found.activations - found.recomputed) // 10
    small = dataclasses.replace(CARD, memory_gb=(found.fixed + 8 * per) / RESERVED / 1e9)
    (line,) = advice(found, config, small, **run)
    assert line.startswith("to fit      recompute=1: ")
    least = dataclasses.replace(CARD, memory_gb=(found.fixed + 2.5 * found.recomputed) / RESERVED / 1e9)
    first, last = advice(found, config, least, **run)
    assert first.endswith("GB, and") and last.startswith("to fit      trainer.accumulate_grad_batches=4: ")
    none = dataclasses.replace(CARD, memory_gb=1e-9)
    assert advice(found, config, none, **run)[-1].endswith("a smaller model or a device with more memory")


def test_blocks_of_a_public_model_may_wait_on_the_host(config, found):
    run, block = {"devices": 1, "trainer": "ddp", "utilisation": 0.5}, found.weights
    large = found._replace(weights=9 * block, blocks=[block] * 8)
    small = dataclasses.replace(CARD, memory_gb=(found.fixed + 3 * block + 1.5 * found.recomputed) / RESERVED / 1e9)
    told = advice(large, config, small, **run)
    assert told[-1].startswith("to fit      offload=true: ") and not told[-1].endswith("and")
    config = copy.deepcopy(config)
    config.recompute = 1
    without = costs(large, config, CARD, **run)
    config.offload = True
    made = costs(large, config, CARD, **run)
    assert without.memory - made.memory == 5 * block
    assert made.seconds >= 2 * 8 * block / HOST


def test_a_size_of_memory_is_a_device_and_published_settings_a_model(settings_alone, half, capsys, monkeypatch):
    monkeypatch.setattr("mmdiff.training.elsewhere.estimate", lambda config: half)
    assert main([*settings_alone[1], "plan.device=24GB"]) == 0
    said = capsys.readouterr().out
    assert "1 x 24 GB, 24 GB each" in said and "mmdiff list devices" in said and "text encoder" in said
    words = [word for word in settings_alone[1] if not word.startswith("adapter.model=")]
    with pytest.raises(ConfigError, match="plan.model=stable_audio_open is of another family"):
        main([*words, "plan.device=24GB", "plan.model=stable_audio_open"])
    with pytest.raises(ConfigError, match="leave one of them out"):
        main([*settings_alone[1], "plan.device=24GB", "plan.model=wan_1_3b"])
