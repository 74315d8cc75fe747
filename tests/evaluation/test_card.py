"""The card of a run says what its files say, and what nobody told it says so."""

import json
import shutil

import pytest
import yaml

from mmdiff.cli import card as command
from mmdiff.config.build import ConfigError
from mmdiff.config.header import read_header
from mmdiff.store import save_model
from tests.provenance.models import TINY, Trial, made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory of points with a report in which one group is served worst."""
    run = made("points", tmp_path_factory.mktemp("cone"))
    value = {"value": 0.5, "low": 0.25, "high": 0.75}
    gap = {"by": "solid", "metric": "right", "worst": "cone", "its value": value, "real": {**value, "value": 1.0},
           "best": "ball", "gap": value, "beyond chance": "yes"}
    report = {
        "protocol": {"name": "points_v1"}, "protocol_sha256": "ab", "model": {"sha256": read_header(run)["sha256"]},
        "rows": {"real": {"right": {**value, "value": 1.0}}, "model": {"right": value},
                 "control: noise": {"right": value}},
        "gaps": [gap, {**gap, "worst": "box", "beyond chance": "no"}],
    }
    (run.parent / "eval").mkdir()
    (run.parent / "eval" / "report.json").write_text(json.dumps(report))
    (run.parent / "data.json").write_text(json.dumps({"training": ["a", "b"], "held out": ["c"], "skipped": []}))
    return run.parent


def test_a_card_has_the_facts_of_the_run_under_a_header_that_can_be_read(run, tmp_path):
    out = tmp_path / "README.md"
    assert command.main([str(run), "licence=CC-BY-4.0", "use=To look at.", f"out={out}"]) == 0
    text = out.read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head == {"license": "cc-by-4.0", "library_name": "mmdiff", "tags": ["mmdiff", "points"]}
    for said in ("2 samples to learn from, 1 held out", "Told `solid`: 7 classes: ball, box", "## Licence\n\nCC-BY-4.0",
                 "| right | 1 [0.25, 0.75] | 0.5 [0.25, 0.75] |", "To look at.",
                 read_header(run / "model.safetensors")["sha256"],
                 "- solid cone, by right: 0.5 [0.25, 0.75], real samples 1 [0.25, 0.75]; best is ball"):
        assert said in text, said
    assert "control: noise" not in text and "box, by" not in text and "earlier state" not in text


def test_what_was_not_told_or_measured_is_said_and_no_file_is_replaced_unasked(run, tmp_path):
    alone = tmp_path / "run"
    alone.mkdir()
    trial = Trial("points", [*TINY["points"], "data.n=8", "loader.limit=8"], tmp_path)
    bases = [{"name": "voices", "sha256": "ab" * 32, "step": 3}, {"name": "speech", "sha256": "cd" * 32, "step": 9}]
    save_model(trial.awake, trial.stored, alone / "model.safetensors", step=1, consent="Anna, 2026", bases=bases)
    assert command.main([str(alone)]) == 0
    text = (alone / "README.md").read_text()
    assert "Not measured: `mmdiff eval RUN` does." in text and text.count("Not told by those who trained it.") == 2
    assert "Consent of those who are seen or heard: Anna, 2026" in text and "license:" not in text
    assert text.index(f"Began as voices (step 3, SHA-256 `{'ab' * 32}`)") < text.index("Began as speech (step 9, SHA")
    with pytest.raises(ConfigError, match=r"README\.md is there already"):
        command.main([str(alone)])
    shutil.copytree(run / "eval", alone / "eval")
    assert command.main([str(alone), "replace=true"]) == 0
    assert "Of an earlier state" in (alone / "README.md").read_text()
    with pytest.raises(ConfigError, match="say of which run"):
        command.main([str(tmp_path / "none")])
