import pytest

from mmdiff.config import MODEL_PACKAGES, ConfigError, build, described
from mmdiff.data.labels import Fields


@pytest.mark.parametrize("target", [
    "os.system", "builtins.eval", "torch.load", "torch.hub.load", "mmdiff.config.build", "subprocess.Popen",
    "torchaudio.load", "mmdiffusion.evil.Thing",
])
def test_only_classes_of_allowed_packages_are_built(target):
    with pytest.raises(ConfigError, match=r"is refused"):
        build({"_target_": target, "command": "true"})


def test_a_foreign_target_is_refused_wherever_it_hides():
    node = {"_target_": "mmdiff.core.times.Stratified", "times": [{"deep": {"_target_": "os.system"}}]}
    with pytest.raises(ConfigError, match=r"os\.system"):
        build(node)
    assert [str(part["_target_"]) for part in described(node)] == ["mmdiff.core.times.Stratified", "os.system"]


def test_a_model_file_may_build_less_than_a_run():
    with pytest.raises(ConfigError, match="refused"):
        build({"_target_": "lightning.pytorch.Trainer"}, allowed=MODEL_PACKAGES)


def test_a_class_that_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'Linear'"):
        build({"_target_": "mmdiff.core.schedules.Liner"})
    with pytest.raises(ConfigError, match="No module named"):
        build({"_target_": "mmdiff.core.nothing.Linear"})


def test_a_refused_value_is_told_in_the_words_of_the_constructor():
    with pytest.raises(ConfigError, match="MinSNR: gamma must be positive, got -1"):
        build({"_target_": "mmdiff.core.weightings.MinSNR", "gamma": -1})


def test_an_unknown_argument_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"MinSNR has no setting 'gama': did you mean 'gamma'\?"):
        build({"_target_": "mmdiff.core.weightings.MinSNR", "gama": 1})
    with pytest.raises(ConfigError, match="Uniform has no setting 'std': known: none .*left out by ~"):
        build({"time": {"_target_": "mmdiff.core.times.Uniform", "std": 1}})


@pytest.mark.parametrize(("target", "settings", "match"), [
    ("guidance.ClassifierFree", {"scale": "abc"}, "ClassifierFree: scale is a number, got 'abc'"),
    ("samplers.Auto", {"steps": 2.5}, "Auto: steps is a whole number, got 2.5"),
    ("samplers.Heun", {"steps": 4, "grid": {"rho": 5}}, "Heun: grid is an object: .*grid._target_=CLASS"),
])
def test_what_is_no_number_and_no_object_is_refused(target, settings, match):
    with pytest.raises(ConfigError, match=match):
        build({"_target_": f"mmdiff.core.{target}", **settings})


class Unannotated:
    def __init__(self, fields, *, quoted: "Fields"):
        self.told = fields, quoted


def test_a_parameter_that_does_not_say_what_it_is_may_be_a_mapping(monkeypatch):
    Unannotated.__module__ = "mmdiff.core.times"
    monkeypatch.setattr("mmdiff.core.times.Unannotated", Unannotated, raising=False)
    made = build({"_target_": "mmdiff.core.times.Unannotated", "fields": {"a": [0, 1]}, "quoted": {"b": ["x"]}})
    assert made.told == ({"a": [0, 1]}, {"b": ["x"]})


def test_a_config_builds_what_it_says():
    times = build({"_target_": "mmdiff.core.times.LogitNormal", "mean": 0.5})
    assert times.mean == 0.5 and times.std == 1.0
