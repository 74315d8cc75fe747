"""The laws that every adapter keeps, each a test: of the codec, the network, the files, the training.

    class TestWeather(AdapterContract):
        adapter = "weather"

is all that a package's test file needs; pytest gets ``trial`` from mmdiff's plug-in, ``mmdiff adapter check`` runs the
same laws without pytest. Networks are tried in float64, where a leak through a mask cannot hide behind rounding.
"""

import contextlib
import copy
import math
import pickle
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.rng import Purpose, stream
from ..core.types import Condition, Masked
from ..data.batch import pad
from ..data.labels import encode_labels
from ..data.loaders import samples, train_loader
from ..generation.pipeline import Pipeline
from ..nn import lora
from ..store import load_model, save_model
from .compare import box, corner, double, kind, same, same_labels
from .documented import undocumented
from .judged import judged
from .marked import marked
from .trial import Trial
from .two import loss_of_two

RANK = 16
"""Of the change by which a network is tried that has learned."""


class AdapterContract:
    """Subclasses name their ``adapter``, an option; ``overrides`` change its configuration for the trial."""

    adapter: str
    overrides: Sequence[str] = ()

    lossy: float = 0.3
    """The most that decoding and writing to a file may change a latent: root mean square, 1 being its deviation."""

    def test_configuration_composes_and_is_documented(self, trial: Trial) -> None:
        """Every value of the adapter's YAML says what it is."""
        missing = undocumented("adapter", trial.adapter)
        assert not missing, f"adapter/{trial.adapter}.yaml lacks a comment: {missing[0]}"
        trial.note(f"{sum(p.numel() for p in trial.model.trainable.parameters()) / 1e6:.2f} M parameters")

    def test_shapes_and_dtypes(self, trial: Trial) -> None:
        """Samples are (C, *S) float32, latents (B, channels, *S) float32, and decoding gives samples back."""
        codec, sample = trial.codec, trial.samples[0]
        assert sample.dtype == torch.float32 and sample.ndim > 1, f"a sample is {kind(sample)}, not (C, *S) float32"
        assert sample.isfinite().all(), "the first sample holds NaN or infinite values"
        latent, mask = codec.encode(Masked(sample[None]))
        assert latent.dtype == torch.float32, f"latents are {latent.dtype}, not float32"
        assert latent.ndim > 2 and latent.shape[:2] == (1, codec.channels), (
            f"a latent is {kind(latent)}: not (1, channels, *S) with channels = {codec.channels}"
        )
        assert mask is None, "encode gives a mask to samples that have none"
        decoded = codec.decode(Masked(latent)).x
        assert decoded.dtype == torch.float32 and decoded.ndim == sample.ndim + 1, f"decode gives {kind(decoded)}"
        assert decoded.shape[:2] == (1, len(sample)), f"{kind(sample)} is decoded to {kind(decoded[0])}"
        trial.note(f"{kind(sample)} <-> {kind(latent[0])}")

    def test_reading_is_repeatable_and_workers_read_the_same(self, trial: Trial) -> None:
        """A read depends on its index and generator alone; reader and data can go to worker processes."""
        data = trial.dataset
        other = pickle.loads(pickle.dumps(data))
        for chance in (None, 3):
            torch.manual_seed(1)
            np.random.seed(1)
            first = data.read(0, None if chance is None else stream(0, chance, Purpose.AUGMENT))
            torch.manual_seed(2)
            np.random.seed(2)
            second = other.read(0, None if chance is None else stream(0, chance, Purpose.AUGMENT))
            assert torch.equal(first[0], second[0]) and first[1] == second[1], (
                "two reads of one sample differ: all that is random must come from rng, and nothing without it"
            )
        plain, workers = (next(iter(train_loader(data, trial.order(), workers=n))) for n in (0, 1))
        assert torch.equal(plain.samples.x, workers.samples.x), "a data worker reads another batch"

    def test_latents_have_zero_mean_and_unit_variance(self, trial: Trial) -> None:
        """Over the samples that the codec was fitted on, where it measures them."""
        if not trial.codec.measured:
            trial.note("not asked: its statistics came with it")
            return
        parts = []
        for batch in samples(trial.dataset):
            latent, mask = trial.codec.encode(batch)
            parts.append(latent.flatten() if mask is None else latent[mask.expand_as(latent)])
        values = torch.cat(parts).double()
        mean, std = float(values.mean()), float(values.std())
        trial.note(f"mean {mean:.3f}, deviation {std:.3f}")
        assert abs(mean) < 0.1, f"latents have mean {mean:.3f}: measure() must find it, whiten() take it off"
        assert 0.8 < std < 1.25, f"latents have deviation {std:.3f}: measure() must find it, whiten() divide by it"

    def test_decoding_undoes_encoding(self, trial: Trial) -> None:
        """Encoded again, what was decoded is the same latent but for what the codec loses."""
        latent = trial.encoded(trial.samples[0])
        again = trial.codec.encode(trial.codec.decode(Masked(latent))).x
        self._close(trial, latent, again, "decode(encode(x))")

    def test_latent_shape_is_what_encode_gives(self, trial: Trial) -> None:
        """``latent_shape(**size(sample))``, for samples of two sizes."""
        for sample in trial.samples:
            size = {name: float(value) for name, value in trial.codec.size(sample).items()}
            expected, found = tuple(trial.codec.latent_shape(**size)), tuple(trial.encoded(sample).shape[2:])
            assert expected == found, f"latent_shape({size}) is {expected}, but encode gives {found}"

    def test_masks_follow_the_stride(self, trial: Trial) -> None:
        """In a batch of two sizes a latent's mask is the box that the sample has when it is alone."""
        latent, mask = trial.codec.encode(pad(trial.samples))
        assert mask is not None, "encode drops the mask"
        assert mask.shape == (2, 1, *latent.shape[2:]) and mask.dtype == torch.bool, f"the mask is {kind(mask)}"
        for row, sample in zip(mask[:, 0], trial.samples, strict=True):
            assert torch.equal(row, box(trial.encoded(sample).shape[2:], row.shape)), (
                f"the mask of a sample {kind(sample)} has {int(row.sum())} real positions, alone it has "
                f"{math.prod(trial.encoded(sample).shape[2:])}"
            )

    def test_codec_ignores_padding(self, trial: Trial) -> None:
        """Neither a sample nor a latent changes with what else is in its batch, NaN in the padding included."""
        samples_ = trial.samples
        x, mask = pad(samples_)
        assert mask is not None, "two sizes make a mask"
        latent, latent_mask = trial.codec.encode(Masked(torch.where(mask, x, math.nan), mask))
        assert latent_mask is not None, "encode drops the mask"
        for i, sample in enumerate(samples_):
            alone = trial.encoded(sample)[0]
            same(corner(latent[i], alone.shape[1:]), alone, "the latent of a sample changes with the padding after it")
        assert not latent[~latent_mask.expand_as(latent)].any(), "a latent is not 0 in its padding"
        noisy = torch.where(latent_mask, latent, 7.0)
        decoded, decoded_mask = trial.codec.decode(Masked(noisy, latent_mask))
        assert decoded_mask is not None, "decode drops the mask"
        for i, sample in enumerate(samples_):
            alone = trial.codec.decode(Masked(trial.encoded(sample))).x[0]
            same(corner(decoded[i], alone.shape[1:]), alone, "a decoded sample changes with the padding of its latent")
        assert not decoded[~decoded_mask.expand_as(decoded)].any(), "a decoded sample is not 0 in its padding"

    def test_limits_leave_the_data_alone(self, trial: Trial) -> None:
        """``limited`` changes no latent that the codec was fitted on."""
        for latent in (trial.codec.encode(batch).x for batch in samples(trial.dataset)):
            same(trial.codec.limited(latent), latent, "limited() changes latents of the training set", tolerance=0)

    def test_network_is_zero_at_initialisation(self, trial: Trial) -> None:
        """So that training starts from the same loss whatever the network that has not learned yet."""
        if trial.model.network.pretrained:
            trial.note("not asked: it has learned")
            return
        x, level, cond = trial.inputs()
        out = copy.deepcopy(trial.model.denoiser.network).double()(x, level, cond, None)
        assert out.shape == x.shape, f"the network makes {kind(out)} of {kind(x)}"
        assert not out.any(), f"the output is up to {float(out.abs().max()):.3g} at first: make the last layer zero"

    def test_network_ignores_padding(self, trial: Trial) -> None:
        """Positions appended to every axis change no real output, and come out as 0; or padding is refused."""
        network, (x, level, cond) = trial.network, trial.inputs()
        alone, extent = network(x, level, cond, None), x.shape[2:]
        wide = torch.full((*x.shape[:2], *(n + 3 for n in extent)), 5.0, dtype=x.dtype)
        corner(wide, extent)[:] = x
        mask = box(extent, wide.shape[2:]).expand(len(x), 1, *wide.shape[2:])
        if not trial.model.network.pads:
            with contextlib.suppress(ValueError):
                network(wide, level, cond, mask)
                raise AssertionError("a network that says that it takes no padding must refuse a mask")
            return
        out = network(wide, level, cond, mask)
        assert out.shape == wide.shape, f"the network makes {kind(out)} of {kind(wide)}"
        same(corner(out, extent), alone, "the output at real positions changes with the padding", tolerance=1e-6)
        assert not out[~mask.expand_as(out)].any(), "the output is not 0 in the padding"

    def test_network_keeps_samples_of_a_batch_apart(self, trial: Trial) -> None:
        """What comes out for one does not depend on the others."""
        network, (x, level, cond) = trial.network, trial.inputs()
        alone = network(x[:1], level[:1], Condition(*(part if part is None else part[:1] for part in cond)), None)
        same(network(x, level, cond, None)[:1], alone, "a sample changes with the others of its batch", tolerance=1e-6)

    def test_network_sees_level_and_condition(self, trial: Trial) -> None:
        """Other noise or other labels, another output."""
        network, (x, level, cond) = trial.network, trial.inputs()
        out = network(x, level, cond, None)
        assert (network(x, 1 - level, cond, None) != out).any(), "the output does not depend on the noise level"
        if trial.dataset.fields:
            null = double(trial.awake.conditioner.null(len(x)))
            assert (network(x, level, null, None) != out).any(), "the output does not depend on the condition"

    def test_null_condition_is_that_of_no_labels(self, trial: Trial) -> None:
        """``null(B)`` is the condition of labels none of which is told, and what hiding all of them gives."""
        conditioner, fields = trial.awake.conditioner, trial.dataset.fields
        labels = encode_labels(fields, [trial.dataset.read(i)[1] for i in range(2)])
        unlabelled, null, cond = encode_labels(fields, [{}, {}]), conditioner.null(2), conditioner(labels)
        if cond.vector is not None:
            dim = conditioner.vector_dim or conditioner.dim
            assert cond.vector.shape == (2, dim), f"the vector is {kind(cond.vector)}, not of dim"
        for name, a, b, c in zip(Condition._fields, null, conditioner(unlabelled), cond, strict=True):
            assert (a is None) == (b is None) == (c is None), f"{name} is there in some conditions and not in others"
            assert a is None or torch.equal(a, b), f"null() and the condition of untold labels differ in {name}"
        if fields:
            assert any(a is not None and not torch.equal(a, c) for a, c in zip(null, cond, strict=True)), (
                "the condition of labels is that of none"
            )
        for u in (1e-9, 1 - 1e-9):
            hidden = conditioner.hide(labels, torch.full((2, 1 + len(fields)), u, dtype=torch.float64))
            kept = all(same_labels(hidden[name], labels[name]) for name in fields)
            none = all(same_labels(hidden[name], unlabelled[name]) for name in fields)
            assert kept or (none and u < 0.5), (
                "hide() must leave labels as they are for u near 1, and for u near 0 may make all of them untold"
            )

    def test_saved_files_read_back(self, trial: Trial) -> None:
        """``save``, then ``load`` and the reader: the same latent but for what the format loses."""
        codec, sample = trial.codec, trial.samples[0]
        assert codec.suffix != ".json", "samples cannot be .json files: that is the ending of their sidecars"
        assert codec.suffix in trial.reader.suffixes, f"the reader does not take {codec.suffix}, which the codec saves"
        path = codec.save(sample, trial.folder / f"saved{codec.suffix}")
        assert path is not None and path.is_file(), "save() must write the file and give its path"
        loaded, read = codec.load(path, **codec.size(sample)), trial.reader.read(path)
        assert loaded.shape[0] == read.shape[0] == len(sample), (
            f"{kind(sample)} was saved, load gives {kind(loaded)} and the reader {kind(read)}"
        )
        self._close(trial, trial.encoded(sample), trial.encoded(loaded), "load(save(x))")
        picture = codec.preview([sample, sample], ["one", "two"], trial.folder / "preview.png")
        assert picture.read_bytes()[:4] == b"\x89PNG", "preview() must write a PNG and give its path"

    def test_judge_measures_real_samples(self, trial: Trial) -> None:
        """All that ``mmdiff eval`` asks of ``judge()`` can be asked of samples of the data."""
        try:
            judge = trial.codec.judge()
        except ValueError:
            trial.note("it has none")
        else:
            trial.note(f"{judged(judge, trial)} numbers")

    def test_sampling_is_deterministic(self, trial: Trial) -> None:
        """A sample is fixed by its seed, wherever it is in the batch, and by nothing else."""
        first, again, turned = (trial.generated(trial.awake, seeds) for seeds in ((0, 1), (0, 1), (1, 0)))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), "the same seeds give other samples"
        same(turned[1], first[0], "a sample changes with its place in the batch", tolerance=1e-2)
        assert not torch.equal(first[0], first[1]), "two seeds give the same sample"

    def test_marks_are_detected(self, trial: Trial) -> None:
        """The mark of the ledger changes no bit, every attack of the codec gives a sample, and both are scored."""
        trial.note(f"{marked(trial)} attacks")

    def test_model_file_gives_the_model_back(self, trial: Trial) -> None:
        """All that a model has learnt and measured is in its file, and its samples are the same bit for bit."""
        model = trial.awake
        save_model(model, trial.stored, trial.folder / "model.safetensors")
        loaded, header = load_model(trial.folder / "model.safetensors")
        Pipeline(loaded, header)
        state = model.state_dict()
        changed = [name for name, value in loaded.state_dict().items() if not torch.equal(value, state[name])]
        assert not changed, f"{changed[0]} is not what was saved"
        same(loaded.codec.encode(pad(trial.samples)).x, model.codec.encode(pad(trial.samples)).x,
             "the loaded codec encodes differently: its statistics must be buffers", tolerance=0)
        first, again = (trial.generated(m, (0, 1)) for m in (model, loaded))
        change = max(float((a - b).abs().max()) for a, b in zip(first, again, strict=True))
        assert change == 0, f"the loaded model makes others, which differ by {change:.2g}, from the same weights"

    def test_one_batch_is_overfitted(self, trial: Trial) -> None:
        """Training on one batch with fixed noise halves the loss within 200 steps, and every parameter is used; where
        the network has learned, those of a low-rank change."""
        model, batch = copy.deepcopy(trial.model).train(), trial.batch()
        if model.network.pretrained:
            lora.add(model.trainable, RANK)
        parameters = {name: p for name, p in model.trainable.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(parameters.values(), lr=2e-3)
        losses: list[float] = []
        while not losses or (len(losses) < 200 and losses[-1] > losses[0] / 2):
            optimizer.zero_grad()
            loss = model.loss(batch, 0).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        unused = [name for name, parameter in parameters.items() if parameter.grad is None]
        assert not unused, f"{unused[0]} gets no gradient: several processes cannot train it"
        change = f"{losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} steps"
        assert losses[-1] <= losses[0] / 2, f"the loss of one batch goes from {change}"
        trial.note(change)

    def test_two_processes_train_as_one(self, trial: Trial) -> None:
        """Two processes share a step's samples, noise and times: its loss is that of one process."""
        expected = float(trial.model.loss(trial.batch(), trial.config.seed, batch_size=4).detach().mean())
        found = loss_of_two(trial)
        assert abs(found - expected) <= 1e-3 * abs(expected), f"the loss of two is {found:.5f}, of one {expected:.5f}"

    def _close(self, trial: Trial, latent: Tensor, again: Tensor, what: str) -> None:
        assert again.shape == latent.shape, f"{what} has the latent {kind(again)} instead of {kind(latent)}"
        error = float((again - latent).square().mean().sqrt())
        trial.note(f"error {error:.3f}")
        assert error <= self.lossy, f"{what} changes the latent by {error:.3f}, more than {self.lossy}"
