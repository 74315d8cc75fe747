"""A change to a model in a file of its own: exact, strict, and found again by its base."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import mmdiff
from mmdiff.adapters.base import Conditioner
from mmdiff.change import learn, tensors_of
from mmdiff.config.build import build
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import ModelFileError, chain, read_header
from mmdiff.nn import lora
from mmdiff.store import load_model, save_change, save_model

WISH = [{"instrument": "struck", "pitch": 60.0}, {}]


def latents(model, wish=WISH):
    return model.latents(wish, [1, 2], (8,))


class Base:
    """A trained model in a file, and changes of it that have learned something."""

    def __init__(self, run):
        self.path = run / MODEL_FILE
        self.model, self.header = load_model(run)

    def learned(self, seed, *, dora=False, new=(), where="network"):
        """The model with a change that is no longer 0, as training has it, and its configuration."""
        model, config = copy.deepcopy(self.model), copy.deepcopy(self.header["config"])
        fields = config["adapter"]["conditioner"]["fields"]
        fields["instrument"] += list(new)
        model.conditioner = build(config["adapter"]["conditioner"], Conditioner)
        model.conditioner.inherit(self.model.conditioner)
        layers = [name for name in lora.layers(model.trainable) if name.startswith(where)]
        learn(model, self.model, 4, layers=layers, dora=dora)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.trainable.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval(), config

    def change(self, path, seed=1, **options):
        """The file of such a change, and the model as training has it."""
        model, config = self.learned(seed, **options)
        path.parent.mkdir(exist_ok=True)
        tensors = tensors_of(model, self.model)
        save_change(tensors, config, path, base=self.path, bases=chain(self.path, self.header), step=3)
        return model


@pytest.fixture(scope="module")
def base(run):
    return Base(run)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("new", [(), ("sung", "rubbed")])
def test_the_file_of_a_change_gives_the_bits_of_the_model_that_learned(base, tmp_path, dora, new):
    model = base.change(file := tmp_path / "mine.safetensors", dora=dora, new=new)
    again, header = load_model(file)
    wish = [*WISH, *({"instrument": name} for name in new)]
    made = again.latents(wish, range(len(wish)), (8,))
    assert torch.equal(made, model.latents(wish, range(len(wish)), (8,)))
    on_base, told = load_model(base.path, lora={file: 1.0})
    assert torch.equal(on_base.latents(wish, range(len(wish)), (8,)), made)
    assert again.conditioner.fields == on_base.conditioner.fields
    assert header["bases"][0]["sha256"] == base.header["sha256"] == told["sha256"]
    assert told["lora"] == [{"name": "mine.safetensors", "sha256": header["sha256"], "step": 3, "scale": 1.0}]
    assert file.stat().st_size < base.path.stat().st_size


def test_scale_zero_is_the_base_to_the_bit_also_with_new_classes(base, tmp_path):
    base.change(file := tmp_path / "mine.safetensors", new=("sung",))
    model, _ = load_model(base.path, lora={file: 0.0})
    assert torch.equal(latents(model), latents(base.model))
    assert model.latents([{"instrument": "sung"}], [0], (8,)).isfinite().all()


def test_the_new_rows_alone_are_added_and_the_old_keep_their_bits(base, tmp_path):
    base.change(file := tmp_path / "mine.safetensors", new=("sung",))
    table = load_model(file)[0].conditioner.embeddings["of_instrument"].weight
    old = base.model.conditioner.embeddings["of_instrument"].weight
    assert torch.equal(torch.cat([table[:-2], table[-1:]]), old)
    tensors = load_file(file)
    assert [name for name in tensors if name.startswith("conditioner")] == ["conditioner.embeddings.of_instrument.rows"]
    torch.testing.assert_close(table[-2], old[:-1].mean(0) + tensors["conditioner.embeddings.of_instrument.rows"][0])


def test_changes_are_added_each_with_its_scale_and_its_own_classes(base, tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    base.change(one, seed=1, new=("sung",))
    base.change(two, seed=2, new=("rubbed",), dora=True)
    both, _ = load_model(base.path, lora={one: 0.5, two: 2.0})
    assert list(both.conditioner.fields["instrument"])[-2:] == ["sung", "rubbed"]
    old, table = (model.conditioner.embeddings["of_instrument"].weight for model in (base.model, both))
    for row, file, scale in ((-3, one, 0.5), (-2, two, 2.0)):
        rows = load_file(file)["conditioner.embeddings.of_instrument.rows"]
        torch.testing.assert_close(table[row], old[:-1].mean(0) + scale * rows[0])
    weights = [{name: layer.weight for name, layer in lora.layers(model.denoiser.network).items()}
               for model in (base.model, load_model(one)[0], load_model(two)[0], both)]
    for name, weight in weights[3].items():
        start, first, second = (part[name] for part in weights[:3])
        torch.testing.assert_close(weight - start, 0.5 * (first - start) + 2 * (second - start), atol=1e-5, rtol=1e-5)


def test_a_field_that_is_new_is_in_the_change(base, tmp_path):
    model, config = copy.deepcopy(base.model), copy.deepcopy(base.header["config"])
    config["adapter"]["conditioner"]["fields"] |= {"room": ["hall", "cave"], "force": [0.0, 1.0]}
    model.conditioner = build(config["adapter"]["conditioner"], Conditioner)
    model.conditioner.inherit(base.model.conditioner)
    learn(model, base.model, 2, layers=lora.layers(model.trainable))
    with torch.no_grad():
        for parameter in model.trainable.parameters():
            parameter.add_(0.1 * parameter.requires_grad)
    save_change(tensors_of(model, base.model), config, tmp_path / "x.safetensors", base=base.path,
                bases=chain(base.path, base.header), step=1)
    wish = [{"room": "cave", "force": 0.3}, {}]
    assert torch.equal(latents(load_model(tmp_path / "x.safetensors")[0], wish), latents(model.eval(), wish))
    zero = load_model(base.path, lora={tmp_path / "x.safetensors": 0})[0]
    assert torch.equal(latents(zero), latents(base.model))


def test_a_merged_model_is_a_model_like_any_other(base, tmp_path):
    model = base.change(file := tmp_path / "mine.safetensors")
    merged, header = load_model(file)
    save_model(merged, header["config"], tmp_path / "whole.safetensors")
    assert torch.equal(latents(load_model(tmp_path / "whole.safetensors")[0]), latents(model))
    assert list(merged.state_dict()) == list(base.model.state_dict())


def test_a_change_finds_its_base_where_both_were_moved_or_where_it_is_told(base, tmp_path):
    place = tmp_path / "here"
    place.mkdir()
    (place / "base.safetensors").write_bytes(base.path.read_bytes())
    moved = place / "base.safetensors"
    model, config = base.learned(1)
    save_change(tensors_of(model, base.model), config, place / "runs.safetensors", base=moved,
                bases=chain(moved, base.header), step=1)
    there = tmp_path / "there"
    place.rename(there)
    assert torch.equal(latents(load_model(there / "runs.safetensors")[0]), latents(model))
    (there / "base.safetensors").rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ModelFileError, match=r"is a change of base.safetensors .step 8, hash \w{8}., which is not at"):
        load_model(there / "runs.safetensors")
    found = mmdiff.load(there / "runs.safetensors", base=tmp_path / "elsewhere.safetensors", device="cpu")
    assert torch.equal(latents(found.model), latents(model))


def test_another_base_is_refused_by_name_and_hash(base, tmp_path):
    base.change(file := tmp_path / "mine.safetensors")
    save_model(base.model, base.header["config"], tmp_path / "other.safetensors", step=4)
    with pytest.raises(ModelFileError, match=r"is a change of tiny .step 8.*, and .*other.safetensors is .step 4"):
        load_model(tmp_path / "other.safetensors", lora={file: 1.0})
    with pytest.raises(ModelFileError, match=r"other.safetensors is .step 4, hash .*name its run or file by base="):
        load_model(file, base=tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="is a whole model, and no change of one"):
        load_model(base.path, lora={base.path: 1.0})
    with pytest.raises(ModelFileError, match="has no base: leave base= out"):
        load_model(base.path, base=base.path)
    with pytest.raises(ModelFileError, match="the scale of .* is a number, got nan"):
        load_model(base.path, lora={file: float("nan")})


@pytest.mark.parametrize(("edit", "told"), [
    (lambda t: t | {"network.gone.lora_A": torch.ones(4, 3)}, "such as network.gone"),
    (lambda t: t | {"network.stem.lora_B": t["network.stem.lora_B"][1:]}, "network.stem has .* weights here"),
    (lambda t: t | {"network.norm.weight": torch.ones(8)}, "its network.norm.weight finds no place"),
    (lambda t: {n: v for n, v in t.items() if "rows" not in n}, "has new classes, and no .*of_instrument.rows"),
    (lambda t: {n: v.repeat(2, 1) if "rows" in n else v for n, v in t.items()}, r"of_instrument.rows is \(2, 16\)"),
])
def test_a_tensor_that_finds_no_place_is_refused_by_name(base, tmp_path, edit, told):
    model, config = base.learned(1, new=("sung",))
    tensors = edit(tensors_of(model, base.model))
    bases = chain(base.path, base.header)
    save_change(tensors, config, tmp_path / "x.safetensors", base=base.path, bases=bases, step=1)
    with pytest.raises(ModelFileError, match=told):
        load_model(tmp_path / "x.safetensors")


def test_a_changed_byte_is_refused(base, tmp_path):
    base.change(file := tmp_path / "mine.safetensors")
    tensors, header = load_file(file), read_header(file)
    tensors["network.stem.lora_B"][0, 0] += 1
    save_file(tensors, file, {"mmdiff": json.dumps(header)})
    with pytest.raises(ModelFileError, match="is damaged"):
        load_model(base.path, lora={file: 1.0})


@pytest.mark.parametrize("edit", [
    lambda fields: fields["instrument"].pop(), lambda fields: fields["instrument"].clear(),
    lambda fields: fields["instrument"].reverse(), lambda fields: fields["instrument"].append("blown"),
    lambda fields: fields.pop("instrument"), lambda fields: fields.update(pitch=[0.0, 1.0]),
    lambda fields: fields.update(pitch=["a", "b", "c"]), lambda fields: fields.update(caption="text"),
])
def test_a_change_that_knows_the_base_s_classes_otherwise_is_refused_however_it_is_used(base, tmp_path, edit):
    model, config = base.learned(1)
    edit(config["adapter"]["conditioner"]["fields"])
    save_change(tensors_of(model, base.model), config, file := tmp_path / "x.safetensors", base=base.path,
                bases=chain(base.path, base.header), step=1)
    for use in (lambda: load_model(file), lambda: load_model(base.path, lora={file: 1.0})):
        with pytest.raises(ModelFileError, match="x.safetensors does not fit its base: its fields or classes"):
            use()


def test_of_several_changes_the_one_that_does_not_fit_is_named(base, tmp_path):
    base.change(good := tmp_path / "good.safetensors")
    model, config = base.learned(1)
    tensors = tensors_of(model, base.model) | {"network.gone.lora_A": torch.ones(4, 3)}
    save_change(tensors, config, bad := tmp_path / "bad.safetensors", base=base.path,
                bases=chain(base.path, base.header), step=1)
    with pytest.raises(ModelFileError, match="bad.safetensors does not fit its base: 1 of"):
        load_model(base.path, lora={good: 1.0, bad: 0.5})


@pytest.mark.parametrize("given", ["mine:0.8", ["mine"], {3: 1.0}])
def test_changes_are_given_with_their_scales_from_python(base, given):
    with pytest.raises(ModelFileError, match="lora is a mapping of runs or files to scales"):
        mmdiff.load(base.path, lora=given, device="cpu")


def test_a_scale_that_is_no_number_is_told_and_a_home_folder_is_found(base, tmp_path, monkeypatch):
    base.change(file := tmp_path / "mine.safetensors")
    for scale in ("0.8", None, float("nan")):
        with pytest.raises(ModelFileError, match="the scale of .* is a number"):
            load_model(base.path, lora={file: scale})
    with pytest.raises(ModelFileError, match="is a change that is added already"):
        load_model(base.path, lora={file: 1.0, file.parent / ".." / file.parent.name / file.name: 1.0})
    monkeypatch.setenv("HOME", str(base.path.parent.parent))
    assert load_model(file, base=f"~/{base.path.parent.name}")[1]["step"] == 3
