"""The command on a run: a report in three forms, one protocol a hash, sweeps and comparisons."""

import csv
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from mmdiff.cache.encode import encode
from mmdiff.cli import embedder
from mmdiff.cli import eval as command
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.config.record import names
from mmdiff.data.writing import write_atomic
from mmdiff.evaluation.against import BETTER, SAME, WORSE, verdict
from mmdiff.evaluation.bench import Evaluator
from mmdiff.evaluation.evaluated import Samples, open_run
from mmdiff.evaluation.protocol import digest
from mmdiff.evaluation.real import DataSource
from mmdiff.evaluation.report.findings import grouped
from mmdiff.evaluation.report.page import summary
from mmdiff.generation.pipeline import load as mmdiff_load
from mmdiff.metrics.bootstrap import Interval
from mmdiff.training.quality import Quality
from mmdiff.training.saving import Checkpoints
from mmdiff.training.train import train
from tests.conftest import TINY, mmdiff

NOTES = "mmdiff.adapters.audio.notes.Notes"
QUICK = ["evaluation.n=10", "evaluation.references=20", "evaluation.draws=4", "sampler.steps=2"]


@pytest.fixture(scope="module")
def judged(run, tmp_path_factory):
    """A tiny run that held 12 samples out and was judged as it trained, with its report."""
    folder = tmp_path_factory.mktemp("judged")
    judge = folder / "judge.safetensors"
    assert embedder.main([str(run), f"out={judge}", "steps=4"]) == 0
    mmdiff(
        "train", f"run={folder}", *TINY, "loader.val=0.25", "trainer.max_steps=4", "quality.every=2", "quality.n=8",
        "quality.references=16", f"quality.embedder={judge}",
    )
    assert command.main([str(folder), f"evaluation.embedder={judge}", *QUICK]) == 0
    return folder


def report(run):
    return json.loads((run / "eval" / "report.json").read_text())


def test_a_report_holds_the_floor_the_codec_controls_groups_and_its_protocol(judged):
    told = report(judged)
    assert {"real", "codec", "model", "control: white noise"} <= set(told["rows"])
    assert told["rows"]["control: training samples"]["copies"]["value"] == 1
    assert told["seen"]["copies"]["control: training samples"] and not told["seen"]["copies"]["codec"]
    assert told["protocol_sha256"] == digest(told["protocol"])
    assert told["protocol"]["sampler"]["steps"] == 2 and told["protocol"]["n"] == 10
    assert set(told["embedder"]["held out"]) == {"instrument", "pitch, mean error"}
    assert set(told["groups"]["model"]["instrument"]) <= {"plucked", "blown", "struck"}
    assert told["rows"]["model"]["level, dB"]["low"] <= told["rows"]["model"]["level, dB"]["value"]
    assert told["model"]["calls"] == 2 and told["model"]["cost"]["model"]["seconds"] > 0


def test_a_model_is_told_from_another_by_the_difference_of_every_number_and_not_from_itself(judged, run, capsys):
    common = [str(judged), f"evaluation.embedder={judged / 'judge.safetensors'}", *QUICK, "out=OUT"]
    told = {}
    for name, other in (("itself", judged), ("another", run)):
        words = [word.replace("OUT", str(judged / name)) for word in common]
        assert command.main([*words, f"against={other}"]) == 0
        (found,) = json.loads((judged / name / "report.json").read_text())["against"].values()
        told[name] = found
    assert "are not told apart by any of" in capsys.readouterr().out
    assert {row["says"] for row in told["itself"]["table"]} <= {"", SAME}
    assert all(set(row["difference"].values()) == {0.0} for row in told["itself"]["table"])
    rows = {row[""]: row for row in told["another"]["table"]}
    for name in ("FD-own", "KD-own", "coverage", "diversity", "instrument right"):
        mine, theirs, found = (rows[name][side] for side in ("model", str(run), "difference"))
        assert found["low"] <= found["value"] <= found["high"], name
        assert found["value"] == pytest.approx(mine["value"] - theirs["value"], abs=1e-6), name
    assert any(row["difference"]["value"] for row in rows.values())
    assert "## Against" in (judged / "another" / "report.md").read_text()
    with pytest.raises(ConfigError, match="leave one of them out"):
        command.main([str(judged), f"against={run}", "-m", "sampler.steps=1,2"])


