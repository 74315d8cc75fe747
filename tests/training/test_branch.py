"""A change that acts where a map is told, and leaves all else as the base makes it."""

import pytest
import torch

from mmdiff.cli import lora
from mmdiff.config.build import ConfigError
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.samplers import Auto
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.data.labels import encode_labels
from mmdiff.store import load_model
from tests.test_maps import EACH, FURTHER, VIDEO, assembled, begin

MORE = [*FURTHER, "trainer.max_steps=2", "validation.every=0", "optim.lr=0.05", "lora=2"]
FOLLOW = [*MORE, "adapter/controls=edges", "branch=true"]
SHAPE = (4, 16, 16)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return begin(tmp_path_factory.mktemp("runs") / "base", *VIDEO, "trainer.max_steps=2", "optim.lr=0.05")


@pytest.fixture(scope="module")
def branch(base):
    return begin(base.parent / "branch", *FOLLOW, f"init={base}")


def made(model, *maps):
    """Latents of one sample a map, with guidance; None is no map."""
    rows = [{"shape": "disc", **({} if told is None else {"edges": told})} for told in maps]
    return model.latents(rows, range(len(rows)), SHAPE, sampler=Auto(steps=2), guidance=ClassifierFree(scale=2.0))


def test_what_is_told_no_map_is_the_bits_of_the_base_and_what_is_told_one_those_of_the_branch(base, branch):
    plain, both, sketch = load_model(base)[0], load_model(branch)[0], torch.rand(1, *SHAPE)
    told, untold, blank = made(both, sketch, None, torch.zeros_like(sketch))
    assert torch.equal(made(both, None, None), made(plain, None, None))
    torch.testing.assert_close(untold, made(plain, None, None)[1], atol=1e-6, rtol=0)         # in a batch with others
    network, x, level = both.network, torch.randn(2, 3, *SHAPE), torch.full((2,), 0.5)
    cond = both.condition([{"shape": "disc", "edges": sketch}, {"shape": "disc"}])
    out, follow, alone = (part(x, level, cond) for part in (network, network.branch, network.network))
    assert torch.equal(out[0], follow[0]) and torch.equal(out[1], alone[1]) and not torch.equal(follow[0], alone[0])
    assert (told - blank).abs().max() > 1e-3 and (blank - made(plain, *[None] * 3)[2]).abs().max() > 1e-3
    assert read_header(branch / "model.safetensors")["branch"] is True


def test_it_is_added_to_a_base_and_beside_other_changes_which_act_in_both(base, branch, tmp_path):
    other, sketch = begin(tmp_path / "other", *MORE, f"init={base}"), torch.rand(1, *SHAPE)
    style = load_model(base, lora={other: 1.0})[0]
    orders = (branch, other), (other, branch)
    both, swapped = (load_model(base, lora=dict.fromkeys(order, 1.0))[0] for order in orders)
    assert torch.equal(made(both, None), made(style, None))
    assert torch.equal(made(both, sketch), made(swapped, sketch))
    assert not torch.equal(made(both, sketch), made(load_model(base, lora={branch: 1.0})[0], sketch))
    nothing = load_model(base, lora={branch: 0.0})[0]
    assert torch.equal(made(nothing, sketch), made(load_model(base)[0], None))


@pytest.mark.parametrize(("control", "sample"), [
    ("loudness", torch.linspace(-1, 1, 2000)[None]), ("shadow", torch.linspace(-1, 1, 96).reshape(3, 32)),
])
def test_a_branch_of_sound_or_points_leaves_what_is_told_no_map_to_the_bits_of_its_base(control, sample, tmp_path):
    words = [*EACH[control], "trainer.max_steps=2", "validation.every=0", "optim.lr=0.05"]
    base = begin(tmp_path / "base", *words)
    again = [word for word in words if not word.startswith(("adapter", "data="))]
    follow = ["data=notes" if control == "loudness" else "data=solids", f"adapter/controls={control}", "branch=true"]
    branch = begin(tmp_path / "branch", *again, *follow, "lora=2", f"init={base}")
    both, plain = load_model(branch)[0], load_model(base)[0]
    told = {control: both.map_of(control, sample)}
    followed, untold, alone = (model.latents([row], [0], told[control].shape[1:], sampler=Auto(steps=2))
                               for model, row in ((both, told), (both, {}), (plain, {})))
    assert torch.equal(untold, alone) and (followed - alone).abs().max() > 1e-3


def test_in_training_no_map_is_hidden_where_labels_are(base, tmp_path):
    model = assembled(tmp_path / "run", *FOLLOW, f"init={base}").module.model
    labels = encode_labels(model.conditioner.fields, [{"shape": "disc"}] * 200)
    drawn = model.draw(Batch(Masked(torch.zeros(200, 3, *SHAPE)), labels, torch.arange(200)), 0, batch_size=200)
    assert drawn.random["kept"].all() and (drawn.labels["shape"] < 0).any()


def test_what_a_branch_is_not_for_is_said(base, branch, tmp_path):
    for left_out in ("adapter/controls=edges", "lora=2"):
        words = [word for word in FOLLOW if word != left_out]
        with pytest.raises(ConfigError, match=r"branch=true .*: give it a rank and maps"):
            assembled(tmp_path / "run", *words, f"init={base}")
    with pytest.raises(ConfigError, match="is a branch, which is asked beside the network of its base"):
        assembled(tmp_path / "run", *MORE, f"init={branch}")
    with pytest.raises(ModelFileError, match="cannot hold a model with a branch"):
        lora.main(["merge", str(base), str(branch), f"out={tmp_path / 'whole.safetensors'}"])
