"""Runs that train from latents: the same model, resumed exactly, sampled like any other."""

import shutil

import pytest
import torch

import mmdiff
from mmdiff.cache.encode import encode
from mmdiff.config.overrides import composed
from mmdiff.training.train import train

RUN = [
    "loader.batch_size=4", "loader.val_samples=2", "preview.n=0", "validation.every=4", "checkpoint.every=2",
    "trainer.max_steps=6", "log.every=1", "logger=csv", "trainer=cpu", "data.n=12",
]
TINIES = {
    "audio": [
        "adapter=audio", "adapter.reader.seconds=0.25", "adapter.codec.vocoder.n_iter=2", "adapter.network.base=8",
        "adapter.network.multipliers=[1,2]", "adapter.conditioner.dim=16", *RUN,
    ],
    "video": [
        "adapter=video", "data.frames=4", "data.size=16", "adapter.network.dim=32", "adapter.network.depth=1",
        "adapter.network.heads=2", "adapter.network.patch=[2,4,4]", "adapter.conditioner.dim=8", *RUN,
    ],
    "points": [
        "adapter=points", "adapter.reader.points=32", "adapter.network.dim=32", "adapter.network.depth=1",
        "adapter.conditioner.dim=8", *RUN,
    ],
}


def trained(run, words):
    train(composed("train", [*words, f"run={run}"]))
    return (run / "model.safetensors").read_bytes(), (run / "metrics.csv").read_text()


@pytest.mark.parametrize("adapter", TINIES)
def test_a_run_from_latents_is_exact_and_resumed_exactly_and_samples(tmp_path, adapter):
    words = TINIES[adapter]
    encode(composed("encode", words), str(tmp_path / "latents"), progress=False)
    cached = [w for w in words if not w.startswith("data.")] + ["data=latents", f"data.root={tmp_path / 'latents'}"]
    straight = trained(tmp_path / "straight", cached)
    if adapter == "audio":                                            # the built-in notes leave nothing to chance
        assert trained(tmp_path / "samples", words) == straight
    shutil.copytree(tmp_path / "straight", tmp_path / "stopped")
    for name in ("checkpoints/step-000000006.ckpt", "model.safetensors"):
        (tmp_path / "stopped" / name).unlink()
    assert trained(tmp_path / "stopped", [*cached, "loader.workers=2"]) == straight
    (sample,) = mmdiff.load(tmp_path / "straight", device="cpu").sample(seed=1)
    assert sample.ndim == {"audio": 2, "video": 4, "points": 2}[adapter] and torch.isfinite(sample).all()
