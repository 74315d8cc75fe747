"""What is asked of a latent besides what it decodes to: noise, half the size, half a step, half of the frequencies."""

import pytest
import torch

from mmdiff.adapters.audio.coders import WaveCoder
from mmdiff.adapters.coder import GridCoder
from mmdiff.adapters.latents import HalfShifted, Noisy, Scaled, Spectral
from mmdiff.adapters.points.coder import ShapeCoder
from mmdiff.adapters.video.coder import FilmCoder
from mmdiff.config.adapter import build_codec, build_learner
from mmdiff.config.build import ConfigError
from mmdiff.config.files import resolved
from mmdiff.config.overrides import composed
from tests.training.test_adversary import rows, run
from tests.video.test_film_codec import CODEC


class Grid(GridCoder):
    """A grid of so many positions a latent."""

    reach = (0, 0)

    def __init__(self, *stride, causal=False):
        super().__init__()
        self.stride, self.causal = stride, causal

    def make(self, channels, latent, moments):
        pass


@pytest.mark.parametrize(("experiment", "data", "term"), [
    ("video", "shapes", "gradient"), ("points", "solids", "chamfer"),
])
def test_a_term_that_is_null_is_left_out_and_one_at_least_stays(experiment, data, term):
    config = resolved(composed("train", ["run=x", f"experiment={experiment}/codec", f"data={data}",
                                         f"reconstruction.losses.{term}=null"]))
    parts = build_codec(config.adapter)
    if experiment == "video":
        assert [*build_learner(config, *parts).compared] == ["squared", "absolute"]
    else:
        with pytest.raises(ConfigError, match="losses needs at least one term"):
            build_learner(config, *parts)


def changed(task, coder, z, x):
    """The changed latents, and the samples that they are to decode to."""
    task.make(z.shape[1], coder)
    return task(z, x, z, lambda *both: both)


def test_what_is_asked_of_a_latent_is_in_the_loss_and_logged(tmp_path):
    words = [*CODEC, "reconstruction/latent=[noisy,scaled,shifted,spectral]", "trainer.max_steps=2",
             "validation.every=2"]
    path = run(tmp_path / "run", *words, "reconstruction.latent.scaled.weight=0.5")
    told = {name: float(value) for name, value in rows(path)[-1].items() if name.startswith("val/")}
    weights = {"val/squared": 4, "val/absolute": 0.1, "val/gradient": 0.1, "val/noisy": 1, "val/scaled": 0.5,
               "val/shifted": 1, "val/spectral": 1, "val/penalty": 1}
    assert told["val/loss"] == pytest.approx(sum(weight * told[name] for name, weight in weights.items()), rel=1e-5)
    with pytest.raises(ConfigError, match="Scaled halves height and width"):
        run(tmp_path / "x", "experiment=audio/codec", "data=notes", "data.n=8", "reconstruction/latent=scaled")
    with pytest.raises(ConfigError, match="reconstruction has no effect on what diffusion trains"):
        run(tmp_path / "x", "data=notes", "data.n=8", "reconstruction/latent=noisy")


def test_noise_on_a_latent_is_that_of_the_sample_alone_and_of_any_size():
    z, eps = torch.randn(3, 4, 5) * torch.tensor([0.1, 1, 10])[:, None, None], torch.randn(3, 4, 5)
    x, task = torch.zeros(3, 1, 5), Noisy(noise=0.5)
    together = task(z, x, eps, lambda z, x: z)
    for i in range(3):                                                # one process or several, in one part or in many
        alone = task(z[i : i + 1], x[:1], eps[i : i + 1], lambda z, x: z)
        assert torch.equal(together[i], alone[0])
    moved = (together - z) / eps
    torch.testing.assert_close(moved[..., 0], 0.5 * z.square().mean(2).sqrt(), rtol=1e-3, atol=1e-4)
    one = task(z[:1, :, :1], x[:1, :, :1], eps[:1, :, :1], lambda z, x: z)
    assert one.isfinite().all(), "a latent may be of one position"


def test_half_of_a_latent_and_half_of_a_film_are_of_one_size():
    z, x, task = torch.randn(2, 4, 3, 5, 4), torch.randn(2, 3, 9, 40, 32), Scaled()
    task.make(4, FilmCoder())
    small, film = task(z, x, z, lambda *both: both)
    assert small.shape == (2, 4, 3, 2, 2) and film.shape == (2, 3, 9, 16, 16)
    even = task(z[..., :4, :], x[..., :32, :], z, lambda *both: both)
    torch.testing.assert_close(even[0][0, 0, 0, 0, 0], z[0, 0, 0, :2, :2].mean())
    torch.testing.assert_close(even[1][0, 0, 0, 0, 0], x[0, 0, 0, :2, :2].mean())


