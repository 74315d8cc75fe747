"""Students of few calls: they begin as their teacher, learn jumps in three ways, and are then runs like any other."""

import csv
import os
import time
import warnings

import pytest
import torch

import mmdiff
from mmdiff.cache import paths as made
from mmdiff.cache.generated import SampleSpec, labels_of
from mmdiff.cli.export import network_inputs
from mmdiff.config.build import ConfigError
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import read_header
from mmdiff.config.overrides import completed, composed
from mmdiff.core.guidance import ClassifierFree, Unguided
from mmdiff.core.samplers import Auto, Jump
from mmdiff.core.schedules import Linear
from mmdiff.core.types import Condition
from mmdiff.data.captions import Tags
from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import _Draws, eval_loader
from mmdiff.store import load_model, save_model
from mmdiff.training.base import base_of
from mmdiff.training.checkpoints import latest
from mmdiff.training.few import _Told
from mmdiff.training.module import TrainingModule
from mmdiff.training.plan import plan
from mmdiff.training.run import assemble, opened
from mmdiff.training.train import train
from tests.conftest import TINY
from tests.training.launch import Job

LOOP = [word for word in TINY if not word.startswith(("adapter.", "data."))]
KINDS = ("paths", "consistent", "scratch")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished teacher, whose weights are not near zero."""
    run = tmp_path_factory.mktemp("few") / "teacher"
    words = [*TINY, "trainer.max_steps=6", "optim.lr=0.02", "optim.warmup=1", "loader.val=0.1", f"run={run}"]
    train(composed("train", words), completed("train", words))
    return run


def words_of(base, kind, run, *words):
    own = ["few.n=20"] if kind == "paths" else []
    return [*LOOP, f"init={base}", f"few={kind}", f"run={run}", *own, *words]


def started(base, kind, run, *words):
    """What a run is made of, before its first step."""
    config, record, _ = opened(run, composed("train", words_of(base, kind, run, *words)), None)
    return assemble(config, run, record=record, base=base_of(config, record, resumed=False))


def refused(base, kind, tmp_path, *words, match):
    with pytest.raises(ConfigError, match=match):
        started(base, kind, tmp_path / "run", *words)


@pytest.fixture(scope="module")
def students(base, tmp_path_factory):
    """A trained student of each kind."""
    folder = tmp_path_factory.mktemp("students")
    for kind in KINDS:
        words = words_of(base, kind, folder / kind, "trainer.max_steps=4", "validation.every=4")
        train(composed("train", words), completed("train", words))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_it_is_its_teacher_bit_for_bit_at_rest_and_everywhere(base, kind, tmp_path):
    parts, (teacher, _) = started(base, kind, tmp_path / "run"), load_model(base)
    student, asked = parts.module.averaged.eval(), ([{"pitch": 60.0}, {}], [3, 4], (8,))
    for guidance in (Unguided(), ClassifierFree(2.0)):
        expected = teacher.latents(*asked, sampler=Auto(3), guidance=guidance)
        assert torch.equal(student.latents(*asked, sampler=Auto(3), guidance=guidance), expected)
    jumped = student.latents(*asked, sampler=Jump(2))
    assert torch.equal(jumped, teacher.latents(*asked, sampler=_Plain(2)))


class _Plain(Jump):
    """The same steps, by the expected x0."""

    def ends(self, schedule):
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_it_generates_by_one_forward_a_call_under_guidance_and_what_it_learned_is_in_its_file(students, kind):
    header = read_header(students / kind / MODEL_FILE)
    assert header["config"]["diffusion"]["jumps"] == [1.0, 3.0]
    assert header["config"]["sampler"]["_target_"].endswith(".Jump")
    pipeline = mmdiff.load(students / kind)
    told, counted = pipeline.model.jumps.mlp[2].weight, []
    assert told.abs().max() > 0
    pipeline.model.network.register_forward_hook(lambda module, inputs, output: counted.append(len(output)))
    for steps in (1, 2, 4):
        pipeline.sampler = Jump(steps)
        three = pipeline.sample(3, batch_size=3)
        assert counted == [3] * steps
        counted.clear()
        (one,) = pipeline.sample(1, seed=1, batch_size=3)
        assert torch.equal(one, three[1])
        counted.clear()
    strong = mmdiff.load(students / kind, guidance={**header["config"]["guidance"], "scale": 3.0}).sample(1)[0]
    assert not torch.equal(strong, pipeline.sample(1)[0])
    with pytest.raises(ValueError, match="from 1 to 3"):
        mmdiff.load(students / kind, guidance={**header["config"]["guidance"], "scale": 5.0}).sample(1)


def test_the_data_of_the_teachers_run_come_along_unless_others_are_named(base, tmp_path):
    config = composed("train", words_of(base, "consistent", tmp_path / "run"))
    own = composed("train", [*TINY])
    assert config.data == own.data and config.loader.val == 0.1
    assert composed("train", words_of(base, "consistent", tmp_path / "run", "loader.val=0.2")).loader.val == 0.2
    other = composed("train", words_of(base, "consistent", tmp_path / "run", "data=notes", "data.n=9"))
    assert other.data.n == 9


def test_the_optimizer_of_the_teachers_run_comes_along_unless_data_or_another_are_named(base, tmp_path):
    def optim(*words):
        return composed("train", words_of(base, "paths", tmp_path / "run", *words)).optim

    assert optim().lr == 0.02 and optim("optim.warmup=7").lr == 0.02 and optim("optim.warmup=7").warmup == 7
    assert optim("optim=adamw") == optim("data=notes") == composed("train", [*TINY]).optim


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_draw_does_not_depend_on_the_batch_it_is_in(base, kind, tmp_path):
    module = started(base, kind, tmp_path / "run").module
    torch.nn.init.normal_(module.model.jumps.mlp[2].weight)
    loader = module.loading.order(module.dataset, seed=0, steps=2)
    items = [module.dataset.read(i) for _, i in list(loader)[1]]
    from mmdiff.data.batch import Item
    from mmdiff.data.loaders import _Collate

    whole = _Collate(module.dataset)(
        [Item(*item, draw) for item, (draw, _) in zip(items, list(loader)[1], strict=True)]
    )
    model = module.model.eval()
    together = model.loss(whole, 0, batch_size=8)
    apart = torch.cat([model.loss(part, 0, batch_size=8) for part in whole.split(2)])
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-5)
    assert len(set(together.tolist())) == 8 and not torch.allclose(model.loss(whole, 1, batch_size=8), together)
    together.mean().backward()
    assert all(p.grad is not None for p in module.model.jumps.parameters())
    teacher = getattr(module.model.objective, "_teacher", None)
    assert teacher is None or all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def fails_after(step, inner):
    def training_step(self, batch, index):
        if self.global_step == step:
            raise OSError("the disk is gone")
        return inner(self, batch, index)

    return training_step


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_that_broke_off_continues_bit_for_bit_and_keeps_how_it_learns(
    base, students, kind, tmp_path, monkeypatch
):
    killed = tmp_path / "killed"
    words = words_of(base, kind, killed, "trainer.max_steps=4", "validation.every=4")
    config, told = composed("train", words), completed("train", words)
    with monkeypatch.context() as broken:
        broken.setattr(TrainingModule, "training_step", fails_after(2, TrainingModule.training_step))
        with pytest.raises(OSError, match="the disk is gone"):
            train(config, told)
    assert latest(killed / "checkpoints")[1] == 2
    train(composed("train", [f"run={killed}"]), completed("train", [f"run={killed}"]))
    one, two = (load_model(run)[0].state_dict() for run in (students / kind, killed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    for change in ("few.calls=4" if kind == "paths" else "few.least=0.5", "diffusion.jumps=[1,2]"):
        with pytest.raises(ConfigError, match=change.partition("=")[0]):
            train(composed("train", [f"run={killed}", change]), completed("train", [f"run={killed}", change]))


def test_paths_are_made_once_what_an_interruption_left_counts_and_their_ends_are_the_teachers(
    base, tmp_path, monkeypatch
):
    calls, path = [], made.path

    def counted(model, asked, *args, **kwargs):
        if len(calls) == 3:
            calls.append(0)
            raise KeyboardInterrupt
        calls.append(len(asked))
        return path(model, asked, *args, **kwargs)

    monkeypatch.setattr(made, "BATCH", 4)
    monkeypatch.setattr(made, "path", counted)
    words = ("few.n=18", "seed=7")
    with pytest.raises(KeyboardInterrupt):
        started(base, "paths", tmp_path / "a", *words)
    parts = started(base, "paths", tmp_path / "a", *words)
    assert calls == [4, 4, 4, 0, 4, 3]                                # 18 and one that is held out
    started(base, "paths", tmp_path / "b", *words)
    assert len(calls) == 6
    dataset, teacher = parts.module.dataset, load_model(base)[0]
    x, labels = dataset.read(5)
    way, scale = made.way(teacher, x[None], 8), labels.pop(made.SCALE)
    start = made.starts(teacher, [5], x.shape[1:], seed=7)
    assert 1 <= scale <= 3 and torch.equal(way.nodes[:, 0], start)
    assert way.times[0] == 1 and way.times[-1] == 0 and (way.times.diff() < 0).all()
    guided = ClassifierFree(scale)(teacher.denoiser, teacher.condition([labels]), null=teacher.conditioner.null(1))
    with torch.no_grad():
        end = teacher.codec.limited(Auto(8)(lambda x, t: teacher.codec.limited(guided(x, t)), start, Linear()))
        torch.testing.assert_close(way.nodes[:, 8], end, rtol=1e-3, atol=1e-3)
        for node, said, t in zip(way.nodes[0], way.said[0], way.times, strict=False):
            there = teacher.codec.limited(guided(node[None], t.float()[None]))[0]
            torch.testing.assert_close(said, there, rtol=1e-3, atol=1e-3)


def test_processes_share_the_paths_that_are_to_be_made_and_make_what_one_makes_alone(base, tmp_path, monkeypatch):
    (teacher, header), path = load_model(base), made.path
    monkeypatch.setattr(made, "BATCH", 4)
    (marks := tmp_path / "marks").mkdir()

    def watched(*args, **kwargs):
        (marks / f"{os.getpid()}-{time.time_ns()}").touch()
        while len({mark.name.partition("-")[0] for mark in marks.iterdir()}) < 2:      # until the other is at one too
            time.sleep(0.01)
        return path(*args, **kwargs)

    def shards(name):
        monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / name))
        found = made.paths(teacher, header, Captioned(), 22, calls=4, scales=(1.0, 2.0))
        return {shard: found.folder.read(shard) for shard in found.folder.names(".latents")}

    alone = shards("alone")
    monkeypatch.setattr(made, "path", watched)
    children = [forked(lambda: shards("both")) for _ in range(2)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert len(list(marks.iterdir())) == 6                            # none was made twice
    assert shards("both") == alone and len(alone) == 6


def forked(work):
    """The number of a process that does ``work`` and ends with 0, or with 1 where that fails."""
    if child := os.fork():
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_made(base, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(made, "path", None)
    refused(base, "paths", tmp_path, match="keeps paths of the teacher, and cannot: .*MMDIFF_CACHE names a folder")


def test_a_flipped_bit_of_a_path_is_told_and_the_path_is_not_learned_from(base, tmp_path, monkeypatch):
    teacher, header = load_model(base)
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path))
    found = made.paths(teacher, header, Captioned(), 2, calls=4, scales=(1.0, 2.0))
    (shard,) = tmp_path.rglob("*.latents")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    draws = _Draws(found, seed=0, random=True)
    with pytest.warns(UserWarning, match=f"{shard.name} of .* is damaged or cut off: delete it, and the command that"):
        first, second = draws[0, 0], draws[0, 1]
    assert torch.equal(first.sample, second.sample)
    shard.unlink()
    made.paths(teacher, header, Captioned(), 2, calls=4, scales=(1.0, 2.0))
    assert shard.read_bytes() == whole


def test_a_plan_counts_the_paths_and_makes_few_of_them(base, tmp_path, monkeypatch):
    made_now, path = [], made.path

    def counted(model, asked, *args, **kwargs):
        made_now.append(len(asked))
        return path(model, asked, *args, **kwargs)

    monkeypatch.setattr(made, "path", counted)
    words = words_of(base, "paths", tmp_path / "run", "few.n=5000", "trainer.max_steps=100", "seed=3")
    found = plan(composed("train", words))
    assert found.counts["path"] == 5000 + 256 and found.seconds["path"] > 0 and sum(made_now) < 100
    assert found.disk > 5256 * 9 * 48 * 8 * 4 and found.eta > 5256 * found.seconds["path"]
    assert found.train == 43 and sum(len(bucket.members) for bucket in found.buckets) > 4900


def test_a_student_may_be_a_small_change_of_its_teacher(base, tmp_path):
    words = words_of(base, "consistent", tmp_path / "mine", "lora=2", "trainer.max_steps=2")
    train(composed("train", words), completed("train", words))
    model, header = load_model(tmp_path / "mine")
    assert "base" in header and model.jumps is not None
    asked = ([{}], [0], (8,))
    through = load_model(base, lora={tmp_path / "mine": 1.0})[0]
    assert torch.equal(through.latents(*asked, sampler=Jump(1)), model.latents(*asked, sampler=Jump(1)))
    none = load_model(base, lora={tmp_path / "mine": 0.0})[0]
    assert torch.equal(none.latents(*asked), load_model(base)[0].latents(*asked))


def test_a_small_change_of_a_model_teaches_as_a_whole_one_does_and_so_does_one_that_is_guided_otherwise(base, tmp_path):
    words = [*LOOP, f"init={base}", "lora=2", "optim.lr=0.1", "trainer.max_steps=2", "data=notes",
             "data.n=20", f"run={tmp_path / 'change'}"]
    train(composed("train", words), completed("train", words))
    asked, teacher = ([{"pitch": 60.0}], [3], (8,)), load_model(tmp_path / "change")[0]
    assert not torch.equal(teacher.latents(*asked), load_model(base)[0].latents(*asked))
    model, header = load_model(base)
    other = {"_target_": "mmdiff.generation.autoguidance.RunAutoguidance", "weak": str(base), "scale": 3.0}
    save_model(model, {**header["config"], "guidance": other}, tmp_path / "guided.safetensors", step=6)
    for start, taught, kind in (("change", teacher, "paths"), ("guided.safetensors", model, "consistent")):
        parts = started(tmp_path / start, kind, tmp_path / kind, "data=notes", "data.n=20")
        student, guidance = parts.module.averaged.eval(), ClassifierFree(2.0)
        assert torch.equal(student.latents(*asked, guidance=guidance), taught.latents(*asked, guidance=guidance))
        assert parts.stored["guidance"]["_target_"].endswith(".Distilled")
        batch = next(iter(eval_loader(parts.module.dataset, 4)))
        assert parts.module.model.loss(batch, 0).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_of_what_tells_jumps_follows_what_is_learned(students, kind):
    path, _ = latest(students / kind / "checkpoints")
    kept = torch.load(path, weights_only=True)["state_dict"]
    names = [name for name in kept if name.endswith(("jumps.mlp.2.weight", "embedding.mlp.2.weight"))]
    learned, average = (next(kept[name] for name in names if name.startswith(part)) for part in ("model.", "ema."))
    assert average.abs().max() > 0 and not torch.equal(average, learned)
    assert torch.equal(load_model(students / kind)[0].jumps.mlp[2].weight, average)


def test_a_student_that_learns_denoising_alone_is_told_that_its_jumps_do_not_learn(students, tmp_path):
    words = [word for word in words_of(students / "consistent", "consistent", tmp_path / "run") if "few=" not in word]
    config, record, _ = opened(tmp_path / "run", composed("train", [*words, "data=notes", "data.n=20"]), None)
    with pytest.warns(UserWarning, match="is a student, which few= taught to jump: without it only denoising"):
        assemble(config, tmp_path / "run", base=base_of(config, record, resumed=False))


def test_jumps_that_are_learned_of_data_are_not_of_what_these_do_not_tell_and_a_warning_says_so(base, tmp_path):
    words = ["data=folder", f"data.root={tmp_path / 'clips'}", "data.labels=[]"]
    mmdiff.load(base, device="cpu").save([mmdiff.Request(seed=seed) for seed in range(4)], tmp_path / "clips")
    with pytest.warns(UserWarning, match="can be told instrument, pitch, and these data do not tell it: jumps"):
        started(base, "consistent", tmp_path / "run", *words)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        started(base, "paths", tmp_path / "paths", *words)


def test_a_student_of_something_new_is_refused_before_the_base_makes_a_sample(base, tmp_path, monkeypatch):
    mmdiff.load(base, device="cpu").save([mmdiff.Request(seed=seed) for seed in range(4)], tmp_path / "clips")
    monkeypatch.setattr("mmdiff.training.personal.generated", lambda *_: pytest.fail("samples are made"))
    for kind in ("paths", "consistent"):
        refused(base, kind, tmp_path, "experiment=personal", f"data.root={tmp_path / 'clips'}", "subject=anna",
                match="one after the other")


def test_the_first_line_says_where_a_student_is_guided_otherwise_than_its_teacher(base, tmp_path, capsys):
    for scale, told in ((2, False), (1, True)):
        run = tmp_path / str(scale)
        train(composed("train", [*words_of(base, "consistent", run, "trainer.max_steps=1"), f"guidance.scale={scale}"]))
        assert ("guidance.scale is 1, was 2.0" in capsys.readouterr().out) == told


def test_what_cannot_be_learned_so_is_refused_by_name(base, tmp_path):
    with pytest.raises(ConfigError, match=r"few= learns from a teacher: name it by init=, or take few=scratch"):
        train(composed("train", [*TINY, "few=paths", f"run={tmp_path / 'a'}"]))
    with pytest.raises(ConfigError, match=r"diffusion.jumps are learned by few="):
        train(composed("train", [*TINY, "+diffusion.jumps=[1,2]", f"run={tmp_path / 'b'}"]))
    refused(base, "consistent", tmp_path, "diffusion.jumps=null", match="few= learns jumps: diffusion.jumps is")
    refused(base, "consistent", tmp_path, "diffusion.jumps=[3,1]", match="least and greatest")
    refused(base, "consistent", tmp_path, "prior=base", match="one after the other")
    for kind in ("paths", "consistent"):
        refused(base, kind, tmp_path, "diffusion.shift=3", match="which is that of its schedule")
    refused(base, "paths", tmp_path, "diffusion.jumps=[2,3]", match=r"diffusion.jumps begin at 1, such as \[1,3\]")
    refused(base, "paths", tmp_path, "diffusion.jumps=[1,1]", match="it learns: add guidance.scale=1$")
    refused(base, "paths", tmp_path, "few.calls=6", match="few.calls is a multiple of 4")
    for word in ("sampler=jump", "guidance=distilled"):
        with pytest.raises(ConfigError, match=f"{word} is for a model that learns jumps: name few="):
            train(composed("train", [*TINY, word, f"run={tmp_path / 'c'}"]))
    with pytest.raises(ValueError, match=r"sampler=jump is for a model that learned jumps, and this one did not"):
        load_model(base)[0].latents([{}], [0], (8,), sampler=Jump(2))


def test_a_student_teaches_no_more_guidance_than_it_knows(students, tmp_path):
    for kind in ("paths", "consistent"):
        refused(students / "paths", kind, tmp_path, "diffusion.jumps=[1,5]", match="knows scales up to 3")
        parts = started(students / "paths", kind, tmp_path / kind, "diffusion.jumps=[1,2]")
        assert parts.module.model.denoiser.scales == (1, 2)


@pytest.mark.filterwarnings("ignore:.*is a student, which few= taught")
def test_a_run_that_denoises_from_a_student_goes_on(students, tmp_path):
    words = [*LOOP, f"init={students / 'paths'}", "data=notes", "data.n=48", f"run={tmp_path / 'run'}",
             "trainer.max_steps=1"]
    train(composed("train", words), completed("train", words))
    more = [f"run={tmp_path / 'run'}", "trainer.max_steps=2"]
    train(composed("train", more), completed("train", more))
    assert read_header(tmp_path / "run" / MODEL_FILE)["step"] == 2


def test_a_path_contrasts_with_what_its_teacher_contrasts_with(base, monkeypatch):
    teacher = load_model(base)[0]
    told, cond = (teacher.condition([{"pitch": pitch}]) for pitch in (50.0, 60.0))
    asked, x1 = [SampleSpec({"pitch": 60.0, made.SCALE: 2.0}, {}, None)], made.starts(teacher, [0], (8,), seed=0)
    plain = made.path(teacher, asked, x1, 4)
    monkeypatch.setattr(teacher.conditioner, "contrast", lambda labels, batch, away=None: told)
    found = made.path(teacher, asked, x1, 4)
    with torch.no_grad():
        said = teacher.codec.limited(ClassifierFree(2.0)(teacher.denoiser, cond, null=told)(x1, torch.ones(1)))
    torch.testing.assert_close(found[:, 1], said, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, plain)


def test_labels_of_paths_are_hidden_as_the_conditioner_of_the_teacher_hides_them(base, monkeypatch):
    teacher, header = load_model(base)
    like, n = Captioned(), 400

    def told():
        found = made.specs_of(teacher, header, like, n, scales=(1.0, 3.0), seed=0)
        return {name: sum(spec.labels[name] is not None for spec in found) / n for name in teacher.conditioner.fields}

    assert all(0.85 < share < 0.95 for share in told().values())      # drop=0.1
    monkeypatch.setattr(teacher.conditioner, "hide", lambda labels, u: labels)
    assert set(told().values()) == {1}


class Captioned(Dataset):
    """Samples with two captions and with one."""

    def __len__(self):
        return 2

    def read(self, index, rng=None):
        return torch.zeros(1, 8), {}

    def name(self, index):
        return str(index)

    def captions(self, index):
        return {"caption": [["a, 1", "b, 2"], ["c, 3"]][index]}


def test_all_captions_of_a_sample_are_told():
    found = labels_of({"caption": "text"}, Captioned(), [0, 1] * 40)
    said = [[str(labels["caption"]) for labels in found[i::2]] for i in range(2)]
    assert 10 < said[0].count("a, 1") == 40 - said[0].count("b, 2") < 30 and set(said[1]) == {"c, 3"}


def test_paths_are_learned_in_the_words_that_they_were_made_of(base, monkeypatch):
    teacher, header = load_model(base)
    monkeypatch.setattr(teacher.conditioner, "fields", {"caption": "text"})
    monkeypatch.setattr(teacher.conditioner, "hide", lambda labels, u: labels)
    monkeypatch.setattr(made, "path", lambda model, asked, x1, calls: x1[:, None])
    tags = Tags(drop=0.5)
    found = _Told(made.paths(teacher, header, Captioned(), 40, calls=0, scales=(1.0, 1.0), tags=tags), range(40))
    kept = [found.column(i)["caption"] for i in range(40)]
    assert len(set(kept)) > 4                                         # other orders, tags left out
    draws = _Draws(found, seed=0, random=True, tags=tags)
    assert [draws[i, i].labels["caption"] for i in range(40)] == kept


def test_what_a_path_is_told_and_its_size_are_those_of_one_sample_and_each_sample_comes_as_often(base, monkeypatch):
    teacher, header = load_model(base)
    fields = {"instrument": ["low", "high"], "pitch": (0.0, 9.0), "caption": "text"}
    monkeypatch.setattr(teacher.conditioner, "fields", fields)
    monkeypatch.setattr(teacher.conditioner, "hide", lambda labels, u: labels)
    found = made.specs_of(teacher, header, Paired(), 90, scales=(1.0, 3.0), seed=0)
    told = [(*spec.labels.values(), *spec.size.values())[:-1] for spec in found]
    together = {("low" if i < 20 else "high", float(i % 10), f"number {i}", made.SCALE) for i in range(30)}
    assert {(a, b, c, made.SCALE) for a, b, c, *_ in told} == together
    assert all(spec.size == {"seconds": 1.0 + int(str(spec.labels["caption"]).split()[1])} for spec in found)
    assert all(sum(spec.labels["caption"] == f"number {i}" for spec in found) == 3 for i in range(30))
    more = made.specs_of(teacher, header, Paired(), 200, scales=(1.0, 3.0), seed=0)
    assert more[:90] == found                                         # what is made counts for a run of more


def test_what_the_data_do_not_tell_a_path_is_told_within_what_the_teacher_knows():
    found = labels_of({"caption": "text", "kind": ["x", "y"]}, Captioned(), [0, 1, 0, 1])
    assert sorted(str(labels["kind"]) for labels in found) == ["x", "x", "y", "y"]
    assert {str(labels["caption"]) for labels in found} <= {"a, 1", "b, 2", "c, 3"}


class Paired(Dataset):
    """30 samples whose labels and lengths go together."""

    def __len__(self):
        return 30

    def read(self, index, rng=None):
        return torch.zeros(1, 8), {}

    def name(self, index):
        return str(index)

    def size(self, index):
        return {"seconds": 1.0 + index}

    def column(self, index):
        return {"instrument": "low" if index < 20 else "high", "pitch": float(index % 10), "caption": f"number {index}"}

    def captions(self, index):
        return {"caption": [f"number {index}"]}


@pytest.mark.parametrize("kind", ["paths", "consistent"])
def test_two_processes_teach_a_student_what_one_does(base, students, kind, tmp_path):
    run = tmp_path / "run"
    words = words_of(base, kind, run, "trainer.max_steps=4", "validation.every=4", "trainer=ddp", "trainer.devices=2",
                     "trainer.accelerator=cpu")
    Job("train", *words, world=2, output=tmp_path).wait()
    one, two = (losses(folder) for folder in (students / kind, run))
    assert len(one) == 4 and two == pytest.approx(one, rel=1e-3) and two[0] == pytest.approx(one[0], rel=1e-5)


def losses(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def test_the_exported_network_of_a_student_takes_what_tells_its_jumps(students, monkeypatch):
    model, header = load_model(students / "paths")
    told = model.jumps(torch.zeros(2), torch.ones(2))
    expected = model.condition([{}, {}]).vector + told
    assert torch.equal(network_inputs(model, header)["vector"], expected)
    monkeypatch.setattr(model, "condition", lambda rows: Condition(tokens=torch.zeros(2, 3, 4)))      # takes no vector
    assert torch.equal(network_inputs(model, header)["vector"], told)
