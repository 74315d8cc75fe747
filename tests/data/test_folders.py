import json
import os
import unicodedata
from pathlib import Path

import pytest
import torch

from mmdiff.data.folders import FolderDataset
from mmdiff.data.labels import encode_labels
from mmdiff.data.reader import Reader
from mmdiff.data.splits import split


class Numbers(Reader):
    """A text file with numbers is a sample."""

    suffixes = (".txt",)

    def read(self, path, rng=None):
        try:
            return torch.tensor([[float(v) for v in path.read_text().split()]])
        except ValueError:
            raise ValueError("it holds no numbers") from None


def write(root: Path, names):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{i} {i + 1}")


def test_sub_folders_are_classes(tmp_path):
    write(tmp_path, ["cat/a.txt", "cat/deep/b.txt", "dog/c.TXT", "dog/readme.md"])
    data = FolderDataset(Numbers(), tmp_path)
    assert len(data) == 3 and data.fields == {"label": ["cat", "dog"]}
    assert data.read(0)[1] == {"label": "cat"} and data.name(1) == "cat/deep/b.txt"


def test_a_pattern_gives_columns_of_which_some_condition(tmp_path):
    write(tmp_path, [f"{d}_{s}_{i}.txt" for d in (0, 7) for s in ("ann", "bob") for i in range(3)] + ["odd.txt"])
    data = FolderDataset(
        Numbers(), tmp_path, pattern=r"(?P<digit>\d)_(?P<speaker>\w+)_(?P<index>\d+)", labels=["speaker", "digit"]
    )
    assert data.fields == {"speaker": ["ann", "bob"], "digit": ["0", "7"]}
    assert data.column(0)["index"] == "0" and "index" not in data.read(0)[1]
    assert data.skipped[0][0] == "odd.txt"
    train, val = split(data, {"index": [0]})
    assert len(train) == 8 and len(val) == 4 and all(val.column(i)["index"] == "0" for i in range(4))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_gives_free_columns(tmp_path, kind):
    write(tmp_path, ["a.txt", "b.txt"])
    rows = [{"file": "a.txt", "mood": "calm", "tempo": 90}, {"file": "b.txt", "mood": "wild", "tempo": 180}]
    table = tmp_path / f"labels.{kind}"
    if kind == "csv":
        table.write_text("file,mood,tempo\n" + "".join(f"{r['file']},{r['mood']},{r['tempo']}\n" for r in rows))
    else:
        table.write_text("\n".join(map(json.dumps, rows)))
    data = FolderDataset(Numbers(), tmp_path, table=table, scalars=["tempo"])
    assert data.fields == {"mood": ["calm", "wild"], "tempo": (90.0, 180.0)}
    assert data.read(1)[1]["mood"] == "wild"


def test_unreadable_files_are_counted_named_and_skipped(tmp_path):
    write(tmp_path, ["a.txt", "b.txt"])
    (tmp_path / "bad.txt").write_text("not a number")
    report = FolderDataset(Numbers(), tmp_path).report()
    assert report["kept"] == 2 and report["skipped"] == [["bad.txt", "it holds no numbers"]]


