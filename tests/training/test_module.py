"""What a training step may do to a model, and what it tells of itself."""

import copy
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.notes import Notes
from mmdiff.adapters.audio.vocoder import GriffinLim
from mmdiff.adapters.base import Adapter
from mmdiff.adapters.conditioners import Labels
from mmdiff.core.parameterizations import Velocity
from mmdiff.core.schedules import Linear
from mmdiff.data.loaders import Loading, train_loader
from mmdiff.model import DiffusionModel
from mmdiff.nn.unet1d import UNet1d
from mmdiff.training.callbacks import Every, Validation
from mmdiff.training.module import TrainingModule
from mmdiff.training.optim import AdamW
from mmdiff.training.saving import Checkpoints

READER = AudioReader(8000, seconds=0.1)
NOTES = Notes(READER, n=16)


class Learner(Labels):
    """A conditioner with a frozen encoder and a dropout of its own."""

    def __init__(self, fields, dim):
        super().__init__(fields, dim=dim)
        self.frozen = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).requires_grad_(False)
        self.dropout = nn.Dropout(0.5)


class Learned(MelCodec):
    """A codec with parts that work otherwise in training."""

    def __init__(self):
        super().__init__("speech_8k_48", GriffinLim(n_iter=1))
        self.parts = nn.Sequential(nn.BatchNorm1d(self.channels), nn.Dropout(0.5))


def made(*, codec=None, conditioner=Labels, steps=6, accumulate=1, **optim):
    torch.manual_seed(0)
    codec = codec or MelCodec("speech_8k_48", GriffinLim(n_iter=1))
    told = conditioner(NOTES.fields, dim=8)
    network = UNet1d(codec.channels, told.dim, base=8, multipliers=(1, 2))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    model = DiffusionModel(Adapter(READER, codec, told, network), schedule=Linear(), parameterization=Velocity())
    recipe = AdamW(**{"warmup": 4, "lr": 1e-3, **optim})
    return TrainingModule(
        model, NOTES, optim=recipe, loading=Loading(batch_size=4), ema={"main": {}}, seed=0, max_steps=steps,
        accumulate=accumulate,
    )


class Look(Every):
    """Calls a function after every step."""

    def __init__(self, look):
        super().__init__(1)
        self.act = look


def fit(module, *callbacks, **options):
    trainer = L.Trainer(
        accelerator="cpu", max_steps=module.max_steps, callbacks=list(callbacks), logger=False, limit_val_batches=0,
        enable_checkpointing=any(isinstance(c, Checkpoints) for c in callbacks), enable_progress_bar=False,
        enable_model_summary=False, **options,
    )
    trainer.fit(module)
    return trainer


def metrics(module, **options):
    rows = []
    fit(module, Look(lambda trainer, module, step: rows.append(dict(module.metrics))), **options)
    return rows


def broken(module, steps, value):
    """Gradients of these steps (from 1) hold ``value``."""
    def spoil(gradient):
        return torch.full_like(gradient, value) if module.global_step + 1 in steps else gradient

    next(module.model.trainable.parameters()).register_hook(spoil)
    return module


def test_the_log_has_the_lr_of_the_step_just_taken():
    module = made()
    assert [row["lr"] for row in metrics(module)] == pytest.approx([1e-3 * module.optim.factor(s, 6) for s in range(6)])


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_the_gradient_norm_is_that_before_it_is_clipped_and_of_all_accumulated_batches(clip):
    whole, halves = metrics(made(clip=clip)), metrics(made(clip=clip, accumulate=2))
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in halves] == pytest.approx([row[name] for row in whole], rel=1e-4)
    module = made(clip=clip)
    loss = module.model.loss(next(iter(loader(module))), 0, batch_size=4).mean()
    gradients = torch.autograd.grad(loss, list(module.model.trainable.parameters()), allow_unused=True)
    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm().item()
    assert whole[0]["grad_norm"] == pytest.approx(norm, rel=1e-5) and norm > 1e-3


def loader(module):
    module.trainer = SimpleNamespace(world_size=1, global_step=0, global_rank=0)
    order = module.loading.order(NOTES, seed=0, steps=1)
    return train_loader(NOTES, order)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e25])
def test_a_gradient_that_is_not_finite_reaches_neither_weights_nor_moments_nor_averages_nor_a_checkpoint(
    tmp_path, value
):
    module, before = broken(made(clip=0.0), {3}, value), {}

    def keep(trainer, module, step):
        before[step] = copy.deepcopy(module.state_dict()), copy.deepcopy(trainer.optimizers[0].state_dict()["state"])

    with pytest.raises(FloatingPointError, match="the gradient is not finite at step 3"):
        fit(module, Look(keep), Checkpoints(1, tmp_path, {}, keep=9))
    weights, moments = before[2]
    changed = [name for name, value in weights.items() if not torch.equal(module.state_dict()[name], value)]
    assert all(name.startswith("ema.") for name in changed), "an average goes on to the weights of the step before"
    assert all(value.isfinite().all() for value in module.parameters())
    for key, state in module.trainer.optimizers[0].state_dict()["state"].items():
        assert all(torch.equal(state[name], value) for name, value in moments[key].items())
    assert sorted(p.name[-6:] for p in (tmp_path / "checkpoints").iterdir()) == ["1.ckpt", "2.ckpt"]


def test_what_is_not_finite_is_not_saved_however_it_came_about(tmp_path):
    def spoil(trainer, module, step):
        next(module.ema.main.parameters()).view(-1)[0] = torch.inf if step == 2 else 0.0

    with pytest.raises(FloatingPointError, match="not finite after step 2: it is not saved"):
        fit(made(), Look(spoil), Checkpoints(1, tmp_path, {}))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000000001.ckpt"]


def half(scale):
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def test_half_precision_skips_a_step_whose_scaled_gradient_overflows_and_ends_where_scaling_less_does_not_help():
    module, weights = broken(made(), {3}, torch.inf), {}

    def keep(trainer, module, step):
        weights[step] = copy.deepcopy(module.state_dict())

    trainer = fit(module, Look(keep), plugins=[half(2.0**10)])
    assert trainer.global_step == 6 and all(v.isfinite().all() for v in module.parameters())
    name = next(n for n in weights[2] if n.startswith("model.denoiser.network") and n.endswith("weight"))
    assert torch.equal(weights[2][name], weights[3][name]) and not torch.equal(weights[3][name], weights[4][name])
    with pytest.raises(FloatingPointError, match="the gradient is not finite at step 5"):
        fit(broken(made(), range(9), torch.nan), plugins=[half(2.0**4)])


def test_frozen_parts_work_as_in_generation_whenever_they_are_used_in_training():
    module, modes = made(codec=Learned(), conditioner=Learner), []
    codec, conditioner = module.model.codec, module.model.conditioner
    before = copy.deepcopy(codec.state_dict())
    assert not any(part.training for part in codec.modules()), "when the whitening is measured, too"
    inner = module.model.loss

    def loss(*args, **kwargs):
        parts = codec, codec.parts[0], codec.parts[1], conditioner.frozen[1]
        modes.append([*(part.training for part in parts), conditioner.dropout.training, module.model.training])
        return inner(*args, **kwargs)

    module.model.loss = loss
    fit(module, Validation(2, NOTES, Loading(batch_size=4, val_samples=4)))
    assert modes == [[False, False, False, False, True, True]] * 6
    assert all(torch.equal(codec.state_dict()[name], value) for name, value in before.items())
