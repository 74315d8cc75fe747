"""Folders of generated files, and tables."""

import json

import pytest
import torch

from mmdiff.adapters.audio import score_notes as notes
from mmdiff.adapters.audio.mel import MelSpec
from mmdiff.adapters.audio.pictures import contact_sheet as audio_sheet
from mmdiff.adapters.points.render import Shown, sheet
from mmdiff.adapters.series.pictures import line_sheet
from mmdiff.adapters.video import score_shapes as shapes
from mmdiff.adapters.video.pictures import contact_sheet as video_sheet
from mmdiff.evaluation.report import page, plots
from mmdiff.metrics.bootstrap import Interval
from mmdiff.metrics.folder import generated
from mmdiff.metrics.rows import markdown, plain


def write(folder, name, facts):
    (folder / f"{name}.wav").write_bytes(b"sound")
    (folder / f"{name}.json").write_text(json.dumps(facts))


def test_files_come_with_the_labels_that_were_asked_for(tmp_path):
    write(tmp_path, "b", {"labels": {"digit": "7"}, "seed": 3})
    write(tmp_path, "a", {"labels": {"digit": 5}})
    (tmp_path / "preview.png").write_bytes(b"")
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / ".c.123.partial.wav").write_bytes(b"half")
    files = generated(tmp_path, suffix=".wav", fields=("digit",))
    assert [file.path.name for file in files] == ["a.wav", "b.wav"]
    assert [file.labels["digit"] for file in files] == [5, "7"]
    assert files[1].facts["seed"] == 3


def test_what_cannot_be_judged_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no \*\.wav in"):
        generated(tmp_path, suffix=".wav", fields=())
    write(tmp_path, "a", {"labels": {"digit": None}})
    with pytest.raises(ValueError, match=r"a\.json does not say which digit"):
        generated(tmp_path, suffix=".wav", fields=("digit",))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        generated(tmp_path, suffix=".wav", fields=("digit",))
    (tmp_path / "a.json").unlink()
    with pytest.raises(ValueError, match=r"a\.wav has no sidecar a\.json"):
        generated(tmp_path, suffix=".wav", fields=("digit",))


def test_rows_become_a_table_with_all_columns_in_order():
    rows = [{"row": "real", "n": 300, "FD": 0.14449}, {"row": "made", "n": 12, "digit": Interval(0.99, 0.985, 1.0)}]
    assert markdown(rows).splitlines() == [
        "| row | n | FD | digit |", "| --- | --- | --- | --- |", "| real | 300 | 0.144 |  |",
        "| made | 12 |  | 0.99 [0.985, 1] |",
    ]


def test_names_of_classes_stay_in_their_cells_in_markdown_and_html():
    name = "a | b <i>c\\| d\ne"
    table = markdown([{"": name, name: "x|y"}])
    assert table.splitlines() == [
        "|  | a \\| b \\<i>c\\\\| d e |", "| --- | --- |", "| a \\| b \\<i>c\\\\| d e | x\\|y |",
    ]
    shown = "a | b &lt;i&gt;c\\| d e"
    assert f"<tr><th></th><th>{shown}</th></tr><tr><td>{shown}</td><td>x|y</td></tr>" in page._html(table)


def test_a_dollar_in_a_name_begins_no_formula(tmp_path):
    formula = r"$\frac{$ and $5 to $6"
    tables = {formula: {"classes": [formula, "b"], "counts": [[1, 0], [0, 1]]}}
    rows = {"real": {formula: Interval(1.0, 0.5, 2.0)}, formula: {formula: Interval(1.0, 0.5, 2.0)}}
    points = [({"guidance.weak": formula}, 3.0, rows["real"])]
    wave = torch.zeros(1, 2000)
    mel = MelSpec(sample_rate=8000, n_fft=256, hop_length=64, n_mels=8, f_min=0, f_max=4000)
    drawn = [
        plots.confusions(tables, tmp_path / "a.png"), plots.intervals(rows, tmp_path / "b.png"),
        plots.curves(points, rows["real"], [formula], tmp_path / "c.png"),
        line_sheet([wave], [formula], tmp_path / "d.png"),
        video_sheet([torch.zeros(3, 2, 8, 8)], [formula], tmp_path / "e.png"),
        sheet([Shown(torch.rand(3, 20), formula)], tmp_path / "f.png"),
        audio_sheet([torch.zeros(8, 30)], [wave[0]], [formula], tmp_path / "g.png", mel=mel),
    ]
    assert all(path.stat().st_size for path in drawn)


def test_rows_become_json_that_keeps_every_digit():
    row = {"n": 3, "digit": Interval(0.123456789, 0.1, 0.2)}
    assert json.loads(json.dumps(plain(row))) == {"n": 3, "digit": {"value": 0.123456789, "low": 0.1, "high": 0.2}}


def test_a_median_of_an_even_number_lies_between_the_two_in_the_middle():
    values, right = torch.tensor([1.0, 9.0, 4.0, 2.0]), torch.ones(4, dtype=torch.bool)
    assert notes.summary(notes.Heard(right, values, torch.zeros(4)))["median cents"].value == 3
    row = shapes.summary(shapes.Seen(right, right, torch.ones(4), values, 10 * values))
    assert row["speed error, median"].value == 3 and row["acceleration, median"].value == 30