def test_a_model_file_is_judged_by_data_that_are_named_and_writes_beside_itself(run, tmp_path, capsys):
    file, judge = shutil.copy(run / "model.safetensors", tmp_path / "alone.safetensors"), tmp_path / "judge.safetensors"
    with pytest.raises(ConfigError, match=r"knows no data: say what is real by data.root=FOLDER"):
        command.main([str(file)])
    with pytest.raises(ConfigError, match="is judged by its own data"):
        command.main([str(run), "loader.val=0.25"])
    named = ["data=notes", "data.n=48", "loader.val=0.25"]
    assert embedder.main([str(file), f"out={judge}", "steps=2", *named]) == 0
    assert command.main([str(file), *named, f"evaluation.embedder={judge}", *QUICK]) == 0
    told = json.loads((tmp_path / "alone-eval" / "report.json").read_text())
    assert {"real", "codec", "model"} <= set(told["rows"]) and told["protocol"]["samples"] == 10
    real = open_run(file, mmdiff_load(file), DataSource(data={"_target_": NOTES, "n": 48}, loader={"val": 0.25}))
    assert (len(real.train), len(real.held_out)) == (36, 12) and "do not tell" not in capsys.readouterr().out


def test_a_difference_is_better_or_worse_only_beyond_its_interval():
    assert [verdict(Interval(*value), sign) for value, sign in (
        ((1.0, 0.5, 2.0), 1), ((1.0, 0.5, 2.0), -1), ((-1.0, -2.0, -0.5), -1), ((1.0, -0.1, 2.0), 1),
        ((1.0, 0.5, 2.0), 0),
    )] == [BETTER, WORSE, BETTER, SAME, ""]


def test_scalars_are_grouped_by_thirds_of_their_range_and_what_is_not_told_by_none():
    labels = [{"pitch": 0.0}, {"pitch": 2.9}, {"pitch": 3.1}, {"pitch": 9.0}, {"pitch": None}]
    groups = grouped(labels, "pitch", (0.0, 9.0))
    assert {name: rows.tolist() for name, rows in groups.items()} == {"0 to 3": [0, 1], "3 to 6": [2], "6 to 9": [3]}
    classes = grouped([{"c": "b"}, {"c": "a"}, {}, {"c": "b"}], "c", ["a", "b"])
    assert {name: rows.tolist() for name, rows in classes.items()} == {"a": [1], "b": [0, 3]}


def test_a_run_from_latents_is_judged_as_one_from_samples_also_while_it_trains(judged, tmp_path):
    judge, told = f"{judged}/judge.safetensors", [w for w in TINY if w.startswith(("data.", "adapter."))]
    encode(composed("encode", told), f"{tmp_path}/z", progress=False)
    words = [w for w in TINY if not w.startswith("data.")]
    train(composed("train", [
        f"run={tmp_path}/run", *words, "data=latents", f"data.root={tmp_path}/z", "loader.val=0.25",
        "trainer.max_steps=4", "quality.every=2", "quality.n=8", "quality.references=16", f"quality.embedder={judge}",
    ]))
    table = (tmp_path / "run" / "metrics.csv").read_text()
    assert [row["quality/FD-own"] for row in csv.DictReader(table.splitlines()) if row["quality/FD-own"]]
    assert command.main([f"{tmp_path}/run", f"evaluation.embedder={judge}", *QUICK]) == 0
    assert report(tmp_path / "run")["protocol"]["data"] == report(judged)["protocol"]["data"]
    assert report(tmp_path / "run")["rows"]["real"] == report(judged)["rows"]["real"]


