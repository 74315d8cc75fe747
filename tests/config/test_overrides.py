from types import SimpleNamespace

import pytest

from mmdiff.cli.sample import parsed, setting
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import combinations, composed


def test_a_parameter_that_only_a_signature_knows_needs_no_plus():
    config = composed("train", ["optim.warmup=7", "adapter.codec.vocoder.n_iter=5", "data.seed=3"])
    assert config.optim.warmup == 7 and config.adapter.codec.vocoder.n_iter == 5 and config.data.seed == 3


def test_the_parameters_of_a_class_that_is_named_are_known_in_any_order():
    karras = "sampler.grid._target_=mmdiff.core.grids.KarrasGrid"
    config = composed("train", ["sampler=heun", "sampler.grid.rho=5", karras])
    assert config.sampler.grid == {"rho": 5, "_target_": "mmdiff.core.grids.KarrasGrid"}
    config = composed("train", ["diffusion.weight._target_=mmdiff.core.weightings.MinSNR", "diffusion.weight.gamma=3"])
    assert config.diffusion.weight.gamma == 3
    for words, text in [
        (["sampler.grd._target_=mmdiff.core.grids.KarrasGrid"], "no key 'sampler.grd._target_'; did you mean"),
        (["diffusion.weight._target_=os.system", "diffusion.weight.gamma=3"], "'os.system' is refused"),
        (["diffusion.weight._target_=mmdiff.core.weightings.MinSNR", "diffusion.weight.gama=3"], "did you mean"),
    ]:
        with pytest.raises(ConfigError, match=text):
            composed("train", words)


def test_a_part_of_a_stored_setting_is_changed_and_the_rest_stays():
    stored = {"_target_": "mmdiff.core.samplers.Heun", "grid": {"_target_": "mmdiff.core.grids.KarrasGrid", "rho": 3}}
    config, changes = parsed(["run", "sampler.grid.rho=5", "sampler.steps=9"])
    pipeline = SimpleNamespace(header={"config": {"sampler": stored}}, settings={})
    assert setting(pipeline, config, changes, "sampler") == {
        **stored, "grid": {"_target_": "mmdiff.core.grids.KarrasGrid", "rho": 5}, "steps": 9,
    }


def test_group_choices_come_before_the_parameters_of_what_was_chosen():
    config = composed("train", ["diffusion.weight.gamma=3", "diffusion=v"])
    assert config.diffusion.weight.gamma == 3
    config = composed("train", ["diffusion/weight=sigmoid", "diffusion.weight.bias=1"])
    assert config.diffusion.weight.bias == 1


@pytest.mark.parametrize(("override", "text"), [
    ("optim.warmupp=7", "no key 'optim.warmupp'; did you mean 'optim.warmup'"),
    ("sede=1", "no key 'sede'; did you mean 'seed'"),
    ("data.rot=/tmp", "did you mean 'data.root'"),
    ("batch_size=4", "did you mean 'loader.batch_size'"),
    ("adapter=audoi", "adapter has no option 'audoi'; did you mean 'audio'"),
    ("difusion=flow", "no key 'difusion'; did you mean 'diffusion'"),
    ("adapter.network.channels=3", "no key 'adapter.network.channels'"),
    ("experiment=audio/dmo", "did you mean 'audio/demo'"),
])
def test_a_misspelt_key_is_refused_with_the_nearest(override, text):
    with pytest.raises(ConfigError) as error:
        composed("train", [override])
    assert text in str(error.value)


def test_a_path_may_begin_at_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert composed("train", ["data.root=~/sounds"]).data.root == "/home/ann/sounds"


def test_every_combination_of_swept_values_is_a_run():
    words = ["seed=1,2", "optim.warmup=range(1,3)", "data.n=4", "adapter=audio,audio_small", "run=a"]
    runs = combinations("train", words)
    assert len(runs) == 8 and runs[0] == {"seed": "1", "optim.warmup": "1", "adapter": "audio"}
    assert combinations("train", ["data.root=a b,'c,d'", "run='x,y'"]) == [{"data.root": "a b"}, {"data.root": "'c,d'"}]
    with pytest.raises(ConfigError, match="seed=1,2 are several values: -m makes a run of each"):
        composed("train", ["seed=1,2"])


def test_experiments_set_several_groups_and_can_be_overridden():
    config = composed("train", ["experiment=audio/fsdd", "data.root=/x", "trainer.max_steps=3"])
    assert config.data.labels == ["digit", "speaker"] and config.trainer.max_steps == 3
    assert composed("train", ["debug=limit"]).checkpoint.every == 2


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["adapter=video"], "Shapes"), (["adapter=audio_dit"], "Notes"), ([], "Notes"),
        (["adapter=video", "data.root=clips"], "FolderDataset"), (["data.root=sounds"], "FolderDataset"),
        (["adapter=video", "data=moving_digits", "data.root=x"], "MovingDigits"),
        (["experiment=video/moving_digits", "data.root=x"], "MovingDigits"),
    ],
)
def test_an_adapter_or_a_folder_alone_says_which_data_are_meant(arguments, target):
    assert composed("train", arguments).data._target_.endswith(f".{target}")
