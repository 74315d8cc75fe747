import pytest
import torch

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.notes import Notes
from mmdiff.adapters.audio.vocoder import GriffinLim
from mmdiff.adapters.base import Adapter
from mmdiff.adapters.conditioners import Labels
from mmdiff.core.parameterizations import Velocity
from mmdiff.core.samplers import DDPM, DPMSolverPP3M, Euler
from mmdiff.core.schedules import Linear
from mmdiff.core.times import LogitNormal
from mmdiff.core.types import Masked
from mmdiff.data.loaders import eval_loader, train_loader
from mmdiff.data.stream import Stream
from mmdiff.model import DiffusionModel
from mmdiff.nn.unet1d import UNet1d


@pytest.fixture(scope="module")
def notes():
    return Notes(AudioReader(8000, seconds=0.2), n=20)


@pytest.fixture(scope="module")
def model(notes):
    torch.manual_seed(0)
    codec = MelCodec("speech_8k_48", GriffinLim(n_iter=1))
    conditioner = Labels(notes.fields, dim=8)
    network = UNet1d(codec.channels, conditioner.dim, base=8, multipliers=(1, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    adapter = Adapter(AudioReader(8000), codec, conditioner, network)
    return DiffusionModel(
        adapter, schedule=Linear(), parameterization=Velocity(), time=LogitNormal()
    )


def by_draw(model, loader, seed=0):
    losses = {}
    for batch in loader:
        values = model.loss(batch, seed, batch_size=8)
        losses |= dict(zip(batch.draws.tolist(), values.tolist(), strict=True))
    return losses


def test_the_loss_of_a_draw_does_not_depend_on_the_batch_it_is_in(model, notes):
    whole = by_draw(model, train_loader(notes, Stream(20, 8, seed=0, steps=3)))
    halves = [by_draw(model, train_loader(notes, Stream(20, 8, seed=0, steps=3, rank=r, world=2))) for r in (0, 1)]
    assert {**halves[0], **halves[1]} == pytest.approx(whole, rel=1e-5)
    assert not set(halves[0]) & set(halves[1])


def test_every_draw_has_noise_of_its_own_also_when_a_sample_comes_again(model, notes):
    losses = by_draw(model, train_loader(notes, Stream(20, 8, seed=0, steps=10)))
    assert len(losses) == 80 == len(set(losses.values()))
    assert by_draw(model, train_loader(notes, Stream(20, 8, seed=1, steps=1)), seed=1) != losses


def test_two_evaluations_are_equal_bit_for_bit_and_do_not_touch_the_global_generator(model, notes):
    state = torch.get_rng_state()
    first, second = ([model.validation_loss(b) for b in eval_loader(notes, 8)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].shape == (8, len(model.validated)) == (8, 9) and torch.equal(state, torch.get_rng_state())


def test_validation_looks_at_ever_more_noise(model, notes):
    batch = next(iter(eval_loader(notes, 4)))
    quantiles = model.diffusion_loss.time.quantile((torch.arange(8.0) + 0.5) / 8, Linear())
    assert (quantiles.diff() > 0).all() and model.validation_loss(batch).isfinite().all()


def test_averaged_weights_are_a_view_and_leave_the_model_alone(model):
    other = model.replaced(torch.nn.ModuleDict(
        {"network": UNet1d(48, 8, base=8, multipliers=(1, 2)), "conditioner": model.conditioner}
    ))
    assert other.codec is model.codec and other.denoiser.network is not model.denoiser.network
    assert set(other.state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("sampler", [Euler(3), DDPM(3)])
def test_what_is_random_in_a_sample_is_fixed_by_its_seed(model, sampler):
    def make(seeds):
        rows = [{"instrument": "blown", "pitch": 60.0}] * len(seeds)
        return model.decoded(model.latents(rows, seeds, model.codec.latent_shape(seconds=0.1), sampler=sampler))

    a, b = make([5, 6]), make([6, 5])
    torch.testing.assert_close(a[0], b[1])
    torch.testing.assert_close(a[1], b[0])
    assert not torch.allclose(a[0], a[1])


def test_latents_are_made_in_the_range_of_the_codec_and_what_is_given_is_kept_beyond_it(model):
    limits = model.codec.low.clone(), model.codec.high.clone()
    model.codec.low.fill_(-0.1)
    model.codec.high.fill_(0.1)
    shape = model.codec.latent_shape(seconds=0.1)
    given = Masked(torch.full((1, 48, *shape), 9.0), (torch.arange(*shape) < 3)[None, None])
    for sampler in (Euler(3), DPMSolverPP3M(5)):
        free, edited = (model.latents([{}], [0], shape, sampler=sampler, known=known) for known in (None, given))
        low, high = (model.codec.whiten(Masked(torch.full_like(free, v))).x for v in (-0.1, 0.1))
        assert ((low <= free) & (free <= high)).all() and free.std() > 0
        assert torch.equal(edited[..., :3], given.x[..., :3]) and (edited[..., 3:] <= high[..., 3:]).all()
    model.codec.low.copy_(limits[0])
    model.codec.high.copy_(limits[1])


def test_the_codec_is_frozen(model):
    assert not any(p.requires_grad for p in model.codec.parameters())
    assert all(p.requires_grad for p in model.trainable.parameters())