def test_samples_that_came_since_are_neither_held_out_nor_references_and_one_that_was_learned_from_is_never_judged_by(
    judged, tmp_path, capsys
):
    run = shutil.copytree(judged, tmp_path / "run")
    before = open_run(run, mmdiff_load(run))
    assert not capsys.readouterr().out
    config = (run / "config.yaml").read_bytes()
    write_atomic(run / "config.yaml", config.replace(b"'n': 48\n", b"'n': 90\n"))
    after = open_run(run, mmdiff_load(run))
    told = capsys.readouterr().out
    kept = [names(part) for part in (after.train, after.held_out)]
    assert all(set(now) <= set(names(then)) for now, then in zip(kept, (before.train, before.held_out), strict=True))
    gone = 90 - sum(map(len, kept))
    assert len(kept[1]) > 5 and f"{gone} of 90 samples are left out: they are new since {run} learned, or" in told
    write_atomic(run / "data.json", (run / "data.json").read_bytes().replace(b'"held out"', b'"held"'))
    with pytest.raises(ConfigError, match="cannot read .*data.json, which says what the run learned from"):
        open_run(run, mmdiff_load(run))


def test_a_cost_is_that_of_the_samples_that_are_judged(tmp_path):
    bench = Evaluator.__new__(Evaluator)
    bench.out, bench.protocol = tmp_path, SimpleNamespace(batch_size=2)
    bench.judge = SimpleNamespace(
        suffix=".wav", native_sizes=False, stacked=lambda samples, codec, size: torch.zeros(3, 1, 1)
    )
    bench.codec = SimpleNamespace(load=lambda path: None)
    bench.real = Samples(torch.zeros(3, 1, 1), [{}] * 3, [{}] * 3)

    def judged(*names):
        """Of a pipeline that makes these of three files anew."""
        def save(requests, folder, **options):
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                (folder / name).unlink(missing_ok=True)
                write_atomic(folder / name, name.encode())
            return [folder / name for name in "abc"]

        pipeline = SimpleNamespace(settings={}, size={}, save=save, choose_engine=lambda requests, batch_size: None)
        return bench.generated(pipeline, 0)[1]

    first = judged("a", "b", "c")
    assert first["seconds"] > 0 and judged() == first, "what is there is not made again, and cost what it cost"
    assert judged("b") is None, "made in parts"
    assert judged("a", "b", "c") not in (None, first), "made anew, by a model that trained on"


def test_a_report_is_broken_down_by_a_column_that_the_model_is_not_told(judged, tmp_path):
    root = tmp_path / "sounds"
    root.mkdir()
    for i in range(40):
        tone = np.sin(np.arange(4000) * (0.1 + 0.1 * (i % 2))) * 0.5
        soundfile.write(root / f"{('low', 'high')[i % 2]}_{('ann', 'bob')[i // 2 % 2]}_{i}.wav", tone, 16000)
    words = [w for w in TINY if not w.startswith("data.")]
    mmdiff("train", f"run={tmp_path / 'run'}", *words, f"data.root={root}", "loader.val=0.3", "trainer.max_steps=1",
           r"data.pattern='(?P<note>[a-z]+)_(?P<who>[a-z]+)_\d+'", "data.labels=[note]")
    words = [str(tmp_path / "run"), *QUICK]
    assert command.main([*words, f"evaluation.embedder={judged}/judge.safetensors", "evaluation.groups=[who]"]) == 0
    groups = report(tmp_path / "run")["groups"]
    assert set(groups["model"]) == {"who"} and set(groups["real"]["who"]) == {"ann", "bob"}
    assert sum(row["n"] for row in groups["real"]["who"].values()) == 10
    with pytest.raises(ValueError, match="no column 'whom'; did you mean 'who'"):
        command.main([*words, f"evaluation.embedder={judged}/judge.safetensors", "evaluation.groups=[whom]"])


