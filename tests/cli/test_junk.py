"""Files of no modality, where ``data.check=false`` trusts them: one line, with the file and the remedy."""

import os

import pytest

from mmdiff.cli import main

SMALL = {
    "audio": (".wav", "adapter.network.base=8"), "points": (".xyz", "adapter.network.depth=1"),
    "video": (".mp4", "adapter.network.heads=2"),
}


@pytest.mark.parametrize(("adapter", "words"), [
    ("audio", ()), ("audio", ("loader.by_time=true",)), ("points", ()), ("video", ()),
    ("video", ("loader.by_time=true",)), ("video", ("adapter.reader.buckets=[[4,16,16],[1,16,16]]",)),
])
def test_a_trusted_file_that_cannot_be_read_is_told_by_name_with_the_remedy(adapter, words, tmp_path, capsys):
    suffix, small = SMALL[adapter]
    (tmp_path / "data").mkdir()
    for i in range(12):
        (tmp_path / "data" / f"junk{i}{suffix}").write_bytes(os.urandom(400))
    with pytest.raises(SystemExit, match="2"):
        main(["train", f"adapter={adapter}", small, f"data.root={tmp_path / 'data'}", "data.check=false", "debug=limit",
              f"run={tmp_path / 'run'}", *words])
    told = capsys.readouterr().err
    assert "Errno" not in told and "junk" in told and suffix in told
    assert "data.check=false trusts all files" in told
