"""Captions: from a cell, a file beside, a name; several of which a draw takes one; tags in another order."""

import json
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from mmdiff.core.rng import Purpose, stream
from mmdiff.data.captions import Tags, caption_file, captions, worded
from mmdiff.data.dataset import Subset
from mmdiff.data.folders import FolderDataset
from mmdiff.data.labels import TEXT
from mmdiff.data.loaders import Loading, eval_loader, train_loader
from mmdiff.data.reader import Reader

SEVERAL = ["red disc", "a disc, red"]


class Numbers(Reader):
    suffixes = (".num",)

    def read(self, path, rng=None):
        return torch.full((1, 4), float(path.read_text()) + (0 if rng is None else rng.random()))


def numbers(root, *names, **options):
    root.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        (root / f"{name}.num").write_text(str(i))
    return lambda **more: FolderDataset(Numbers(), root, **{**options, **more})


@pytest.mark.parametrize(("cell", "found"), [
    ("a disc", ["a disc"]), (" a\n disc\t", ["a disc"]), ("", []), (None, []), ("[]", []), (float("nan"), []),
    ('["red disc", "", "a disc"]', ["red disc", "a disc"]), (["u", "v"], ["u", "v"]), ("[red] disc", ["[red] disc"]),
    ("[1, 2]", ["[1, 2]"]), (7, ["7"]), ("gro\u0308\u00dfe", ["größe"]), ("[" * 5000, ["[" * 5000]),
])
def test_a_cell_holds_one_caption_or_a_list_of_them(cell, found):
    assert captions(cell) == found


@pytest.mark.parametrize("cell", [{"a": 1}, True, [["a"]], [{}]])
def test_what_is_no_text_is_refused(cell):
    with pytest.raises(ValueError, match="no text and no list of texts"):
        captions(cell)


@pytest.mark.parametrize("cell", ['["a disc", "red', "['a disc', 'red']", ' ["a disc", null]', '["a disc", 3]'])
def test_a_list_that_json_does_not_know_is_no_caption_as_it_stands(cell, tmp_path):
    with pytest.raises(ValueError, match="it begins as a list of texts and is none in JSON"):
        captions(cell)
    make = numbers(tmp_path / "in", "a")
    (tmp_path / "in" / "a.txt").write_text(cell)
    with pytest.raises(ValueError, match="a.txt holds no caption: it begins as a list"):
        make(captions=True)


def test_a_folder_that_is_a_sample_has_its_caption_beside_it_whatever_dots_are_in_its_name(tmp_path):
    (tmp_path / "walk.v2").mkdir()
    (tmp_path / "walk.v2.txt").write_text("a walk")
    (tmp_path / "walk.txt").write_text("another walk")
    assert caption_file(tmp_path / "walk.v2").read_text() == "a walk"
    assert caption_file(tmp_path / "walk.v2.wav").read_text() == "a walk"


def test_half_a_letter_is_refused_with_the_file_that_has_it(tmp_path):
    make = numbers(tmp_path / "in", "a")
    (tmp_path / "t.jsonl").write_text('{"file": "a.num", "caption": "disc \\ud83d"}')
    with pytest.raises(ValueError, match="a.num.*half of a letter"):
        make(table=tmp_path / "t.jsonl", texts=["caption"])


def test_csv_jsonl_names_and_files_beside_give_the_same_captions(tmp_path):
    make = numbers(tmp_path / "in", "red disc", "blue square")
    (tmp_path / "t.csv").write_text('file,caption\nred disc.num,red disc\nblue square.num,blue square\n')
    rows = [{"file": f"{name}.num", "caption": name} for name in ("red disc", "blue square")]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("red disc", "blue square"):
        (tmp_path / "in" / f"{name}.txt").write_text(f"{name}\n")
    ways = [
        {"table": tmp_path / "t.csv", "texts": ["caption"]}, {"table": tmp_path / "t.jsonl", "texts": ["caption"]},
        {"pattern": "(?P<caption>.*)", "texts": ["caption"]}, {"captions": True},
    ]
    for way in ways:
        data = make(**way)
        assert data.fields == {"caption": TEXT}
        told = {data.name(i): (data.read(i)[1], data.captions(i)) for i in range(2)}
        assert told["red disc.num"] == ({"caption": "red disc"}, {"caption": ["red disc"]})


