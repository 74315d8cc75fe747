"""Texts within files: found again, the same in every bit each time, and nothing of what is seen or heard is changed."""

import json

import av
import numpy as np
import pytest
import torch

from mmdiff.adapters.audio.io import WRITTEN, AudioReader, write_audio
from mmdiff.adapters.points.files import load_shape
from mmdiff.adapters.points.write import SUFFIXES as CLOUDS
from mmdiff.adapters.points.write import write_points
from mmdiff.adapters.video.reader import read_clip
from mmdiff.adapters.video.write import SUFFIXES as FILMS
from mmdiff.adapters.video.write import write_video
from mmdiff.provenance import tags

TEXT = json.dumps({"labels": {"caption": 'é "quoted" \n' * 30}})
HELD = {".wav", ".flac", ".mp3", ".m4a", ".mp4", ".png", ".glb", ".npz"}
NAMED = {".flac", ".mp3", ".m4a", ".mp4"}
"""Where players show a text under its own key."""


def written(path):
    """Noise in the format of the ending; gives what reads it."""
    generator = torch.Generator().manual_seed(0)
    if path.suffix in WRITTEN:
        write_audio(2 * torch.rand(1, 4001, generator=generator) - 1, path, 8000)
        return lambda: AudioReader(8000).read(path)
    if path.suffix in FILMS:
        write_video(2 * torch.rand(3, 4, 16, 16, generator=generator) - 1, path, 8)
        return lambda: read_clip(path, height=16, width=16)
    write_points(torch.randn(3, 40, generator=generator), path)
    return lambda: torch.from_numpy(load_shape(path).points)


@pytest.mark.parametrize("suffix", [*WRITTEN, *FILMS, *CLOUDS])
def test_a_record_is_read_again_and_the_content_stays_as_it_was(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    load = written(path)
    before, content = path.read_bytes(), load()
    left = tags.write(path, {tags.RECORD: TEXT})
    assert torch.equal(load(), content)
    assert left == ([] if suffix in HELD else [tags.RECORD])
    assert tags.read(path) == ({tags.RECORD: TEXT} if suffix in HELD else {})
    assert (path.read_bytes() == before) == (suffix not in HELD)


@pytest.mark.parametrize("suffix", [*WRITTEN, *FILMS, *CLOUDS])
def test_equal_samples_and_records_give_equal_files(tmp_path, suffix):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        written(path)
        tags.write(path, {tags.RECORD: TEXT})
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("suffix", sorted(HELD))
def test_two_keys_stand_beside_each_other_or_the_second_is_told_to_have_no_place(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    written(path)
    left = tags.write(path, {tags.RECORD: "one", "AIGC": "two"})
    assert left == (["AIGC"] if suffix == ".wav" else [])
    assert tags.read(path) == {tags.RECORD: "one"} | ({} if left else {"AIGC": "two"})


@pytest.mark.parametrize("suffix", sorted(NAMED))
def test_ffmpeg_shows_a_text_under_its_key(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    written(path)
    tags.write(path, {tags.RECORD: TEXT})
    with av.open(str(path)) as file:
        assert file.metadata[tags.RECORD] == TEXT


@pytest.mark.parametrize("suffix", sorted(HELD))
def test_a_damaged_file_holds_what_is_left_of_its_text_and_is_no_error(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    written(path)
    tags.write(path, {tags.RECORD: TEXT})
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for size in random.integers(0, len(whole), 40):
        path.write_bytes(whole[:size])
        assert TEXT.startswith(tags.read(path).get(tags.RECORD, ""))
    for place in random.integers(4, len(whole), 40):
        path.write_bytes(whole[:place] + random.bytes(4) + whole[place + 4 :])
        tags.read(path)
