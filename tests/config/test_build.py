from types import MappingProxyType

import pytest
import torch
from torch import nn

import mmdiff.core.times
from mmdiff.config.build import ConfigError, build
from mmdiff.config.files import load_yaml
from mmdiff.core.guidance import Guidance
from mmdiff.core.samplers import Sampler
from mmdiff.core.schedules import Schedule
from mmdiff.core.times import TimeDistribution
from mmdiff.core.weightings import Weighting
from mmdiff.data.dataset import Dataset
from mmdiff.data.labels import Fields
from mmdiff.nn.network import Network


@pytest.mark.parametrize("target", [
    "os.system", "builtins.eval", "torch.load", "torch.hub.load", "mmdiff.config.build.build", "subprocess.Popen",
    "torchaudio.load", "mmdiffusion.evil.Thing", "torch.nn.Linear", "lightning.pytorch.Trainer",
])
def test_only_classes_of_allowed_packages_are_built(target):
    with pytest.raises(ConfigError, match=r"is refused"):
        build({"_target_": target, "command": "true"}, Network)


@pytest.mark.parametrize(("target", "role"), [
    ("mmdiff.core.schedules.Linear", Sampler), ("mmdiff.cache.latents.Latents", Network),
    ("mmdiff.training.metrics.MetricsCsv", Guidance), ("mmdiff.core.times.UniformTime", Weighting),
])
def test_a_class_of_another_role_is_refused_before_it_is_built(target, role):
    with pytest.raises(ConfigError, match=f"is refused: a {role.__name__} belongs here"):
        build({"_target_": target, "no such setting": 1}, role)


def test_a_base_class_is_no_choice():
    with pytest.raises(ConfigError, match="base class"):
        build({"_target_": "mmdiff.core.schedules.Schedule"}, Schedule)


def of_a_package(monkeypatch, name, class_):
    """``class_`` as one of an installed package; its configuration."""
    monkeypatch.setattr(f"tests.config.test_build.{name}", class_, raising=False)
    monkeypatch.setattr("mmdiff.config.plugins.packages", lambda: ("tests",))
    class_.__module__, class_.__qualname__ = "tests.config.test_build", name
    return {"_target_": f"tests.config.test_build.{name}"}


def test_what_a_class_of_a_package_lacks_is_named(monkeypatch):
    class Half(Dataset):
        def __len__(self):
            return 1

    with pytest.raises(ConfigError, match=r"Half' lacks what every Dataset has: name, read$"):
        build(of_a_package(monkeypatch, "Half", Half), Dataset)


class Whole(Dataset):
    fields = MappingProxyType({})

    def __len__(self):
        return 1

    def read(self, index, rng=None):
        return torch.zeros(1, 4), {}

    def name(self, index):
        return "one"


def test_a_value_that_hides_a_method_is_named(monkeypatch):
    class OfTheObject(Whole):
        def __init__(self):
            self.size = 32

    class OfTheClass(Whole):
        shape = (4,)

    class Property(Whole):
        @property
        def known(self):
            return {}

    for class_, method in ((OfTheObject, "size"), (OfTheClass, "shape"), (Property, "known")):
        with pytest.raises(ConfigError, match=rf"{method} is a value, and hides the method {method}\(\) of Dataset"):
            build(of_a_package(monkeypatch, class_.__name__, class_), Dataset)
    assert len(build(of_a_package(monkeypatch, "Whole", Whole), Dataset)) == 1


def test_a_foreign_target_is_refused_wherever_it_hides():
    for hidden in ([{"deep": {"_target_": "os.system"}}], {"_target_": "mmdiff.core.times.Stratified", "times": {
        "_target_": "os.system"}}):
        with pytest.raises(ConfigError, match=r"os\.system"):
            build({"_target_": "mmdiff.core.times.Stratified", "times": hidden}, TimeDistribution)
    with pytest.raises(ConfigError, match=r"mean takes no object, got 'mmdiff\.core\.times\.UniformTime'"):
        build({"_target_": "mmdiff.core.times.LogitNormal", "mean": {"_target_": "mmdiff.core.times.UniformTime"}},
              TimeDistribution)


def test_a_class_that_does_not_exist_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'Linear'"):
        build({"_target_": "mmdiff.core.schedules.Liner"}, Schedule)
    with pytest.raises(ConfigError, match="No module named"):
        build({"_target_": "mmdiff.core.nothing.Linear"}, Schedule)