def test_lists_and_objects_that_nobody_asked_for_condition_nothing_and_are_told(tmp_path):
    make = numbers(tmp_path / "in", "a", "b", "c", table=tmp_path / "t.jsonl")
    boxes = [[1, 2], {"x": [3]}, None]
    rows = [{"file": f"{name}.num", "kind": "k", "boxes": box} for name, box in zip("abc", boxes, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(UserWarning, match="column 'boxes' of .*: its cells are lists or objects of JSON, so"):
        data = make()
    assert list(data.fields) == ["kind"] and list(data.report()["unused_columns"]) == ["boxes"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(make(labels=["kind"]).fields) == ["kind"]         # what conditions is said: nothing to tell
    with pytest.raises(ValueError, match=r"row 1 \(a.num\): boxes is \[1, 2\], no label and no number"):
        make(labels=["boxes"])


def test_several_captions_of_a_cell_are_one_for_validation_and_all_for_training(tmp_path):
    make = numbers(tmp_path / "in", "a", "b", "c", table=tmp_path / "t.jsonl", texts=["caption"])
    cells = [SEVERAL, json.dumps(SEVERAL), ""]
    rows = [json.dumps({"file": f"{name}.num", "caption": cell}) for name, cell in zip("abc", cells, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    data = make()
    assert [data.read(i)[1]["caption"] for i in range(3)] == ["red disc", "red disc", None]
    assert [data.captions(i) for i in range(3)] == [{"caption": SEVERAL}, {"caption": SEVERAL}, {}]
    data = Subset(data, [1])
    with pytest.raises(ValueError, match=r"row 1 \(a.num\): caption is \[.*; a list of texts is captions, data"):
        make(texts=[], labels=["caption"])

    def told(draws, **loading):
        order = Loading(batch_size=1, **loading).order(data, seed=3, steps=draws)
        return [batch.labels["caption"][0] for batch in train_loader(data, order, tags=Loading(**loading).tags)]

    first = told(40)
    assert told(60)[:40] == first and set(first) == set(SEVERAL)      # fixed by (seed, draw), whatever the run's length
    assert min(Counter(first).values()) > 8
    assert next(iter(eval_loader(data, 1))).labels["caption"] == ["red disc"]
    assert set(told(40, tags=Tags())) == {*SEVERAL, "red, a disc"}


def test_captions_change_nothing_of_what_is_read(tmp_path):
    make = numbers(tmp_path / "in", "a", table=tmp_path / "t.jsonl")
    (tmp_path / "t.jsonl").write_text(json.dumps({"file": "a.num", "caption": SEVERAL}))
    told, plain = make(texts=["caption"]), numbers(tmp_path / "in", "a")()
    xs = [next(iter(train_loader(d, Loading(batch_size=1).order(d, seed=0, steps=1)))).samples.x for d in (told, plain)]
    assert torch.equal(*xs)


def test_files_beside_are_told_where_they_are_not_read_without_their_file_or_none(tmp_path):
    make = numbers(tmp_path / "in", "a", "b")
    with pytest.raises(ValueError, match=r"none of 2 files in .* has its caption beside it, such as a.txt"):
        make(captions=True)
    (tmp_path / "in" / "a.txt").write_text("\ufeffa disc\nof red\n")
    (tmp_path / "in" / "lost.txt").write_text("nothing")
    with pytest.warns(UserWarning, match="1 of 2 files in .*, which is not read: data.captions=true"):
        assert make().report()["unread_captions"] == 1
    data = make(captions=True)
    assert [data.read(i)[1] for i in range(2)] == [{"caption": "a disc of red"}, {"caption": None}]
    assert data.report()["skipped"] == [["lost.txt", "it is a caption without its file"]]
    with pytest.raises(ValueError, match="there is a column 'caption' already: take that by data.texts="):
        make(captions=True, pattern="(?P<caption>.*)")
    (tmp_path / "in" / "b.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="b.txt holds no caption: .*UTF-8"):
        make(captions=True)


def test_a_column_of_captions_is_no_classes_unasked_and_the_way_to_them_is_told(tmp_path):
    names = [f"take {i}" for i in range(12)]
    make = numbers(tmp_path / "in", *names, pattern="(?P<caption>.*)")
    with pytest.warns(UserWarning, match=r"12 values in 12 files are no classes.*data.texts=\[caption\] as captions"):
        assert make().fields == {}
    assert make(texts=["caption"]).fields == {"caption": TEXT}
    few = numbers(tmp_path / "few", "a red disc", "a blue disc", "a disc", pattern="(?P<caption>.*)")
    with pytest.warns(UserWarning, match="3 values in 3 files are no classes"):
        assert few().fields == {}                                     # however few, a sentence is no class
    assert list(numbers(tmp_path / "two", "red disc", "blue disc", pattern="(?P<kind>.*)")().fields) == ["kind"]
    with pytest.raises(ValueError, match="caption is in data.scalars and in data.texts"):
        make(texts=["caption"], scalars=["caption"])
    with pytest.raises(ValueError, match="no column 'captoin'.*did you mean 'caption'"):
        make(texts=["captoin"])


def test_tags_keep_the_first_and_lose_none_but_those_that_are_dropped():
    caption = "anna, red hair, smiling, outdoors, anna again"
    tags, seen = Tags(keep=1, drop=0.3, variants=6), set()
    for draw in range(100):
        made = tags(caption, stream(0, draw, Purpose.WORDS))
        assert made == tags(caption, stream(0, draw, Purpose.WORDS))
        parts = made.split(", ")
        assert parts[0] == "anna" and not Counter(parts) - Counter(caption.split(", "))
        seen.add(made)
    assert 2 < len(seen) <= 6
    whole = {Tags(keep=2)(caption, stream(0, draw, Purpose.WORDS)) for draw in range(50)}
    assert all(sorted(made.split(", ")) == sorted(caption.split(", ")) for made in whole)
    assert {made.split(", ")[1] for made in whole} == {"red hair"}
    assert Tags(separator=";")("a, b", np.random.default_rng(0)) == "a, b"


def test_a_text_that_is_not_told_stays_so():
    assert worded({"caption": None, "kind": "u"}, {}, None, np.random.default_rng(0)) == {"caption": None, "kind": "u"}


@pytest.mark.parametrize("settings", [{"separator": " "}, {"keep": -1}, {"drop": 1.0}, {"variants": 0}])
def test_tags_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match="need a separator"):
        Tags(**settings)


def test_columns_are_what_a_model_that_goes_on_knows_them_as_though_each_file_has_another(tmp_path):
    make = numbers(tmp_path / "in", *(f"{digit}_anna_{digit}{digit}" for digit in range(10)),
                   pattern=r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<tempo>\d+)")
    with pytest.warns(UserWarning, match="10 values in 10 files are no classes"):
        assert list(make().fields) == ["speaker"]
    known = {"digit": [str(digit) for digit in range(10)], "tempo": (0.0, 99.0), "place": ["here"], "words": TEXT}
    found = make(fields=known)
    assert list(found.fields["digit"]) == known["digit"] and tuple(found.fields["tempo"]) == (0.0, 99.0)
    assert set(found.fields) == {"digit", "speaker", "tempo"} and found.read(3)[1]["digit"] == "3"
    with pytest.warns(UserWarning, match="digit"):
        assert list(make(fields={"speaker": ["bob"]}).fields) == ["speaker"]
    assert make(fields={"tempo": TEXT}).fields["tempo"] == TEXT
    assert list(make(fields=known, labels=["digit"]).fields) == ["digit"]
    assert tuple(make(fields=known, labels=["tempo"]).fields["tempo"]) == (0.0, 99.0)