def test_a_folder_with_nothing_usable_says_what_was_looked_for(tmp_path):
    (tmp_path / "bad.txt").write_text("not a number")
    with pytest.raises(ValueError, match=r"looked for \.txt .*1 file\(s\) were skipped\n  bad.txt: it holds no"):
        FolderDataset(Numbers(), tmp_path)
    for name in ("a.mid", "b.MID", "notes"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"skipped; other files there: 2 \.mid, 1 no ending\n"):
        FolderDataset(Numbers(), tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        FolderDataset(Numbers(), tmp_path / "none")


def test_a_column_that_is_not_there_is_named(tmp_path):
    write(tmp_path, ["cat/a.txt"])
    with pytest.raises(ValueError, match="no column 'lable'.*did you mean 'label'"):
        FolderDataset(Numbers(), tmp_path, labels=["lable"])


def test_a_split_by_share_is_stable_when_files_are_added(tmp_path):
    write(tmp_path, [f"{i:03d}.txt" for i in range(100)])
    data = FolderDataset(Numbers(), tmp_path)
    train, val = split(data, 0.2)
    assert (len(train), len(val)) == (80, 20)
    before = {val.name(i) for i in range(20)}
    write(tmp_path, [f"{i:03d}.txt" for i in range(100, 110)])
    train, val = split(FolderDataset(Numbers(), tmp_path), 0.2)
    assert len(before - {val.name(i) for i in range(len(val))}) <= 4


def test_impossible_splits_are_refused(tmp_path):
    write(tmp_path, ["x/a.txt", "x/b.txt"])
    data = FolderDataset(Numbers(), tmp_path)
    for val, text in [({"label": ["y"]}, "nothing would be held out"), ({"labl": ["x"]}, "did you mean 'label'"),
                      ({"label": ["x"]}, "none is left"), (1.5, "share in")]:
        with pytest.raises(ValueError, match=text):
            split(data, val)


def test_links_are_followed_and_what_is_not_used_is_told(tmp_path):
    root = tmp_path / "snd"
    write(root, ["hat/a.txt", ".git/x.txt", "hat/.ipynb_checkpoints/a.txt", "hat/._b.txt", "hat/notes.md"])
    write(tmp_path, ["elsewhere/deep/k.txt", "one.txt"])
    (root / "kick").symlink_to("../elsewhere")
    (root / "hat" / "linked.txt").symlink_to(tmp_path / "one.txt")
    (root / "hat" / "again").symlink_to("..")
    (root / "hat" / "gone.txt").symlink_to("nowhere")
    os.mkfifo(root / "hat" / "pipe.txt")
    (root / os.fsdecode(b"caf\xe9.txt")).write_text("1")
    data = FolderDataset(Numbers(), root)
    assert [data.name(i) for i in range(len(data))] == ["hat/a.txt", "hat/linked.txt", "kick/deep/k.txt"]
    assert data.fields == {"label": ["hat", "kick"]}
    reasons = dict(map(tuple, data.report()["skipped"]))
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        ".git": "it is hidden", "hat/.ipynb_checkpoints": "it is hidden", "hat/._b.txt": "it is hidden",
        "hat/again": "it is a link to a folder that it lies in", "hat/gone.txt": "the link cannot be opened",
        "hat/pipe.txt": "it is no ordinary file", "caf\\xe9.txt": "its name is not UTF-8",
    }
    assert data.report()["other_files"] == {".md": 1}


def test_a_folder_that_two_links_lead_to_is_read_for_both(tmp_path):
    write(tmp_path, ["real/a.txt"])
    (tmp_path / "root").mkdir()
    for name in ("x", "y"):
        (tmp_path / "root" / name).symlink_to("../real")
    assert FolderDataset(Numbers(), tmp_path / "root").fields == {"label": ["x", "y"]}


def test_names_that_differ_in_unicode_form_alone_are_one_class(tmp_path):
    for i, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / unicodedata.normalize(form, "Träger")
        folder.mkdir()
        (folder / f"{i}.txt").write_text("1 2")
    data = FolderDataset(Numbers(), tmp_path)
    assert data.fields == {"label": ["Träger"]}
    rows = [data.read(0)[1], {"label": unicodedata.normalize("NFD", "Träger")}]
    assert encode_labels(data.fields, rows)["label"].tolist() == [0, 0]


def test_a_table_may_name_files_by_absolute_paths(tmp_path, monkeypatch):
    write(tmp_path, ["snd/a.txt", "other/b.txt"])
    (tmp_path / "t.csv").write_text(f"file,mood\n{tmp_path}/snd/a.txt,calm\n{tmp_path}/other/b.txt,wild\n")
    monkeypatch.chdir(tmp_path)
    data = FolderDataset(Numbers(), "snd", table="t.csv")
    assert [data.name(i) for i in range(2)] == ["a.txt", str(tmp_path / "other/b.txt")]


@pytest.mark.parametrize("nothing", ["", "nan", "NaN", " nan "])
def test_a_scalar_that_is_not_told_widens_no_range(tmp_path, nothing):
    write(tmp_path, ["a.txt", "b.txt", "c.txt"])
    (tmp_path / "t.csv").write_text(f"file,tempo\na.txt,{nothing}\nb.txt,3\nc.txt,5e1\n")
    data = FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv", scalars=["tempo"])
    assert data.fields == {"tempo": (3.0, 50.0)}
    assert encode_labels(data.fields, [data.read(i)[1] for i in range(3)])["tempo"].isnan().tolist() == [1, 0, 0]
    assert len(split(data, {"tempo": [3]})[1]) == 1


def test_nothing_told_in_json_is_nothing_told_of_classes_and_scalars_either(tmp_path):
    write(tmp_path, ["a.txt", "b.txt"])
    rows = ['{"file": "a.txt", "mood": NaN, "tempo": NaN}', '{"file": "b.txt", "mood": "x", "tempo": 2}']
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    data = FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.jsonl", scalars=["tempo"])
    assert data.fields == {"mood": ["x"], "tempo": (2.0, 2.0)}
    assert data.read(0)[1] == {"mood": None, "tempo": None}


