"""What a personal run is judged by: the data of its base, the base beside it, and its own files."""

from functools import partial

import numpy as np
import pytest
import soundfile
import torch

from mmdiff.cli.eval import main
from mmdiff.config.overrides import composed
from mmdiff.evaluation import bench, evaluated
from mmdiff.evaluation.real import DataSource, data_of
from mmdiff.evaluation.subject import ASKED, BASE, FILES, NOT_ASKED, base_of, described, nearness, subject
from mmdiff.generation.pipeline import load
from mmdiff.training.train import train
from tests.conftest import TINY

LOOP = [word for word in TINY if not word.startswith(("adapter.", "data."))]
PATTERN = r"data.pattern='(?P<speaker>[a-z]+)_\d+'"


def test_what_is_near_is_counted_and_how_far_apart_it_is():
    files = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    others = torch.tensor([[10.0, 0.0], [10.0, 1.0]])
    made = {ASKED: torch.tensor([[0.0, 2.0], [0.0, 3.0]]), NOT_ASKED: torch.tensor([[9.0, 0.0], [0.0, 0.5]])}
    rows = nearness(lambda x: x, files, others, made)
    assert rows[FILES]["near"].value == 1 and rows[FILES]["apart"].value == 1
    assert rows[ASKED]["near"].value == 1 and rows[ASKED]["apart"].value == 1.5
    assert rows[NOT_ASKED]["near"].value == 0.5 and rows[NOT_ASKED]["n"] == 2
    line = described({**rows, BASE: rows[NOT_ASKED]})
    assert "asked for the subject 100%" in line and "of others 50%, of the base's 50%, of the files 100%" in line


@pytest.fixture(scope="module")
def personal(tmp_path_factory):
    """A base of two speakers of whom a half was held out, and a run that has learned a third."""
    root = tmp_path_factory.mktemp("subject")
    for folder, speakers, n in (("old", ("bob", "cleo"), 10), ("anna", ("anna",), 4)):
        (root / folder).mkdir()
        for s, speaker in enumerate(speakers):
            for i in range(n):
                wave = np.sin(np.arange(2000) * (0.05 + 0.1 * s + 0.01 * i)) * np.linspace(0.8, 0.1, 2000)
                soundfile.write(root / folder / f"{speaker}_{i}.wav", wave, 8000)
    words = [*[w for w in TINY if not w.startswith("data.")], PATTERN, "trainer.max_steps=1", "sampler.steps=1"]
    train(composed("train", [*words, f"data.root={root / 'old'}", "loader.val=0.5", f"run={root / 'base'}"]))
    train(composed("train", ["experiment=personal", *LOOP, f"init={root / 'base'}", f"data.root={root / 'anna'}",
                             f"run={root / 'mine'}", "lora=2", "prior.n=4", "optim.warmup=0", "validation.every=0",
                             "preview.every=0", "subject=speaker:anna", "data.consent=yes", "trainer.max_steps=1",
                             "data.labels=[]"]))
    return root


def test_a_personal_run_is_judged_by_the_data_of_its_base_beside_it_and_by_its_own_files(personal, monkeypatch, capsys):
    monkeypatch.setenv("MMDIFF_CACHE", str(personal / "cache"))
    monkeypatch.setattr(bench, "train_embedder", partial(evaluated.train_embedder, steps=2))
    assert base_of(personal / "mine") == personal / "base" and base_of(personal / "base") is None
    main([f"run={personal / 'mine'}", "evaluation.n=8", "sampler.steps=1", "evaluation.predict=0"])
    out = capsys.readouterr().out
    assert f"The model against {personal / 'base'}" in out and "Of samples that are asked for the subject" in out
    page = (personal / "mine" / "eval" / "report.md").read_text()
    rows = page.split("## The subject")[1].split("##")[0]
    assert all(f"| {name} | {n} |" in rows for name, n in ((FILES, 4), (ASKED, 8), (NOT_ASKED, 8), (BASE, 8)))
    records = [file for file in (personal / "mine/eval/subject").rglob("*.json") if not file.name.startswith(".")]
    assert len(records) == 8 and all('"anna"' in file.read_text() for file in records)


def test_a_base_that_has_moved_is_found_by_base_and_said_to_be_missing_without(personal, monkeypatch, capsys):
    monkeypatch.setenv("MMDIFF_CACHE", str(personal / "cache"))
    base, there = personal / "base", personal / "there"
    base.rename(there)
    try:
        model = load(personal / "mine", base=str(there)).model
        parts = partial(data_of, personal / "mine", model, composed("train", TINY))
        train_set, held_out = parts(DataSource(base=str(there)))
        assert len(train_set) == len(held_out) == 10 and not capsys.readouterr().out
        assert base_of(personal / "mine", str(there)) == there and base_of(personal / "mine") is None
        assert base_of(personal / "mine", str(there / "model.safetensors")) == there
        assert len(parts(DataSource())[0]) == 4
        assert "is judged by its own files alone, and not beside its base" in capsys.readouterr().out
    finally:
        there.rename(base)


def test_files_of_a_subject_that_are_gone_do_not_cost_the_report(personal, capsys):
    (personal / "anna").rename(personal / "gone")
    try:
        pipeline = load(personal / "mine")
        assert subject(personal / "mine", None, pipeline, None) == {}
        assert "anna is not judged by its own files: " in capsys.readouterr().out
    finally:
        (personal / "gone").rename(personal / "anna")
