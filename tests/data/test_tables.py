"""Tables as spreadsheets and people write them."""

import pytest

from mmdiff.data.tables import read_table

ROWS = [{"file": "a.wav", "mood": "fröhlich", "tempo": "1.5"}, {"file": "b.wav", "mood": "x\u2028y", "tempo": None}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_separators_of_spreadsheets_are_read(tmp_path, encoding, separator, end):
    cells = [["file", "mood", "tempo"], *([row["file"], row["mood"], row["tempo"] or ""] for row in ROWS)]
    (tmp_path / "t.csv").write_bytes("".join(separator.join(row) + end for row in cells).encode(encoding))
    assert read_table(tmp_path / "t.csv") == ROWS


def test_old_spreadsheets_are_read_and_told(tmp_path):
    (tmp_path / "t.csv").write_bytes("file;mood\na.wav;fröhlich\n".encode("cp1252"))
    with pytest.warns(UserWarning, match="save it as UTF-8"):
        assert read_table(tmp_path / "t.csv") == [{"file": "a.wav", "mood": "fröhlich"}]


def test_cells_hold_separators_and_line_ends_in_quotes_and_objects_any_text(tmp_path):
    (tmp_path / "t.csv").write_text('file, mood\n"a,1.wav","two\nlines"\n\n,\nb.wav\n')
    assert read_table(tmp_path / "t.csv") == [
        {"file": "a,1.wav", "mood": "two\nlines"}, {"file": "b.wav", "mood": None}
    ]
    text = '{"file": "a\u2028b", "n": 1}\r\n\n{"file": null}\n'
    (tmp_path / "t.jsonl").write_bytes(text.encode())
    assert read_table(tmp_path / "t.jsonl") == [{"file": "a\u2028b", "n": 1}, {"file": None}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{oops", "neither CSV nor JSONL: line 1"), (b"[1, 2]\n", "line 1: each line is an object"),
        (b"PK\x03\x04", "spreadsheet: save it as CSV"),
        (b"file,a\nx.wav,1,5\n", "line 2: 3 cells for 2 columns.*decimal comma"), (b"a,a\n1,2\n", "'a' more than once"),
        (b"f\0i\0", "zero bytes"), (b'file,a\n"x"y,1\n', "line 2"), (b"\xff\xfea", "neither CSV nor JSONL"),
    ],
)  # fmt: skip
def test_a_broken_table_is_named(tmp_path, data, reason):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ValueError, match=f"t.csv.*{reason}"):
        read_table(tmp_path / "t.csv")


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read the table"):
        read_table(tmp_path / "none.csv")