@pytest.mark.parametrize("cell", ["fast", '"1,5"', "inf", "1e999"])
def test_a_number_that_is_none_names_row_column_and_remedy(tmp_path, cell):
    write(tmp_path, ["a.txt", "b.txt"])
    (tmp_path / "t.csv").write_text(f"file,tempo\na.txt,1\nb.txt,{cell}\n")
    with pytest.raises(ValueError, match=r"t.csv, row 2 \(b.txt\): tempo is .* no number.*data.scalars"):
        FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv", scalars=["tempo"])


def test_a_scalar_that_no_sample_tells_is_refused_by_name(tmp_path):
    write(tmp_path, ["a.txt"])
    (tmp_path / "t.csv").write_text("file,tempo\na.txt,\n")
    with pytest.raises(ValueError, match="tempo of .*no sample tells"):
        FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv", scalars=["tempo"])


def test_a_column_that_names_each_file_is_no_class_unless_asked_for(tmp_path):
    write(tmp_path, [f"{i}.txt" for i in range(40)])
    (tmp_path / "t.csv").write_text("file,id,mood\n" + "".join(f"{i}.txt,n{i},{i % 3}\n" for i in range(40)))
    with pytest.warns(UserWarning, match="'id'.*40 values in 40 files.*data.labels"):
        data = FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv")
    assert data.fields == {"mood": ["0", "1", "2"]} and list(data.report()["unused_columns"]) == ["id"]
    assert data.column(3)["id"] == "n3"
    asked = FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv", labels=["id"])
    assert len(asked.fields["id"]) == 40


def test_an_empty_column_conditions_nothing_and_is_told(tmp_path):
    write(tmp_path, ["a.txt", "b.txt"])
    (tmp_path / "t.csv").write_text("file,mood,\na.txt,0,\nb.txt,1,\n")           # a comma too many in each line
    data = FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv")
    assert data.fields == {"mood": ["0", "1"]} and "is empty" in data.report()["unused_columns"]["column 3"]
    with pytest.raises(ValueError, match="column 3 of .*no sample tells a class; leave it out of data.labels"):
        FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv", labels=["column 3"])


def test_a_file_that_a_sample_refers_to_is_checked_again_when_it_changes(tmp_path):
    write(tmp_path, ["a.txt"])
    (tmp_path / "a.bin").write_bytes(b"1")

    class Two(Numbers):
        suffixes, seen = (".txt",), []

        def files(self, path):
            return [path, path.with_suffix(".bin")]

        def read(self, path, rng=None):
            Two.seen.append(path.name)
            return super().read(path)

    Two.__qualname__ = "Two"
    globals()["Two"] = Two                                            # so that it can be pickled
    for content, reads in ((b"1", 1), (b"1", 1), (b"22", 2)):
        if (tmp_path / "a.bin").read_bytes() != content:
            (tmp_path / "a.bin").write_bytes(content)
        FolderDataset(Two(), tmp_path)
        assert len(Two.seen) == reads
    (tmp_path / "a.bin").unlink()
    FolderDataset(Two(), tmp_path)
    assert len(Two.seen) == 3


def test_files_are_read_once_until_they_change_and_bad_ones_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "root", ["a.txt", "b.txt"])
    (tmp_path / "root" / "bad.txt").write_text("x")
    seen, read = [], Numbers.read
    monkeypatch.setattr(Numbers, "read", lambda self, path: seen.append(path.name) or read(self, path))
    first = FolderDataset(Numbers(), tmp_path / "root")
    assert sorted(seen) == ["a.txt", "b.txt", "bad.txt"]
    (tmp_path / "root" / "a.txt").write_text("1 2 3")
    seen.clear()
    second = FolderDataset(Numbers(), tmp_path / "root")
    assert sorted(seen) == ["a.txt", "bad.txt"]
    assert first.extents == [(2,), (2,)] and second.extents == [(3,), (2,)] and second.skipped == first.skipped
    seen.clear()
    other = Numbers()
    other.setting = 1
    FolderDataset(other, tmp_path / "root")
    assert len(seen) == 3


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere"])
def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch, home):
    monkeypatch.delenv("MMDIFF_CACHE")
    monkeypatch.setenv("HOME", home)
    write(tmp_path, ["a.txt"])
    for _ in range(2):
        assert len(FolderDataset(Numbers(), tmp_path)) == 1


def test_a_pattern_that_is_none_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"data.pattern='\(\?P<a' is no regular expression: missing >"):
        FolderDataset(Numbers(), tmp_path, pattern="(?P<a")
