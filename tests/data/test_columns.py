"""Labels from folders, names and a table at once."""

import pytest

from mmdiff.data.folders import FolderDataset
from tests.data.test_folders import Numbers, write


def columns(root, **options):
    data = FolderDataset(Numbers(), root, **options)
    return [data.column(i) for i in range(len(data))], data


def test_folder_name_and_table_are_merged_by_name(tmp_path):
    root = tmp_path / "root"
    write(root, ["kick/ann_1.txt", "kick/bob_2.txt", "hat/ann_3.txt"])
    cells = ["file,mood,speaker", "kick/ann_1.txt,calm,", "kick/bob_2.txt,wild,bob", "hat/ann_3.txt,calm,ann"]
    (tmp_path / "t.csv").write_text("\n".join(cells))
    rows, data = columns(root, pattern=r"(?P<speaker>\w+)_(?P<take>\d)", table=tmp_path / "t.csv", scalars=["take"])
    assert rows == [
        {"label": "kick", "speaker": "ann", "take": 1.0, "mood": "calm"},
        {"label": "kick", "speaker": "bob", "take": 2.0, "mood": "wild"},
        {"label": "hat", "speaker": "ann", "take": 3.0, "mood": "calm"},
    ]
    assert data.fields == {
        "label": ["hat", "kick"], "speaker": ["ann", "bob"], "take": (1.0, 3.0), "mood": ["calm", "wild"]
    }


def test_two_places_that_differ_are_an_error_that_names_the_file_and_both_values(tmp_path):
    root = tmp_path / "root"
    write(root, ["kick/ann_1.txt", "hat/bob_2.txt"])
    (tmp_path / "t.csv").write_text("file,label\nkick/ann_1.txt,kick\nhat/bob_2.txt,snare\n")
    both = r"row 2 \(hat/bob_2.txt\): label is 'hat' by its folder and 'snare' by t.csv; .*data.folders"
    with pytest.raises(ValueError, match=both):
        columns(root, table=tmp_path / "t.csv")
    assert columns(root, table=tmp_path / "t.csv", folders=[])[1].fields == {"label": ["kick", "snare"]}
    assert columns(root, table=tmp_path / "t.csv", folders=["kind"])[1].fields["kind"] == ["hat", "kick"]
    with pytest.raises(ValueError, match=r"hat/bob_2.txt: label is 'hat' by its folder and 'bob' by its name"):
        columns(root, pattern=r"(?P<label>\w+)_\d")


def test_a_folder_that_all_files_lie_in_is_a_label_only_where_nothing_else_is_told(tmp_path):
    write(tmp_path, ["wavs/ann_1.txt", "wavs/bob_2.txt"])
    assert columns(tmp_path)[1].fields == {"label": ["wavs"]}
    assert columns(tmp_path, pattern=r"(?P<speaker>\w+)_\d")[1].fields == {"speaker": ["ann", "bob"]}
    (tmp_path / "t.csv").write_text(f"file,label\nwavs/ann_1.txt,calm\n{tmp_path}/wavs/bob_2.txt,wild\n")
    assert columns(tmp_path, table=tmp_path / "t.csv")[1].fields == {"label": ["calm", "wild"]}


def test_the_levels_of_folders_have_names(tmp_path):
    write(tmp_path, ["ann/calm/1.txt", "bob/wild/deep/2.txt", "bob/3.txt"])
    rows, _ = columns(tmp_path, folders=["speaker", "mood"])
    assert rows == [{"speaker": "ann", "mood": "calm"}, {"speaker": "bob"}, {"speaker": "bob", "mood": "wild"}]
    assert columns(tmp_path, folders=["speaker", "age"], labels=["speaker"], scalars=[])[1].fields == {
        "speaker": ["ann", "bob"]
    }


def test_folders_of_parts_of_the_data_are_a_split_and_no_class(tmp_path):
    write(tmp_path, ["train/kick/1.txt", "train/hat/2.txt", "test/kick/3.txt"])
    rows, data = columns(tmp_path)
    assert rows[0] == {"split": "test", "label": "kick"} and data.fields == {"label": ["hat", "kick"]}
    assert "names parts of the data" in data.report()["unused_columns"]["split"]
    write(tmp_path, ["snare/4.txt"])
    assert columns(tmp_path)[1].fields == {"label": ["snare", "test", "train"]}, "classes of such names are classes"
