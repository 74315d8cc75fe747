"""Recipes for folders: what a reader advises composes, leaves alone what was said, and fits in the time one has."""

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.cli import plan as command
from mmdiff.cli.recipe import block, hint, recipe
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.training.plan import plan
from tests.conftest import shared_data


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of 40 short sounds at 16 kHz, of 0.3 to 0.6 s."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for i in range(40):
        soundfile.write(folder / f"{i}.wav", rng.uniform(-0.5, 0.5, 4800 + 120 * i), 16000)
    return folder


def test_a_recipe_follows_the_files_and_leaves_alone_what_was_said(sounds):
    words = ["adapter=audio", f"data.root={sounds}"]
    found = {advice.key: advice.value for advice in recipe(words)}
    assert found["adapter.codec.mel"] == "audioldm_16k" and found["adapter.reader.seconds"] == "0.75"
    assert found["adapter.reader.pad"] == "mask" and found["loader.batch_size"] == "16"
    assert "adapter.codec.mel" not in {advice.key for advice in recipe([*words, "adapter.codec.mel=speech_8k"])}
    assert {a.key: a.value for a in recipe(words, small=True)}["adapter.codec.mel"] == "speech_8k_48"
    assert recipe(["adapter=audio"]) == [], "built-in data have no folder"
    assert recipe([*words, "experiment=audio/fsdd"]) == [], "which is a recipe"


def test_a_recipe_composes_is_copied_as_one_command_and_its_first_steps_run(sounds, tmp_path):
    words = ["adapter=audio", f"data.root={sounds}", "adapter.network.base=8", "adapter.codec.vocoder.n_iter=2",
             "preview.n=1", "logger=csv", "trainer=cpu", f"run={tmp_path}/x"]
    advice = recipe(words)
    config = composed("train", [*words, *(one.word for one in advice)])
    for one in advice:
        assert str(OmegaConf.select(config, one.key)) == one.value
    shown = block(words, advice)
    assert shown[-1].startswith("mmdiff train adapter=audio") and all(one.reason in "\n".join(shown) for one in advice)
    found = plan(config)
    assert found.train + found.val == 40 and found.seconds["step"] > 0


def test_training_says_where_files_would_be_read_otherwise_and_nothing_where_not(sounds):
    words = ["adapter=audio", f"data.root={sounds}"]
    told = hint(words)
    assert "adapter.codec.mel=audioldm_16k, adapter.reader.seconds=0.75, adapter.reader.pad=mask" in told
    assert told.endswith(f"mmdiff plan adapter=audio data.root={sounds}")
    assert hint([*words, *(one.word for one in recipe(words))]) is None and hint(["adapter=audio"]) is None
    assert recipe(["adapter=audio_codec", "diffusion=null", f"data.root={sounds}"]) == [], "not for this codec"


def test_the_recipe_for_the_built_in_films_is_the_one_made_by_hand(tmp_path):
    data, by_hand = Shapes(n=40, frames=12, size=16), composed("train", ["experiment=video/shapes"])
    for i in range(40):
        write_video(data.read(i)[0], tmp_path / f"{i}.mkv", 12)
    words = ["adapter=video", f"data.root={tmp_path}"]
    advice = recipe(words)
    proposed = composed("train", [*words, *(one.word for one in advice)])
    for key in (one.key.replace("/", ".") for one in advice if one.key not in ("adapter.codec.fps", "optim")):
        assert OmegaConf.select(proposed, key) == OmegaConf.select(by_hand, key), key
    assert proposed.optim._target_ == by_hand.optim._target_


def test_minutes_become_steps(sounds, tmp_path, capsys, monkeypatch):
    steps = []

    class Found:
        def __init__(self, config):
            steps.append(config.adapter.codec.mel)
            self.steps, self.seconds = 5000, {"step": 1.0}
            self.eta = 5000.0 if config.adapter.codec.mel == "speech_8k_48" else 50000.0

    monkeypatch.setattr("mmdiff.training.plan.plan", lambda config, overrides: Found(config))
    monkeypatch.setattr("sys.argv", ["mmdiff"])
    words = ["adapter=audio", f"data.root={sounds}", f"run={tmp_path}/x"]
    assert command.main([*words, "plan.minutes=20"]) == 0
    assert steps == ["audioldm_16k", "speech_8k_48"], "120 steps are too few, so less is learned in each"
    assert "trainer.max_steps=1200" in capsys.readouterr().out
    for wrong, said in (("plan.minutes=soon", "minutes that training may take"), ("plan.minutes=0", "may take")):
        with pytest.raises(ConfigError, match=said):
            command.main([*words, wrong])
    with pytest.raises(ConfigError, match="leave one of them out"):
        command.main([*words, "plan.minutes=5", "trainer.max_steps=3"])


@pytest.mark.parametrize(("adapter", "folder"), [("video", "video/sleap_clips"), ("points", "3d/sh3d_furniture")])
def test_recipes_for_real_films_and_meshes_compose(adapter, folder):
    words = [f"adapter={adapter}", f"data.root={shared_data(*folder.split('/'))}"]
    for small in (False, True):
        advice = recipe(words, small=small)
        config = composed("train", [*words, *(one.word for one in advice)])
        assert "Muon" in config.optim._target_ and config.diffusion.shift == float(
            next(one.value for one in advice if one.key == "diffusion.shift"))