def test_the_page_holds_its_pictures_and_fetches_nothing(judged):
    page = (judged / "eval" / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img ") == 3
    assert "http" not in page and page.count("<table>") == page.count("</table>") > 5
    assert "| FD-own |" in (judged / "eval" / "report.md").read_text()


def test_a_summary_says_what_tells_the_model_from_real_samples_who_is_served_worst_and_that_few_samples_see_little():
    report = {
        "rows": {"real": {"n": 10}, "model, seed 0": {}, "model, seed 8": {}, "control: noise": {}},
        "seen": {
            "FD": {"model, seed 0": True, "model, seed 8": False, "control: noise": True},
            "spectrum, dB": {"model, seed 0": True, "model, seed 8": False}, "paired": {"control: noise": True},
        },
        "gaps": [
            {"by": "digit", "worst": worst, "beyond chance": told}
            for worst, told in (("nine", "yes"), ("two", "no"), ("nine", "yes"))
        ],
        "better": {},
    }
    first, second, worst, few = summary(report)
    assert first == "The model, seed 0 is told from real samples by 2 of 2 metrics: FD; spectrum, dB."
    assert second == "The model, seed 8 is told from real samples by 0 of 2 metrics."
    assert worst.endswith("digit nine (2).") and few.startswith("10 samples")
    assert len(summary({**report, "gaps": [], "rows": {**report["rows"], "real": {"n": 200}}})) == 2


def test_the_command_prints_the_summary_and_the_model_beside_real_samples_alone(judged, tmp_path, capsys):
    command.main([str(judged), f"evaluation.embedder={judged}/judge.safetensors", f"out={tmp_path}", *QUICK])
    printed = capsys.readouterr().out
    assert "|  | real | codec | model |" in printed and "control:" not in printed
    assert "told from real samples" in printed and "10 samples show" in printed
    page = (tmp_path / "report.html").read_text()
    assert page.index("10 samples show") < page.index("<img"), "the summary comes first"


def test_compare_takes_reports_of_one_protocol_and_names_the_difference_of_others(judged, tmp_path, capsys):
    one, other = judged / "eval" / "report.json", tmp_path / "other.json"
    shutil.copy(one, other)
    assert command.main(["--compare", str(one), str(other)]) == 0
    assert "other.json: model" in capsys.readouterr().out
    changed = report(judged)
    changed["protocol"]["sampler"]["steps"] = 3
    other.write_text(json.dumps({**changed, "protocol_sha256": digest(changed["protocol"])}))
    with pytest.raises(ValueError, match="sampler.steps: 2, 3"):
        command.main(["--compare", str(one), str(other)])


def test_a_sweep_gives_one_table_and_one_plot(judged, tmp_path):
    rest = [word for word in QUICK if not word.startswith("sampler")]
    swept = ["-m", "sampler.steps=1,2", "guidance.scale=1,2", f"out={tmp_path}"]
    command.main([str(judged), *swept, *rest, f"evaluation.embedder={judged}/judge.safetensors"])
    swept = json.loads((tmp_path / "sweep.json").read_text())
    models = [row for row in swept["rows"] if row["row"] == "model"]
    assert [(row["sampler.steps="], row["guidance.scale="]) for row in models] == [
        ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"),
    ]
    assert len({json.dumps(row["FD-own"]) for row in models}) == 4 and (tmp_path / "sweep.png").stat().st_size > 10_000


def test_a_sweep_of_precisions_has_size_and_the_group_that_is_served_worst(judged, tmp_path):
    swept = ["-m", "precision=fp32,int8", f"out={tmp_path}"]
    command.main([str(judged), *swept, *QUICK, f"evaluation.embedder={judged}/judge.safetensors"])
    rows = [row for row in json.loads((tmp_path / "sweep.json").read_text())["rows"] if row["row"] == "model"]
    assert [row["precision="] for row in rows] == ["fp32", "int8"]
    assert rows[1]["MB of weights"] < 0.7 * rows[0]["MB of weights"]
    assert all(" in " in row["worst group"] and row["worst group"].endswith("metrics") for row in rows)


def test_quality_is_logged_while_training(judged):
    log = (judged / "metrics.csv").read_text()
    assert "quality/FD-own" in log and "quality/nearest" in log


@pytest.mark.parametrize(("values", "stops", "best"), [
    ([3, 2, 1], False, 3), ([3, 4, 2, 5], False, 3), ([3, 4, 4], True, 1), ([math.nan, 4, 5, 5], True, 2),
])
def test_a_run_stops_after_as_many_judgements_without_a_new_best_as_patience_says_and_keeps_its_best_model(
    values, stops, best, monkeypatch, tmp_path
):
    held, stored = range(9), {"adapter": {"codec": {"_target_": "mmdiff.adapters.audio.codec.MelCodec"}}}
    files = []

    def save(model, config, path, *, bases, **facts):
        files.append((path, facts))

    monkeypatch.setattr(Quality, "_judged", lambda self, pipeline, context: {"FD-own": given.pop(0)})
    monkeypatch.setattr("mmdiff.training.quality.Pipeline", lambda model, header: None)
    validation = SimpleNamespace(steps=1, value=None)
    trainer = SimpleNamespace(
        world_size=1, is_global_zero=True, should_stop=False, loggers=[], save_checkpoint=lambda path: None,
        strategy=SimpleNamespace(broadcast=lambda values: values),
        precision_plugin=SimpleNamespace(val_step_context=None),
    )
    module = SimpleNamespace(
        averaged=SimpleNamespace(eval=lambda: None), model=SimpleNamespace(train=lambda: None), finite=lambda: True
    )
    given, first = list(values), Quality(tmp_path, stored, held, held, validation, every=1, patience=2, save=save)
    for step in (1, 2):
        first.act(trainer, module, step)
    again = Quality(tmp_path, stored, held, held, validation, every=1, patience=2, save=save)
    again.load_state_dict(first.state_dict())                         # a continued run goes on counting
    for step in range(3, len(values) + 1):
        again.act(trainer, module, step)
        Checkpoints(1, tmp_path, {}, chooser=again, save=save).act(trainer, module, step)
    assert trainer.should_stop == stops == bool(again.stopped)
    assert files[-1] == (tmp_path / "model.safetensors", {"step": best, "best": {"FD": values[best - 1]}})
    if stops:
        assert f"model.safetensors is that of step {best}" in again.stopped


def test_a_judgement_that_fails_for_whatever_reason_is_told_and_the_run_goes_on(monkeypatch, tmp_path):
    stored = {"adapter": {"codec": {"_target_": "mmdiff.adapters.audio.codec.MelCodec"}}}
    monkeypatch.setattr("mmdiff.training.quality.Pipeline", lambda model, header: 1 / 0)
    trainer = SimpleNamespace(
        world_size=1, is_global_zero=True, should_stop=False, loggers=[],
        strategy=SimpleNamespace(broadcast=lambda values: values),
    )
    module = SimpleNamespace(averaged=SimpleNamespace(eval=lambda: None), model=SimpleNamespace(train=lambda: None))
    quality = Quality(tmp_path, stored, range(9), range(9), SimpleNamespace(steps=1, value=None), every=1)
    with pytest.warns(UserWarning, match="step 5 is not judged: division by zero"):
        quality.act(trainer, module, 5)
    assert not trainer.should_stop


@pytest.mark.parametrize("wrong", [{"monitor": "loss"}, {"patience": 0}, {"n": 3}])
def test_impossible_settings_of_quality_are_refused(wrong):
    stored = {"adapter": {"codec": {"_target_": "mmdiff.adapters.audio.codec.MelCodec"}}}
    with pytest.raises(ValueError, match=f"quality.{next(iter(wrong))}"):
        Quality("run", stored, [], [], SimpleNamespace(steps=1), **wrong)


@pytest.mark.parametrize(("words", "text"), [
    (["nowhere"], "no model at nowhere: there is no such run directory or file"),
    (["RUN", "evaluation=video_v1"], "makes audio: judge it with evaluation=audio_v1"),
    (["RUN", "evaluation.m=3"], "no key 'evaluation.m'"),
    (["RUN", "-m", "evaluation.n=10,20"], "over sampler, guidance, engine, precision"),
    (["RUN", "evaluation.n=2"], "n >= 8"), ([], "say what to judge"), (["--compare", "a.json"], "takes two reports"),
    (["RUN", "evaluation.embedder=no.safetensors"], "there is no embedder"),
])
def test_a_mistake_is_told_in_a_line(judged, words, text):
    with pytest.raises(ValueError, match=text):
        command.main([str(judged) if w == "RUN" else w for w in words])
