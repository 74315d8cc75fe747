"""Low-rank changes of other programs: what PEFT reads and writes is the same change."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmdiff.nn import lora
from mmdiff.nn.lora_formats import PREFIXES, peft_config, read, written


class Mixed(nn.Module):
    """A layer of each kind, of which one's name is the end of another's."""

    def __init__(self, table=True):
        super().__init__()
        self.table = nn.Embedding(5, 6) if table else None
        self.conv, self.spatial, self.volume = nn.Conv1d(6, 8, 3), nn.Conv2d(2, 4, (3, 1)), nn.Conv3d(1, 2, 3)
        self.blocks = nn.ModuleList([nn.ModuleDict({"out": nn.Linear(8, 8), "flat": nn.Linear(8, 3)})])
        self.out = nn.Linear(8, 2)

    def forward(self, x, labels):
        h = x if self.table is None else x + self.table(labels)
        h = self.conv(h.mT).mT
        y = self.blocks[0]["flat"](self.blocks[0]["out"](h)).sum() + self.out(h).sum()
        cube = x.repeat(1, 3, 1).reshape(-1, 1, 3, x.shape[1], 6)[..., :3]
        return y + self.spatial(x.unflatten(1, (2, -1))).square().sum() + self.volume(cube).square().sum()


@pytest.fixture
def inputs():
    torch.manual_seed(3)
    return torch.randn(2, 8, 6), torch.randint(5, (2, 8))


def changed(network, *, dora=False):
    network = copy.deepcopy(network)
    lora.add(network, 3, dora=dora)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return network, lora.tensors_of(network)


def saved(folder, network, tensors):
    made, rank = written(network, tensors, prefix=PREFIXES[0])
    (folder / "adapter_config.json").write_text(json.dumps(peft_config(rank, made, base="base")))
    save_file(made, folder / "adapter_model.safetensors")
    return made


@pytest.mark.parametrize("dora", [False, True])
def test_peft_reads_what_is_written(tmp_path, inputs, dora):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    network = Mixed(table=not dora)
    mine, tensors = changed(network, dora=dora)
    saved(tmp_path, network, tensors)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(network), tmp_path)
    status = peft.set_peft_model_state_dict(theirs, load_file(tmp_path / "adapter_model.safetensors"))
    assert not status.unexpected_keys and not any("lora_" in name for name in status.missing_keys)
    with torch.no_grad():
        torch.testing.assert_close(theirs(*inputs), mine(*inputs), rtol=1e-5, atol=1e-4)
        assert (mine(*inputs) - network(*inputs)).abs() > 1e-2


@pytest.mark.parametrize("options", [{}, {"lora_alpha": 7, "use_rslora": True}, {"alpha_pattern": {"blocks.0.out": 9}}])
def test_what_peft_writes_is_read(tmp_path, inputs, options):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install peft")
    network = Mixed()
    targets = list(lora.layers(network))
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False, **{"lora_alpha": 2, **options})
    theirs = peft.get_peft_model(copy.deepcopy(network), config)
    theirs.save_pretrained(tmp_path)
    written_config = json.loads((tmp_path / "adapter_config.json").read_text())
    lora.attach(network, read(network, load_file(tmp_path / "adapter_model.safetensors"), written_config))
    with torch.no_grad():
        torch.testing.assert_close(network(*inputs), theirs(*inputs), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
@pytest.mark.parametrize("dora", [False, True])
def test_what_is_written_is_read_again_whatever_its_prefix(inputs, prefix, dora):
    network = Mixed(table=not dora)
    mine, tensors = changed(network, dora=dora)
    lora.attach(network, read(network, written(network, tensors, prefix=prefix)[0]))
    with torch.no_grad():
        torch.testing.assert_close(network(*inputs), mine(*inputs), rtol=1e-6, atol=1e-5)


def test_a_file_of_kohya_is_scaled_by_its_alpha():
    network = Mixed()
    names = {"lora_unet_blocks_0_out": (8, 8), "lora_unet_conv": (8, 18)}
    down = {name: torch.randn(4, columns) for name, (_, columns) in names.items()}
    up = {name: torch.randn(rows, 4) for name, (rows, _) in names.items()}
    tensors = {f"{name}.alpha": torch.tensor(2.0) for name in names}
    tensors |= {f"{name}.lora_up.weight": value if "out" in name else value[..., None] for name, value in up.items()}
    tensors |= {f"{n}.lora_down.weight": v if "out" in n else v.reshape(4, 6, 3) for n, v in down.items()}
    before = {name: layer.weight.detach().clone() for name, layer in lora.layers(network).items()}
    lora.attach(network, read(network, tensors))
    for name, path in (("lora_unet_blocks_0_out", "blocks.0.out"), ("lora_unet_conv", "conv")):
        wanted = (0.5 * up[name] @ down[name]).view_as(before[path])
        torch.testing.assert_close(network.get_submodule(path).weight - before[path], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("tensors", "told"), [
    ({"gone.lora_A.weight": torch.ones(2, 8)}, "1 of 1 tensors find no layer of this network, such as gone"),
    ({"other.out.lora_A.weight": torch.ones(2, 8)}, "such as other.out"),
    ({"out.lora_A.weight": torch.ones(2, 8)}, "out has one of its two matrices alone"),
    ({"out.lora_mid.weight": torch.ones(2, 8)}, "such as out.lora_mid"),
    ({}, "0 of 0 tensors find no layer"),
])
def test_a_foreign_file_that_does_not_fit_is_refused_by_name(tensors, told):
    with pytest.raises(ValueError, match=told):
        read(Mixed(), tensors)


PAIR = {"out.lora_A.weight": torch.ones(2, 8), "out.lora_B.weight": torch.ones(2, 2)}


@pytest.mark.parametrize(("tensors", "config", "told"), [
    (PAIR | {"out.lora_A.weight": torch.ones(8)}, None, r"out has no two matrices .* \(8,\) and \(2, 2\)"),
    (PAIR | {"out.lora_A.weight": torch.tensor(1.0)}, None, r"out has no two matrices .* \(\) and"),
    ({"out.lora_A.weight": torch.ones(0, 8), "out.lora_B.weight": torch.ones(2, 0)}, None, "out has no two matrices"),
    ({"table.lora_embedding_A": torch.ones(3), "table.lora_embedding_B": torch.ones(3)}, None, "table has no two"),
    (PAIR | {"out.lora_A.weight": torch.full((2, 8), float("nan"))}, None, "out has numbers that are whole or not f"),
    (PAIR | {"out.lora_B.weight": torch.ones(2, 2, dtype=torch.int8)}, None, "out has numbers that are whole or not"),
    (PAIR | {"transformer.out.lora_A.weight": torch.zeros(2, 8)}, None, "out has two tensors of one place"),
    (PAIR | {"out.lora_A.default.weight": torch.zeros(2, 8)}, None, "out has two tensors of one place"),
    (PAIR | {"out.alpha": torch.ones(2)}, None, "alpha of out is a number"),
    (PAIR | {"out.alpha": torch.tensor(float("nan"))}, None, "alpha of out is a number"),
    *((PAIR, {"lora_alpha": alpha}, "alpha of out is a number") for alpha in (None, "x", [1], float("inf"))),
    (PAIR, {"lora_alpha": 1, "alpha_pattern": {"out": None}}, "alpha of out is a number"),
    (PAIR, {"lora_alpha": 1, "alpha_pattern": ["out"]}, "alpha_pattern of its configuration is no mapping"),
    (PAIR, {"lora_alpha": 1, "alpha_pattern": {"blocks.*.out": 9}}, r"names 'blocks.\*.out', which is no layer of th"),
    *((PAIR, config, "its configuration is no mapping") for config in ([], ["a"], 3, "s")),
])
def test_a_crafted_foreign_file_is_refused_in_words(tensors, config, told):
    with pytest.raises(ValueError, match=told):
        read(Mixed(), tensors, config)


@pytest.mark.parametrize(("tensors", "told"), [
    ({}, "there is nothing that it changes"),
    ({"gone.lora_A": torch.ones(2, 8), "gone.lora_B": torch.ones(2, 2)}, "such as gone"),
    ({"out.lora_A": torch.ones(2, 3), "out.lora_B": torch.ones(2, 2)}, "out has 2 x 8 weights here"),
    ({"out.weight": torch.ones(2, 8)}, "out.weight is no part of a low-rank change"),
])
def test_what_is_no_change_of_the_network_is_not_written(tensors, told):
    network = Mixed()
    with pytest.raises(ValueError, match=told):
        written(network, tensors, prefix="")
    assert not hasattr(network.out, "parametrizations")


def test_what_peft_s_layout_cannot_tell_is_refused():
    network = nn.Sequential(nn.Conv1d(4, 4, 3, groups=2))
    with pytest.raises(ValueError, match="0 is a convolution in groups"):
        written(network, changed(network)[1], prefix="")
    network = nn.Sequential(nn.Embedding(4, 3))
    with pytest.raises(ValueError, match="0 is a table with a magnitude for each row"):
        written(network, changed(network, dora=True)[1], prefix="")
    with pytest.raises(ValueError, match="fan_in_fan_out"):
        read(network, {}, {"fan_in_fan_out": True})
