import json
from pathlib import Path

import pytest
import torch

from mmdiff.data.dataset import split
from mmdiff.data.folders import FolderDataset, read_table
from mmdiff.data.reader import Reader


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


def test_a_broken_table_is_named(tmp_path):
    (tmp_path / "t.jsonl").write_text("{oops")
    with pytest.raises(ValueError, match="t.jsonl is neither CSV nor JSONL"):
        read_table(tmp_path / "t.jsonl")
    with pytest.raises(ValueError, match="cannot read the table"):
        read_table(tmp_path / "none.csv")
