"""What may change of a run that goes on, what it keeps, and what it goes on from."""

import csv
import inspect
import json
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from mmdiff.config.adapter import build_codec
from mmdiff.config.build import ConfigError, build
from mmdiff.config.files import CONFIG_FILE, resolved
from mmdiff.config.overrides import completed, composed, composition
from mmdiff.config.record import Record, data_change, files, merged_fields, read_record
from mmdiff.config.words import written
from mmdiff.data.dataset import Dataset, Subset
from mmdiff.store import model_config
from mmdiff.training.checkpoints import checkpoint_path, latest, model_step, prune, start
from mmdiff.training.continuing import continued
from mmdiff.training.run import opened
from mmdiff.training.train import train
from mmdiff.training.trainer import INSTEAD, TAKEN, check_trainer
from tests.conftest import TINY

WORDS = [*TINY, "validation.every=0", "checkpoint.every=2", "optim.decay=constant", "optim.warmup=0"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of four steps, for tests that only read it."""
    run = tmp_path_factory.mktemp("begun") / "run"
    train(composed("train", [*WORDS, "trainer.max_steps=4", f"run={run}"]))
    return run


@pytest.fixture
def run(begun, tmp_path):
    """The same, to go on with."""
    return shutil.copytree(begun, tmp_path / "run")


def go_on(run, *overrides):
    train(composed("train", [f"run={run}", *overrides]), list(overrides))


def rates(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["lr"]) for row in csv.DictReader(file)]


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def test_values_given_anew_are_in_force_written_down_and_stay(run):
    go_on(run, "optim.lr=1e-4", "optim.weight_decay=0.5", "optim.betas=[0.8,0.9]", "trainer.max_steps=6")
    assert rates(run) == [1e-3] * 4 + [1e-4] * 2
    groups = torch.load(latest(run / "checkpoints")[0], weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [g["weight_decay"] for g in groups] == [0.5, 0] and {tuple(g["betas"]) for g in groups} == {(0.8, 0.9)}
    record = read_record(run)
    assert record.config.trainer.max_steps == 6 and record.config.optim.lr == 1e-4
    assert [[c["step"], c["key"], c["old"], c["new"]] for c in record.history] == [
        [4, "optim.lr", 1e-3, 1e-4], [4, "optim.betas", [0.9, 0.99], [0.8, 0.9]],
        [4, "optim.weight_decay", 1e-3, 0.5], [4, "trainer.max_steps", 4, 6],
    ]
    go_on(run, "trainer.max_steps=7")
    assert rates(run)[4:] == [1e-4] * 3, "what the printed command goes on with"


def test_with_nothing_left_to_train_nothing_is_changed(run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    go_on(run, "optim.lr=1e-4")
    told = capsys.readouterr().out
    assert "step 4, and trainer.max_steps is 4: nothing is left to train, so nothing was changed" in told
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("override", "text"), [
    ("seed=1", "keeps seed=0"), ("loader.batch_size=4", "keeps loader.batch_size=8"),
    ("loader.val=0.5", "keeps loader.val=0.05"),
    ("loader.limit=9", "keeps loader.limit=None"), ("adapter.network.base=16", "keeps adapter.network.base=8"),
    ("diffusion.schedule._target_=mmdiff.core.schedules.Cosine", "keeps diffusion.schedule._target_"),
    ("optim._target_=mmdiff.training.muon.Muon", "keeps optim._target_"),
    ("++ema.short.ramp=0.1", "keeps ema.short.ramp"),
    ("~quality.embedder", "takes nothing away"), ("diffusion=ddpm", "keeps its diffusion"),
    ("adapter.conditioner.dim=32", "keeps its model, which adapter.conditioner.dim would change"),
    ("trainer.max_epochs=3", "use trainer.max_steps instead"),
])
def test_what_a_run_keeps_is_refused_by_name(begun, override, text):
    with pytest.raises(ConfigError, match=text):
        go_on(begun, override)


def test_the_same_values_again_change_nothing(begun):
    own = read_record(begun).config
    again = [*WORDS, "trainer.max_steps=4", "optim.clip=1.0"]         # the last one is the signature's default
    assert continued(begun, own, composed("train", [f"run={begun}", *again]), again)[1] == []


def test_keys_are_those_of_the_run_and_not_of_the_default_choice(tmp_path):
    OmegaConf.save(composed("train", ["adapter=points", "data=solids", f"run={tmp_path}"]), tmp_path / CONFIG_FILE)
    words = [f"run={tmp_path}", "adapter.reader.points=64", "data.n=9"]
    assert completed("train", words)[1:] == ["++adapter.reader.points=64", "++data.n=9"]
    with pytest.raises(ConfigError, match="no key 'adapter.reader.seconds'"):
        completed("train", [f"run={tmp_path}", "adapter.reader.seconds=1"])


def record_of(run, fields=None, training=(), held=()):
    return Record(run, OmegaConf.create({"checkpoint": {"every": 2}}), [], fields or {}, list(training), list(held))


def test_fields_of_a_run_are_its_own(tmp_path):
    own = {"label": ["kick", "hat"], "speed": [0.0, 1.0]}
    kept = merged_fields(record_of(tmp_path, own), {"speed": (0.2, 0.5), "label": ["hat", "kick"]})
    assert list(kept.items()) == list(own.items()), "the order of classes and fields, and ranges, are the run's"
    for found, text in [
        ({"label": ["kick", "snare"], "speed": (0, 1)}, "label has a new 'snare'; label has no longer 'hat'"),
        ({"label": ["kick", "hat"], "speed": (0, 2)}, "speed was from 0.0 to 1.0, is from 0 to 2"),
        ({"label": ["kick", "hat"]}, "no field 'speed'"), ({**own, "who": ["ann"]}, "a new field 'who'"),
    ]:
        with pytest.raises(ConfigError, match=text):
            merged_fields(record_of(tmp_path, own), found)


def test_a_class_that_was_renamed_is_refused_and_the_model_stays(run):
    data = json.loads((run / "data.json").read_text())
    name = next(iter(data["fields"]))
    data["fields"][name][0] = "of old"
    (run / "data.json").write_text(json.dumps(data))
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="no longer 'of old'"):
        go_on(run, "trainer.max_steps=6")
    assert (run / "model.safetensors").read_bytes() == before


def test_samples_that_came_and_went_are_counted_and_written_down(run, capsys):
    go_on(run, "data.n=50", "trainer.max_steps=5")
    assert "2 new" in capsys.readouterr().out
    change = read_record(run).history[-1]
    assert change["key"] == "data" and change["old"] == "46 training and 2 held-out samples"
    assert "2 new" in change["new"]
    go_on(run, "trainer.max_steps=6")
    assert "2 new" not in capsys.readouterr().out


class Named:
    def __init__(self, *names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return self.names[index]


def test_samples_that_cross_between_training_and_held_out_are_told(tmp_path):
    record = record_of(tmp_path, training=["a", "b"], held=["c"])
    assert data_change(record, Named("a", "b"), Named("c")) is None
    assert data_change(record, Named("a", "c"), Named("b")).new.endswith(
        ": 1 trained on before and held out now, 1 held out before and trained on now"
    )


def test_checkpoints_that_are_gone_or_cannot_be_read_are_no_beginning(run):
    before = (run / "model.safetensors").read_bytes()
    for path in (run / "checkpoints").iterdir():
        cut(path)
    with pytest.raises(ConfigError, match="no checkpoint in .* can be read: step-000000004.ckpt"):
        go_on(run, "trainer.max_steps=8")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(ConfigError, match="no checkpoint to go on from, though it came to step 4"):
        go_on(run, "trainer.max_steps=8")
    (run / "model.safetensors").rename(run / "moved")
    with pytest.raises(ConfigError, match="no checkpoint to go on from, though it came to step 4"):
        go_on(run, "trainer.max_steps=8")
    assert (run / "moved").read_bytes() == before


def test_a_run_that_had_not_come_to_its_first_checkpoint_begins_again(tmp_path):
    record = record_of(tmp_path)
    assert start(record) is None
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n2,1.0\n")
    assert start(record) is None, "killed when the first was due"
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n2,1.0\n3,1.0\n\0\0\0")
    with pytest.raises(ConfigError, match="step 3"):
        start(record)


def test_killed_between_the_first_model_file_and_its_checkpoint_it_begins_again(begun, tmp_path):
    shutil.copy(begun / "model.safetensors", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".saving").touch()
    assert start(record_of(tmp_path)) is None


def test_after_an_unreadable_checkpoint_a_later_model_stays_until_the_run_is_there_again(run, capsys):
    cut(checkpoint_path(run / "checkpoints", 4))
    go_on(run, "trainer.max_steps=3", "checkpoint.keep=1")
    told = capsys.readouterr().out
    assert "skipping what cannot be read: step-000000004.ckpt" in told and "continuing from step 2" in told
    assert "is of step 4, and stays" in told
    assert model_step(run) == 4 and latest(run / "checkpoints")[1] == 3
    go_on(run, "trainer.max_steps=5")
    assert model_step(run) == 5 and latest(run / "checkpoints")[1] == 5


def test_checkpoints_of_later_steps_do_not_count_as_the_newest(tmp_path):
    for step in (2, 4, 6, 20):
        checkpoint_path(tmp_path, step).touch()
    prune(tmp_path, 2, step=6)
    assert sorted(int(p.stem[5:]) for p in tmp_path.iterdir()) == [4, 6, 20]


@pytest.mark.parametrize("name", ["config.yaml", "data.json"])
@pytest.mark.parametrize("text", [None, "", "{"])
def test_a_run_whose_description_cannot_be_read_is_not_begun_anew(run, name, text):
    (run / name).unlink()
    if text is not None:
        (run / name).write_text(text)
    config = composed("train", [*WORDS, "trainer.max_steps=6"])
    with pytest.raises(ConfigError, match=name):
        train(OmegaConf.merge(config, {"run": str(run)}))


def test_the_trainer_takes_only_what_does_here_what_it_says():
    known = set(inspect.signature(Trainer).parameters)
    assert set(TAKEN) | set(INSTEAD) <= known
    check_trainer(["_target_", *TAKEN])
    for name in known - set(TAKEN):
        with pytest.raises(ConfigError, match=f"trainer.{name} would not do here what it says"):
            check_trainer([name])


def test_texts_of_any_letters_are_the_same_at_the_start_on_a_continued_run_and_in_its_history(tmp_path):
    run = tmp_path / "a b=[c] ${d}"
    nothing = Subset(SimpleNamespace(fields={}, encoded=False, consent=None, maps=()), [])
    texts = ("${x}", r"\${x}", r"it's \ 'q' \\", "yes", "1e3", "a: b", "[a,b]", "null", "# a", "x\ny", "é", "01")
    for root, table in zip(texts[::2], texts[1::2], strict=True):
        shutil.rmtree(run, ignore_errors=True)
        words = [written("run", str(run)), written("data.root", root)]
        config, _, _ = opened(run, *composition("train", words))
        again = [written("run", str(run)), written("data.table", table)]
        for step, asked in enumerate((words, again, words)):
            if step:
                record = read_record(run)
                config, _, changed = opened(run, *composition("train", asked))
                history = [*record.history, *({"step": step, **change._asdict()} for change in changed)]
            run.mkdir(exist_ok=True)
            for name, text in files(config, history if step else [], {}, nothing, nothing).items():
                (run / name).write_text(text, encoding="utf-8")
        record = read_record(run)
        assert (record.config.data.root, record.config.data.table) == (root, table)
        assert [(c["key"], c["new"]) for c in record.history] == [("data.table", table)]
        assert Path(record.config.run) == run


def test_a_model_file_keeps_texts_as_they_are():
    config = resolved(composed("train", ["guidance=autoguidance", "guidance.weak=runs/${x}", "data=notes", "data.n=3"]))
    codec, reader = build_codec(config.adapter)
    stored = model_config(config, codec, build(config.data, Dataset, reader=reader))
    assert stored["guidance"]["weak"] == "runs/${x}"


def test_the_words_that_a_run_was_begun_with_go_on_with_it(tmp_path):
    run, more = tmp_path / "run", []
    words = [f"run={run}", "adapter=audio", "data.root=snd", "debug=limit"]
    for more in ([], ["optim.lr=0.5"]):
        asked = [*words, *more]
        config, _, changed = opened(run, *composition("train", asked))
        assert config.data.root == "snd" and config.data._target_.endswith("FolderDataset")
        run.mkdir(exist_ok=True)
        nothing = Subset(SimpleNamespace(fields={}, encoded=False, consent=None, maps=()), [])
        for name, text in files(config, [], {}, nothing, nothing).items():
            (run / name).write_text(text, encoding="utf-8")
    assert [change.key for change in changed] == ["optim.lr"]


def test_commands_that_are_told_can_be_typed(run, tmp_path):
    odd = shutil.copytree(run, tmp_path / "a b's")
    words = [f"run={odd}", "optim=muon"]
    with pytest.raises(ConfigError) as error:
        opened(odd, *composition("train", words))
    assert str(error.value).endswith(f"mmdiff train {shlex.quote(f'run={odd}')}")
    shutil.rmtree(odd / "checkpoints")
    with pytest.raises(ConfigError) as error:
        start(read_record(odd))
    assert str(error.value).endswith(f"mmdiff sample {shlex.quote(str(odd))}")
