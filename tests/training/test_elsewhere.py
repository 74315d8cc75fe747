"""What a run will take on a device that is not here: counts are those by hand."""

import pytest

from mmdiff.cli.plan import main
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.training.elsewhere import RESERVED, Device, costs, estimate

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
    assert (found.gradients, found.averages) == (4 * found.parameters, 4 * found.parameters)
    assert found.moments == pytest.approx(8 * found.parameters, rel=1e-2)        # and a count of steps for each tensor


def test_operations_are_those_by_hand(found):
    """A product counts twice its size, once forward and once for each of its factors that learns or hands on."""
    of_frames = N * (2 * (4 * D * D + 8 * D * D) + D * C)
    of_samples = D * D + E * D + 2 * 6 * D * D + 2 * D * D + D
    first = N * C * D + 64 * D + 17 * E                               # hand nothing on
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


def test_the_command_prints_it_and_tells_mistakes(capsys):
    assert main([*WORDS, "plan.device=h100", "plan.devices=8", "plan.trainer=fsdp", "plan.price=2.5"]) == 0
    said = capsys.readouterr().out
    assert "8 x H100, 80 GB each, fsdp" in said and "GFLOP a sample" in said and "at 2.5 a device and hour" in said
    for words, told in ((["plan.device=h101"], "h100"), (["plan.devices=8"], "goes with plan.device"),
                        (["plan.device=h100", "plan.minutes=3"], "use one"),
                        (["plan.device=h100", "plan.devices=0"], "plan.devices")):
        with pytest.raises(ConfigError, match=told):
            main([*WORDS, *words])