def steps(z):
    return z.repeat_interleave(4, -1)


def lines(z):
    """Each latent, and three between it and the next; beyond the last, as before it."""
    ahead = torch.cat([z[..., 1:], 2 * z[..., -1:] - z[..., -2:-1]], -1)
    return torch.stack([torch.lerp(z, ahead, i / 4) for i in range(4)], -1).flatten(-2)


def test_a_ramp_that_is_drawn_in_lines_is_shifted_as_its_latents_are_and_one_of_steps_is_half_a_step_off():
    z = torch.arange(6.0) * torch.tensor([1.0, -2.0])[:, None, None]  # (2, 1, 6)
    for decoder, apart in ((lines, 0.0), (steps, 0.5)):
        x = decoder(z)[..., :22]                                      # a length that the stride does not divide
        moved, wanted = changed(HalfShifted(), Grid(4), z, x)
        assert moved.shape == (2, 1, 5) and wanted.shape == (2, 1, 20) and torch.equal(wanted, x[..., 2:])
        found = (decoder(moved) - wanted).abs().mean((1, 2))
        torch.testing.assert_close(found, apart * torch.tensor([1.0, 2.0]))


def test_the_lower_half_of_the_frequencies_is_kept_and_the_rest_is_gone():
    for n in (7, 8):
        waves = torch.cos(torch.pi / n * torch.outer(torch.arange(n), torch.arange(n) + 0.5))[:, None]
        low, wanted = changed(Spectral(), Grid(4), waves, waves)
        torch.testing.assert_close(low, waves * (torch.arange(n) < (n + 1) // 2)[:, None, None], atol=1e-6, rtol=0)
        assert torch.equal(low, wanted)


def test_detail_that_hides_in_a_pattern_of_the_latents_is_apart_and_a_map_of_each_is_not():
    z, pattern = torch.randn(2, 3, 8, 8), (-1.0) ** torch.arange(8)
    for decoder, hides in ((lambda z: 2 * z.flip(1) + 1, False), (lambda z: z * pattern, True)):
        low, wanted = changed(Spectral(), Grid(1, 1), z, decoder(z))
        assert ((decoder(low) - wanted).abs().mean() > 0.1) == hides
        assert hides or (decoder(low) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("task", [HalfShifted(), Spectral()])
def test_frames_that_are_not_as_many_a_latent_are_left_alone(task):
    z, x = torch.randn(1, 4, 3, 2, 4), torch.randn(1, 3, 9, 16, 32)
    latents, film = changed(task, FilmCoder(), z, x)
    for frame in range(3):
        assert torch.equal(latents[:, :, frame], changed(task, Grid(8, 8), z[:, :, frame], x[:, :, 0])[0])
    assert torch.equal(film[:, :, 5], changed(task, Grid(8, 8), z[:, :, 0], x[:, :, 5])[1])


def test_latents_that_cannot_be_asked_so_are_refused_by_name():
    for task in (HalfShifted(), Spectral()):
        for coder in (ShapeCoder(), Grid(4, causal=True)):
            with pytest.raises(ValueError, match=f"{type(task).__name__} is of latents that lie beside each other"):
                task.make(4, coder)
        with pytest.raises(ValueError, match=f"{type(task).__name__} needs two latents along an axis"):
            changed(task, Grid(8), torch.randn(1, 2, 1), torch.randn(1, 1, 8))
    with pytest.raises(ValueError, match="HalfShifted moves by less than a stride"):
        HalfShifted().make(4, Grid(1, 1))


@torch.no_grad()
@pytest.mark.parametrize(("coder", "shape", "far"), [
    (WaveCoder(strides=(2, 3, 4), width=4), (1, 1, 24 * 30), 8), (FilmCoder(width=4), (1, 1, 5, 8, 8 * 12), 4),
])
def test_a_sample_a_stride_further_has_the_latents_further_by_one_but_at_its_borders(coder, shape, far):
    torch.manual_seed(0)
    coder.make(1, 4, 1)
    x, stride = torch.randn(shape), coder.stride[-1]
    z, moved = coder.encoder(x), coder.encoder(x[..., stride:])
    assert (z[..., 1 + far : -far] - moved[..., far:-far]).abs().max() < 1e-5
    y, moved = coder.decoder(z), coder.decoder(z[..., 1:])
    assert (y[..., (1 + far) * stride : -far * stride] - moved[..., far * stride : -far * stride]).abs().max() < 1e-5
