"""A table of requests names the files of maps as one of training does: by columns, or an object of JSON."""

import json

import pytest

from mmdiff.cli.requests import requests_of
from mmdiff.config.build import ConfigError


def asked(table, **fields):
    return requests_of(str(table), n=1, seed=0, cond={}, size={}, kinds={}, edit={}, fields=fields)


def written(tmp_path, *rows):
    (tmp_path / "walk.mp4").write_bytes(b"a film")
    (tmp_path / "wishes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "wishes.jsonl"


def test_an_object_in_a_table_of_requests_names_the_files_that_its_columns_would(tmp_path):
    table = written(tmp_path, {"control": {"edges": "walk.mp4"}}, {"control.edges": "walk.mp4"},
                    {"control": {"edges": None}})
    nested, flat, nothing = asked(table)
    assert nested.controls == flat.controls and set(nested.controls) == {"edges"} and not nothing.controls
    assert not nested.labels


def test_a_field_of_that_name_stays_a_field_and_a_map_is_told_once(tmp_path):
    assert asked(written(tmp_path, {"control": "loud"}), control=["loud"])[0].labels == {"control": "loud"}
    with pytest.raises(ConfigError, match=r"row 1: control\.edges is told twice"):
        asked(written(tmp_path, {"control": {"edges": "walk.mp4"}, "control.edges": "walk.mp4"}))
