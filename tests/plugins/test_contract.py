"""The laws of an adapter: a package as ``mmdiff adapter new`` writes it keeps them, and planted faults break them."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mmdiff.adapters.base import Reader
from mmdiff.cli import adapter
from mmdiff.cli.list import options
from mmdiff.config import plugins
from mmdiff.config.build import ConfigError, build
from mmdiff.config.overrides import composed
from mmdiff.generation.pipeline import load
from mmdiff.generation.reproduce import reproduce
from mmdiff.generation.request import Request
from mmdiff.skeleton import write
from mmdiff.store import save_model
from mmdiff.testing import Trial
from mmdiff.testing.report import check, failure, laws
from tests.conftest import mmdiff
from tests.plugins.conftest import install

SMALL = ["adapter.network.dim=16", "adapter.network.depth=1", "adapter.network.heads=2", "adapter.conditioner.dim=8"]
LONG = {"two processes train as one", "one batch is overfitted"}


@pytest.fixture(scope="module")
def toy(tmp_path_factory, with_plugins):
    """The package with the faults beside its parts, installed; its folder."""
    root = tmp_path_factory.mktemp("toy")
    package = write("toy", root) / "mmdiff_toy"
    shutil.copy(Path(__file__).with_name("faults.py"), package)
    silent = (package / "configs" / "adapter" / "toy.yaml").read_text().replace("# blocks", "")
    (package / "configs" / "adapter" / "toy_silent.yaml").write_text(silent)
    install(root / "site", package.parent)
    with_plugins(root / "site")
    return root


@pytest.fixture(scope="module")
def config(toy):
    return Trial("toy", SMALL, toy).config


def broken(config, folder, *, left_out=LONG, **targets):
    """The laws that the adapter breaks with other classes in place of its parts, each in its turn."""
    config = OmegaConf.create(OmegaConf.to_container(config))
    for part, target in targets.items():
        OmegaConf.update(config, f"{part}._target_", f"mmdiff_toy.faults.{target}")
    trial = Trial("toy", SMALL, folder)
    trial.config = config
    yield from (name for name, law in laws().items() if name not in left_out and failure(law, trial) is not None)


def test_the_package_keeps_every_law_as_it_is_written(config, tmp_path):
    assert list(broken(config, tmp_path, left_out={"two processes train as one"})) == []


def faults():
    text = Path(__file__).with_name("faults.py").read_text()
    return [line.split("class ")[1].split("(")[0] for line in text.splitlines() if line.startswith("class ")]


@pytest.mark.parametrize("fault", [name for name in faults() if name != "AnotherSetForEachProcess"])
def test_a_planted_fault_is_caught_by_its_law(config, tmp_path, fault):
    from mmdiff_toy.faults import FAULTS

    law, part = FAULTS[fault]
    assert next(broken(config, tmp_path, left_out=LONG - {law}, **{part: fault})) == law


def test_a_value_without_a_comment_is_caught_and_a_part_that_cannot_be_built_ends_the_check(toy, capsys):
    said = []
    assert check("toy_silent", ["adapter.network.heads=5"], say=said.append)[0] == next(iter(laws()))
    assert "lacks a comment: line" in said[0] and "depth" in said[0]
    assert "nothing else" in said[1] and len(said) == 3


@pytest.mark.slow
def test_the_command_tries_all_laws_and_two_processes_that_differ_are_caught(toy):
    environment = {"PYTHONPATH": str(toy / "site")}
    report = mmdiff("adapter", "check", "toy", *SMALL, env=environment)
    count = len(laws())
    assert f"{count} of {count} laws kept" in report and report.count("  kept  ") == count
    report = mmdiff(
        "adapter", "check", "toy", *SMALL, "data._target_=mmdiff_toy.faults.AnotherSetForEachProcess", code=1,
        env=environment,
    )
    assert "BROKEN  two processes train as one" in report and f"{count - 1} of {count} laws kept" in report


def test_the_documentation_lists_every_law():
    root = Path(__file__).parents[2]
    table = (root / "docs" / "adapters.md").read_text().partition("## The laws")[2].partition("## ")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:] == list(laws())
    assert f"# {len(laws())} laws" in (root / "README.md").read_text()


def test_settings_of_the_trial_can_be_overridden(toy):
    trial = Trial("toy", ["loader.limit=3", "trainer.max_steps=1"], toy)
    assert len(trial.dataset) == 3 and trial.config.trainer.max_steps == 1


def test_options_of_a_plug_in_are_listed_composed_and_built_and_nothing_else_of_it_is(toy):
    assert options("adapter")["toy"] == "toy: series of numbers, a 1-D transformer"
    assert composed("train", ["adapter=toy"]).data["_target_"] == "mmdiff_toy.data.ToyWaves"
    assert plugins.packages() == ("mmdiff_toy",)
    for target, reason in {
        "mmdiff_toy_other.adapter.ToyReader": "install that", "mmdiff_toy.adapter.Path": "class of pathlib",
        "mmdiff_toy.adapter.np": "not a class", "other.Thing": "install that",
    }.items():
        with pytest.raises(ConfigError, match=reason):
            build({"_target_": target}, Reader)


def test_an_option_that_two_packages_offer_is_refused_and_a_broken_package_is_left_out(toy, with_plugins, tmp_path):
    package = write("other", tmp_path)
    adapters = package / "mmdiff_other" / "configs" / "adapter"
    shutil.copy(adapters / "other.yaml", adapters / "audio.yaml")
    broken_ = write("wrong", tmp_path) / "mmdiff_wrong"
    (broken_ / "__init__.py").write_text("import nothing_of_that_name")
    install(tmp_path / "site", package, broken_.parent)
    with_plugins(tmp_path / "site")
    with pytest.warns(UserWarning, match="'wrong' is left out: No module named 'nothing_of_that_name'"):
        assert set(plugins.installed()) == {"toy", "other"}
    with pytest.raises(ConfigError, match=r"audio is in mmdiff\.configs and in mmdiff_other\.configs"):
        composed("train", ["adapter=audio"])


def test_an_adapter_that_is_there_already_is_not_hidden_by_a_new_one(tmp_path):
    with pytest.raises(ConfigError, match="an adapter 'audio' is there already"):
        adapter.main(["new", "audio", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "reason"), [("1d", "a name is"), ("My-Data", "a name is"), ("toy", "exists")])
def test_a_name_that_cannot_be_used_is_refused(tmp_path, name, reason):
    (tmp_path / "mmdiff-toy").mkdir()
    with pytest.raises(ConfigError, match=reason):
        write(name, tmp_path)


def test_a_file_of_a_package_is_made_again_bit_for_bit(toy, tmp_path):
    trial = Trial("toy", SMALL, toy)
    save_model(trial.awake, trial.stored, model := tmp_path / "model.safetensors")
    for path in load(model, device="cpu").save([Request(seed=i) for i in range(3)], tmp_path / "out"):
        assert reproduce(path, model).equal
