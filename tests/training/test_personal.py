"""A model of somebody: a new class that is learned from few files, beside what its base knows already."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from mmdiff.cache.latents import Latents
from mmdiff.config.build import ConfigError, build
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import read_header
from mmdiff.config.overrides import composed, composition
from mmdiff.config.record import read_record
from mmdiff.core.samplers import Sampler
from mmdiff.core.types import Masked
from mmdiff.data.cached import cache_folder
from mmdiff.data.captions import Tags
from mmdiff.data.dataset import Dataset
from mmdiff.data.joined import subject_of, with_subject
from mmdiff.data.labels import TEXT
from mmdiff.data.loaders import Loading, train_loader
from mmdiff.data.stream import Stream
from mmdiff.model import DiffusionModel
from mmdiff.store import load_model
from mmdiff.training.base import base_of
from mmdiff.training.personal import check_subject
from mmdiff.training.run import assemble, opened
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.training.faults import killed_after
from tests.training.launch import Job

LOOP = [word for word in TINY if not word.startswith(("adapter.", "data."))]
PATTERN = r"data.pattern='(?P<word>[a-z]+)_(?P<speaker>[a-z]+)_\d+'"
ANNA = [PATTERN.replace("(?P<speaker>[a-z]+)", "[a-z]+"), "subject=anna", "data.consent=Anna agreed"]


def recorded(root, *speakers, n=4):
    """A folder of sounds of two words by each speaker."""
    root.mkdir(exist_ok=True)
    for s, speaker in enumerate(speakers):
        for i in range(n):
            wave = np.sin(np.arange(2000) * (0.05 + 0.02 * s + 0.1 * (i % 2))) * np.linspace(0.8, 0.1, 2000)
            soundfile.write(root / f"{('yes', 'no')[i % 2]}_{speaker}_{i}.wav", wave, 8000)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished base of three speakers, their sounds, and some of anna."""
    root = tmp_path_factory.mktemp("personal")
    words = [*[w for w in TINY if not w.startswith("data.")], PATTERN, "trainer.max_steps=2", "sampler.steps=2"]
    old = recorded(root / "old", "bob", "cleo", "dan")
    train(composed("train", [*words, f"data.root={old}", f"run={root / 'base'}"]))
    recorded(root / "anna", "anna")
    return root


def words_of(folder, run, *words):
    of_base = [] if any(word.startswith("prior=") for word in words) else ["prior.n=12"]
    return ["experiment=personal", *LOOP, f"init={folder / 'base'}", f"data.root={folder / 'anna'}", f"run={run}",
            "lora=2", *of_base, "optim.warmup=1", "validation.every=0", "checkpoint.every=2", "preview.every=0",
            *ANNA, *words]


def begin(folder, run, *words):
    own = words_of(folder, run, *words)
    train(*composition("train", own))
    return run


def started(folder, run, *words):
    config, record, _ = opened(run, composed("train", words_of(folder, run, *words)), None)
    return assemble(config, run, record=record, base=base_of(config, record, resumed=False)).module


def latents(model, *wishes):
    return model.latents(list(wishes), range(len(wishes)), (8,))


@pytest.mark.parametrize(("size", "share", "prior"), [(8, 0.5, 4), (8, 0.25, 2), (12, 0.3, 4), (7, 0.5, 3)])
def test_every_step_has_the_shares_of_its_parts_and_every_rank_about_its_own(size, share, prior):
    options = {"seed": 3, "steps": 9, "parts": [(5, 1 - share), (11, share)]}
    steps = list(Stream(16, size, **options))
    assert [sum(index >= 5 for _, index in step) for step in steps] == [prior] * 9
    assert [draw for step in steps for draw, _ in step] == list(range(9 * size))
    for part in (range(5), range(5, 16)):                             # each sample once an epoch of its part
        drawn = [index for step in steps for _, index in step if index in part]
        assert sorted(drawn[: len(part)]) == list(part)
    assert list(Stream(16, size, start=4, **options)) == steps[4:]
    if size % 2 == 0:
        ranks = [list(Stream(16, size, rank=rank, world=2, **options)) for rank in (0, 1)]
        assert [a + b for a, b in zip(*ranks, strict=True)] == steps
        counts = [[sum(index >= 5 for _, index in step) for step in rank] for rank in ranks]
        assert all(abs(a - b) <= 1 for a, b in zip(*counts, strict=True))