def test_a_refused_value_is_told_in_the_words_of_the_constructor():
    with pytest.raises(ConfigError, match="MinSNR: gamma must be positive, got -1"):
        build({"_target_": "mmdiff.core.weightings.MinSNR", "gamma": -1}, Weighting)


def test_an_unknown_argument_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"MinSNR has no setting 'gama': did you mean 'gamma'\?"):
        build({"_target_": "mmdiff.core.weightings.MinSNR", "gama": 1}, Weighting)
    with pytest.raises(ConfigError, match="UniformTime has no setting 'std': known: none .*left out by ~"):
        build({"_target_": "mmdiff.core.times.UniformTime", "std": 1}, TimeDistribution)
    for name in ("_args_", "_partial_", "_recursive_", "_convert_"):
        with pytest.raises(ConfigError, match=f"has no setting '{name}'"):
            build({"_target_": "mmdiff.core.times.UniformTime", name: True}, TimeDistribution)


@pytest.mark.parametrize(("target", "role", "settings", "match"), [
    ("guidance.ClassifierFree", Guidance, {"scale": "abc"}, "ClassifierFree: scale is a number, got 'abc'"),
    ("samplers.Auto", Sampler, {"steps": 2.5}, "Auto: steps is a whole number, got 2.5"),
    ("samplers.Auto", Sampler, {"steps": True}, "Auto: steps is a whole number, got true"),
    ("samplers.Heun", Sampler, {"steps": 4, "grid": {"rho": 5}}, "Heun: grid is an object: .*grid._target_=CLASS"),
    ("samplers.Heun", Sampler, {"steps": 4, "grid": "karras"}, "Heun: grid is a Grid, or null, got 'karras'"),
])
def test_what_is_not_of_the_kind_that_is_asked_for_is_refused(target, role, settings, match):
    with pytest.raises(ConfigError, match=match):
        build({"_target_": f"mmdiff.core.{target}", **settings}, role)


def test_a_part_that_is_no_object_a_missing_setting_and_a_derived_one_are_refused(monkeypatch):
    for node in ({}, None, "linear", {"_target_": 5}, [1]):
        with pytest.raises(ConfigError, match="Schedule is an object: say of which class"):
            build(node, Schedule)
    with pytest.raises(ConfigError, match="Stratified: times is not set"):
        build({"_target_": "mmdiff.core.times.Stratified"}, TimeDistribution)
    with pytest.raises(ConfigError, match="UNet1d: channels follows from other settings"):
        build({"_target_": "mmdiff.nn.unet1d.UNet1d", "channels": 3}, Network, channels=2, cond_dim=0)


class Unannotated(mmdiff.core.times.UniformTime):
    def __init__(self, fields, *, quoted: "Fields"):
        self.told = fields, quoted


def test_a_parameter_that_does_not_say_what_it_is_may_be_a_mapping_but_no_object(monkeypatch):
    monkeypatch.setattr(Unannotated, "__module__", "mmdiff.core.times")
    monkeypatch.setattr("mmdiff.core.times.Unannotated", Unannotated, raising=False)
    node = {"_target_": "mmdiff.core.times.Unannotated", "fields": {"a": [0, 1]}, "quoted": {"b": ["x"]}}
    assert build(node, TimeDistribution).told == ({"a": [0, 1]}, {"b": ["x"]})
    with pytest.raises(ConfigError, match="fields takes no object"):
        build({**node, "fields": {"a": {"_target_": "mmdiff.core.times.UniformTime"}}}, TimeDistribution)


def test_a_config_builds_what_it_says():
    times = build({"_target_": "mmdiff.core.times.LogitNormal", "mean": 0.5}, TimeDistribution)
    assert times.mean == 0.5 and times.std == 1.0
    assert isinstance(build({"_target_": "mmdiff.nn.unet1d.UNet1d"}, Network, channels=2, cond_dim=0), nn.Module)


@pytest.mark.parametrize(("text", "match"), [
    ("a: {b: '${oc.env:HOME}'}", "plain values"), ("a: &x [1]\nb: [*x, *x]", "parts of itself"),
    ("a: [", "cannot read"),
    ("a: !!python/object/apply:os.system [true]", "cannot read"),
])
def test_the_configuration_of_a_run_is_data(tmp_path, text, match):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=match):
        load_yaml(tmp_path / "config.yaml")
