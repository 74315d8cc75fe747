"""Changes of a model on the command line: added with a scale, told in sidecars, merged, taken elsewhere and back."""

import json
import math
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import mmdiff
from mmdiff.cli import lora as command
from mmdiff.cli import sample
from mmdiff.config.build import ConfigError
from mmdiff.config.files import MODEL_FILE
from mmdiff.store import load_model
from tests.test_change import Base, latents


@pytest.fixture(scope="module")
def base(run):
    return Base(run)


@pytest.fixture
def mine(base, tmp_path):
    base.change(path := tmp_path / "mine.safetensors", seed=1)
    return path


def test_a_list_of_changes_is_read_as_paths_with_scales():
    assert sample.scales("runs/a:0.8,runs/b,'odd, name:2',c:/d,e:-1") == {
        "runs/a": 0.8, "runs/b": 1.0, "odd, name": 2.0, "c:/d": 1.0, "e": -1.0,
    }
    assert sample.scales(None) == {}
    assert sample.scales("a:1e-1,b:+2.,c:.5") == {"a": 0.1, "b": 2.0, "c": 0.5}
    with pytest.raises(ConfigError, match="names a twice"):
        sample.scales("a:1,a:0.5")
    assert math.isnan(sample.scales("a:nan")["a"])                    # no name of a file: the model refuses it


def test_samples_of_a_changed_model_say_of_which_and_are_made_again_with_another_scale(base, mine, tmp_path, run):
    words = [str(run), f"out={tmp_path / 'made'}", "n=1", "sampler.steps=2", "device=cpu"]
    assert sample.main([*words, f"lora={mine}:0.5"]) == 0
    sidecar = next((tmp_path / "made").glob("0000*.json"))
    told = json.loads(sidecar.read_text())
    assert [(part["name"], part["scale"]) for part in told["lora"]] == [("mine.safetensors", 0.5)]
    assert told["model"] == base.header["sha256"]
    with pytest.raises(FileExistsError, match="made with another lora"):
        sample.main([*words, f"lora={mine}:1"])
    with pytest.raises(FileExistsError, match="made with another lora"):
        sample.main(words)
    assert sample.main([*words, f"lora={mine}:0.5"]) == 0, "what is there already is kept"


def test_from_python_a_change_has_the_scale_that_it_is_given(base, mine, run):
    half, none = (mmdiff.load(run, lora={mine: scale}, device="cpu") for scale in (0.5, 0))
    assert torch.equal(latents(none.model), latents(base.model))
    assert not torch.equal(latents(half.model), latents(base.model))


def test_a_merged_model_samples_as_the_changed_one(base, mine, tmp_path, run):
    assert command.main(["merge", str(run), f"{mine}:0.5", f"out={tmp_path / 'whole.safetensors'}"]) == 0
    whole, header = load_model(tmp_path / "whole.safetensors")
    assert torch.equal(latents(whole), latents(load_model(run, lora={mine: 0.5})[0]))
    assert header["bases"][0]["sha256"] == base.header["sha256"] and header["lora"][0]["scale"] == 0.5
    again, told = load_model(tmp_path / "whole.safetensors")
    assert told["lora"] == header["lora"] and torch.equal(latents(again), latents(whole))


@pytest.mark.parametrize("program", ["peft", "diffusers"])
def test_a_change_goes_to_other_programs_and_back(base, mine, tmp_path, run, program):
    out, back = tmp_path / program, tmp_path / "back.safetensors"
    assert command.main(["export", str(mine), f"as={program}", f"out={out}"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")                                # of the base that it names, or of none
        assert command.main(["import", str(out), f"base={run}", f"out={back}"]) == 0
    again, own = (load_model(run, lora={path: 1.0})[0] for path in (back, mine))
    torch.testing.assert_close(latents(again), latents(own), rtol=1e-4, atol=1e-5)
    assert len(load_file(back)) == len(load_file(mine))


def test_mistakes_are_told_with_their_remedy(base, mine, tmp_path, run):
    base.change(grown := tmp_path / "grown.safetensors", new=("sung",))
    out, whole = f"out={tmp_path / 'x'}", f"out={tmp_path / 'x.safetensors'}"
    for words, told in (
        (["mrege"], "no command 'mrege'; did you mean 'merge'"),
        (["merge", str(run), str(mine)], "mmdiff lora merge needs out="),
        (["merge", str(run), str(mine), out], "a model is written as .safetensors"),
        (["merge", str(run), f"out={run / MODEL_FILE}"], "is there already"),
        (["merge", str(run), "scael=2", whole], "no key 'scael' for mmdiff lora merge"),
        (["export", str(mine), "as=kohya", out], "as=peft or as=diffusers"),
        (["export", str(run), "as=peft", out], "is a whole model, and no change of one"),
        (["export", str(grown), "as=peft", out], "of_instrument.rows, which peft cannot tell: mmdiff lora merge"),
        (["import", str(mine), f"base={run}", whole], "tensors find no layer of this network, such as network"),
        (["import", str(tmp_path / "none"), f"base={run}", whole], "cannot read"),
    ):
        with pytest.raises(ConfigError, match=told):
            command.main(words)


def test_a_foreign_file_that_does_not_fit_leaves_nothing_behind(mine, tmp_path, run):
    out = tmp_path / "made" / "theirs.safetensors"
    layer = next(name for name in load_file(mine) if name.endswith("lora_A"))[len("network."):-len(".lora_A")]
    save_file({f"{layer}.lora_A.weight": torch.ones(2, 3), f"{layer}.lora_B.weight": torch.ones(5, 2)},
              bad := tmp_path / "bad.safetensors")
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"bad.safetensors does not fit its base: network.{layer} has"):
            command.main(["import", str(bad), f"base={run}", f"out={out}"])
    (tmp_path / "adapter_config.json").write_text("[" * 100000)
    with pytest.raises(ConfigError, match="cannot read"):
        command.main(["import", str(bad), f"base={run}", f"out={out}"])
    assert not out.exists()


def test_a_foreign_file_that_says_that_it_changes_another_model_is_a_warning(mine, tmp_path, run):
    command.main(["export", str(mine), "as=peft", f"out={tmp_path / 'peft'}"])
    told = tmp_path / "peft" / "adapter_config.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"base_model_name_or_path": "theirs/other"}))
    with pytest.warns(UserWarning, match=f"peft says that it changes 'other', and base= is '{run.name}'"):
        command.main(["import", str(tmp_path / "peft"), f"base={run}", f"out={tmp_path / 'back.safetensors'}"])


def test_names_with_commas_are_merged_and_a_base_that_has_moved_is_told(base, mine, tmp_path, run):
    odd = tmp_path / "a, 'b'.safetensors"
    mine.rename(odd)
    assert command.main(["merge", str(run), f"{odd}:0.5", f"out={tmp_path / 'new' / 'whole.safetensors'}"]) == 0
    (place := tmp_path / "there").mkdir()
    (moved := place / "mine.safetensors").write_bytes(odd.read_bytes())
    with pytest.raises(ValueError, match="name its run or file by base="):
        command.main(["merge", str(moved), f"out={tmp_path / 'two.safetensors'}"])
    assert command.main(["merge", str(moved), f"base={run}", f"out={tmp_path / 'two.safetensors'}"]) == 0
    with pytest.raises(ConfigError, match="is a whole model: say what is added to it"):
        command.main(["merge", str(run), f"out={tmp_path / 'three.safetensors'}"])