def test_a_share_that_is_no_sample_of_a_step_is_refused():
    with pytest.raises(ValueError, match=r"a share of 0.01 of a step of 8 samples is none"):
        Stream(16, 8, seed=0, steps=1, parts=[(5, 0.99), (11, 0.01)])


def test_half_of_each_batch_are_latents_that_the_base_makes_once(folder, tmp_path, monkeypatch):
    module = started(folder, tmp_path / "a")
    digest = read_header(folder / "base" / MODEL_FILE)["sha256"]
    made = Latents(None, str(cache_folder() / "made" / digest[:32]))
    assert [len(part) for part in module.dataset.both] == [4, 12] and len(made) == 12
    counts = {name: sorted(made.column(i)[name] for i in range(12)) for name in ("speaker", "word")}
    assert counts == {"speaker": 4 * ["bob"] + 4 * ["cleo"] + 4 * ["dan"], "word": 6 * ["no"] + 6 * ["yes"]}
    base, header = load_model(folder / "base")
    first = made.read(0)[0][None]
    sampler = build(header["config"]["sampler"], Sampler)
    alone = base.latents([made.column(0)], [0], first.shape[2:], sampler=sampler)
    torch.testing.assert_close(base.codec.whiten(Masked(first)).x, alone, rtol=1e-4, atol=1e-4)
    sample = module.dataset.both[0].dataset.read(0)[0]
    assert torch.equal(module.dataset.read(0)[0], base.codec.features(Masked(sample[None])).x[0])

    def refuse(*args, **kwargs):
        raise AssertionError("the base makes its samples again")

    monkeypatch.setattr(DiffusionModel, "latents", refuse)
    again = started(folder, tmp_path / "b")
    assert torch.equal(again.dataset.read(5)[0], module.dataset.read(5)[0])
    with pytest.raises(AssertionError, match="again"):
        started(folder, tmp_path / "c", "prior.n=13")


def test_nothing_is_hidden_of_the_subject_s_files_so_that_what_is_untold_stays_what_the_base_knows(folder, tmp_path):
    module = started(folder, tmp_path / "a", "adapter.conditioner.drop=0.9")
    anna = list(module.model.fields["speaker"]).index("anna")
    for batch in train_loader(module.dataset, Loading(batch_size=8).order(module.dataset, seed=0, steps=3)):
        assert (batch.labels["speaker"] == anna).equal(batch.keep_labels) and batch.keep_labels.sum() == 4
        for part in batch.split(2):
            hidden = module.model.draw(part, 0, batch_size=8).labels
            assert torch.equal(hidden["speaker"][part.keep_labels], part.labels["speaker"][part.keep_labels])
            assert (hidden["word"][part.keep_labels] >= 0).all() and (hidden["speaker"][~part.keep_labels] == -1).any()


def test_it_learns_a_new_class_says_so_and_keeps_its_consent(folder, tmp_path, capsys):
    run = begin(folder, tmp_path / "mine", "trainer.max_steps=4", "preview.n=0")
    told = capsys.readouterr().out
    assert "4 training" in told and "speaker also is 'anna'" in told
    assert "of each step 0.5 are of the 12 samples of prior=" in told
    header = read_header(run / MODEL_FILE)
    assert header["consent"] == "Anna agreed"
    assert header["config"]["adapter"]["conditioner"]["fields"]["speaker"] == ["bob", "cleo", "dan", "anna"]
    assert any(name.endswith("of_speaker.rows") for name in load_file(run / MODEL_FILE))
    base = load_model(folder / "base")[0]
    before = latents(base, {"speaker": "bob", "word": "no"}, {})
    assert torch.equal(latents(load_model(folder / "base", lora={run: 0.0})[0], {"speaker": "bob", "word": "no"}, {}),
                       before)
    assert not torch.equal(latents(load_model(run)[0], {"speaker": "bob", "word": "no"}, {}), before)
    assert latents(load_model(run)[0], {"speaker": "anna"}).isfinite().all()


