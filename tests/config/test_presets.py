"""What a preset says of its size, in the first line that ``mmdiff list`` shows, is what it builds."""

import re
from importlib.resources import files

import pytest
import torch

from mmdiff.config.adapter import build_adapter, build_codec
from mmdiff.config.overrides import composed

SIZES = {
    preset.name.removesuffix(".yaml"): float(said.group(1))
    for preset in (files("mmdiff.configs") / "adapter").iterdir() if preset.name.endswith(".yaml")
    if (said := re.search(r"([\d.]+) M parameters", preset.read_text().splitlines()[0]))
}
PUBLIC = {"audio_dac", "audio_mimi", "audio_oobleck", "video_wan"}
"""Presets of which the network hangs on the latents of a codec in a folder."""


@pytest.mark.parametrize("name", sorted(SIZES.keys() - PUBLIC))
def test_a_preset_has_as_many_parameters_as_it_says(name):
    learned = not re.search(r"codec|vocoder", name)
    config = composed("train", [f"adapter={name}", *([] if learned else ["diffusion=null"])])
    codec, reader = build_codec(config.adapter)
    parts: list[torch.nn.Module] = [codec]
    if learned:
        with torch.device("meta"):
            adapter = build_adapter(config.adapter, codec, reader, fields={"kind": ["a", "b"]})
        parts = [adapter.network, adapter.conditioner]
    counted = sum(p.numel() for part in parts for p in part.parameters()) / 1e6
    assert counted == pytest.approx(SIZES[name], rel=0.05 if SIZES[name] < 10 else 0.02), "M parameters"


def test_sizes_are_told_of_all_three_modalities_and_their_codecs():
    assert {"audio", "video", "points", "audio_codec", "video_codec", "points_codec", "audio_vocoder"} <= SIZES.keys()