def test_the_rows_of_new_classes_may_learn_alone(folder, tmp_path):
    run = begin(folder, tmp_path / "rows", "trainer.max_steps=4", "lora=0", "prior=null")
    assert list(load_file(run / MODEL_FILE)) == ["conditioner.embeddings.of_speaker.rows"]
    old = [{"speaker": "bob", "word": "no"}, {}]
    assert torch.equal(latents(load_model(run)[0], *old), latents(load_model(folder / "base")[0], *old))


@pytest.mark.parametrize("lora", ["2", "null"])
def test_it_goes_on_to_the_bits_of_the_run_that_was_not_stopped(folder, tmp_path, lora):
    words = [f"lora={lora}", "trainer.max_steps=6"]
    whole = begin(folder, tmp_path / "whole", *words)
    part = tmp_path / "part"
    Job("train", *words_of(folder, part, *words), fault=killed_after(3), output=tmp_path).wait(-9)
    train(composed("train", [f"run={part}"]), [])
    assert (part / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()


def test_a_folder_or_a_run_may_be_the_prior(folder, tmp_path):
    old = started(folder, tmp_path / "a", "prior=data", f"prior.root={folder / 'base'}")
    assert [len(part) for part in old.dataset.both] == [4, 11] and not old.dataset.encoded      # one is held out
    labelled = [PATTERN, "data.labels=[word,speaker]", "subject=null"]
    both = started(folder, tmp_path / "b", "prior=data", f"prior.root={folder / 'old'}", "prior.n=6", *labelled)
    assert [len(part) for part in both.dataset.both] == [4, 6]
    assert both.dataset.read(4)[1]["speaker"] in ("bob", "cleo", "dan") and both.dataset.read(0)[1]["speaker"] == "anna"
    with pytest.warns(UserWarning, match="tells nothing of word, speaker, so that only what the base makes where"):
        started(folder, tmp_path / "d", "prior=data", f"prior.root={folder / 'old'}", "data.labels=[]",
                "subject=speaker:anna")
    with pytest.raises(ConfigError, match="speaker 'anna' is new to it"):
        started(folder, tmp_path / "c", "prior=data", f"prior.root={folder / 'anna'}", *labelled)


def test_files_of_maps_are_those_of_the_subject_and_the_prior_learns_without(folder, tmp_path):
    maps = recorded(tmp_path / "maps", "anna")
    both = started(folder, tmp_path / "a", "prior=data", f"prior.root={folder / 'old'}", PATTERN,
                   "data.labels=[word,speaker]", "subject=null", "branch=true", "adapter/controls=companion",
                   f"data.maps.companion={maps}")
    own, prior = both.dataset.both
    assert [list(own.mapped(i)) for i in range(len(own))] == [["companion"]] * 4
    assert [list(prior.mapped(i)) for i in range(len(prior))] == [[]] * len(prior)


def test_the_loss_of_few_files_that_are_held_out_stops_it_and_keeps_the_best_step(folder, tmp_path):
    run = begin(folder, tmp_path / "run", "loader.val=0.5", "validation.every=1", "quality.every=1", "optim.lr=9.0",
                "quality.monitor=val/loss", "quality.patience=2", "trainer.max_steps=40", "lora=null")
    header, rows = read_header(run / MODEL_FILE), list(csv.DictReader((run / "metrics.csv").open()))
    losses = {int(row["step"]): float(row["val/loss"]) for row in rows if row["val/loss"]}
    assert len(losses) < 40 and header["step"] == min(losses, key=losses.get) == max(losses) - 2
    assert header["best"]["val/loss"] == pytest.approx(min(losses.values())) and not (run / "quality").exists()
    assert read_record(run).fields["speaker"][-1] == "anna" and len(read_record(run).held_out) == 2
    with pytest.raises(ConfigError, match="needs 8 held-out samples, loader.val holds 2; of fewer quality.monitor"):
        begin(folder, tmp_path / "other", "loader.val=0.5", "validation.every=1", "quality.every=1")


def test_a_subject_without_consent_is_one_warning(folder, tmp_path):
    with pytest.warns(UserWarning, match="data.consent=") as told:
        started(folder, tmp_path / "a", "data.consent=null", "prior=null")
    assert len([w for w in told if "consent" in str(w.message)]) == 1


def test_a_subject_that_the_base_knows_by_its_name_is_a_warning(folder, tmp_path):
    with pytest.warns(UserWarning, match="subject=bob: the model of init= knows speaker 'bob' already"):
        started(folder, tmp_path / "a", "subject=speaker:bob", "prior=null")


def test_tags_that_would_leave_a_subject_out_of_its_captions_are_refused():
    class Told(Dataset):
        def __init__(self):
            self.fields = {"caption": TEXT}

        def __len__(self):
            return 1

        def read(self, index, rng=None):
            return torch.zeros(1, 4), {"caption": "a tone"}

        def name(self, index):
            return "a"

    data = with_subject(Told(), "anna", {"caption": TEXT})
    check_subject(data, None, Loading(tags=Tags(keep=1, drop=0.1)))
    check_subject(data, None, Loading(tags=Tags()))
    with pytest.raises(ConfigError, match=r"loader.tags.drop=0.1 would leave subject=anna out"):
        check_subject(data, None, Loading(tags=Tags(drop=0.1)))


def test_the_field_of_a_subject_is_the_one_that_the_data_do_not_tell():
    known = {"word": ["no", "yes"], "speaker": ["bob"], "speed": (0.0, 1.0)}
    assert subject_of("anna", {"word": ["no"]}, known) == ("speaker", "anna", False)
    assert subject_of("speaker:anna", {"word": ["no"]}, known) == ("speaker", "anna", False)
    assert subject_of("anna", {"word": ["no"], "speaker": ["anna"]}, known) == ("speaker", "anna", False)
    assert subject_of("anna", {"caption": "text"}, {"caption": "text"}) == ("caption", "anna", True)
    for wanted, found, reason in [
        ("anna", {}, "it could be word or speaker"), ("anna", {"word": ["a"], "speaker": ["b"]}, "name that too"),
        ("speker:anna", {}, "did you mean 'speaker'"), ("speed:anna", {}, "no field 'speed' of classes"),
        ("speaker:", {}, "has no name"), ("speaker:anna", {"speaker": ["bob"]}, "say that speaker is bob"),
    ]:
        with pytest.raises(ValueError, match=reason):
            subject_of(wanted, found, known)


@pytest.mark.parametrize(("words", "reason"), [
    (["init=null", "lora=null", "prior=null"], "subject= is of a model that learns something new"),
    (["init=null", "lora=null", "subject=null"], "prior= is of a model that learns something new"),
    (["subject=null"], "these files do not tell their speaker: say whom or what they are of by subject=NAME"),
    (["prior.share=1"], "share"), (["prior.n=0"], "n "),
    (["prior=data", "prior.root=nowhere"], "prior.root=nowhere is no folder of files and no run"),
    (["lora=0", "subject=speaker:bob"], "lora=0 learns the rows of new classes alone"),
])
def test_what_cannot_be_is_refused_with_its_reason(folder, tmp_path, words, reason):
    with pytest.raises(ConfigError, match=reason):
        started(folder, tmp_path / "run", *words)
