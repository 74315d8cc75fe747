"""What is held out: by share, by column, by the data's own parts, by groups and by time."""

import numpy as np
import pytest
import torch

from mmdiff.adapters.audio.io import AudioReader, write_audio
from mmdiff.adapters.video.reader import VideoReader
from mmdiff.data.dataset import Subset
from mmdiff.data.folders import FolderDataset
from mmdiff.data.loaders import Loading
from mmdiff.data.splits import split
from tests.data.test_folders import Numbers, write
from tests.video.test_files import encode, number, numbered


def names(part):
    return [part.name(i) for i in range(len(part))]


def test_the_parts_that_folders_or_a_table_name_are_kept_apart(tmp_path):
    write(tmp_path, ["train/a.txt", "train/b.txt", "Val/c.txt", "test/d.txt"])
    data = FolderDataset(Numbers(), tmp_path)
    assert list(map(names, split(data, "split"))) == [["train/a.txt", "train/b.txt"], ["Val/c.txt"]]
    (tmp_path / "t.csv").write_text("file,part\ntrain/a.txt,train\ntrain/b.txt,test\n")
    tabled = FolderDataset(Numbers(), tmp_path, table=tmp_path / "t.csv", folders=[])
    assert list(map(names, split(tabled, "part"))) == [["train/a.txt"], ["train/b.txt"]]
    assert not tabled.fields


def test_a_share_of_data_that_name_their_own_parts_is_told(tmp_path):
    write(tmp_path, ["train/a.txt", "train/b.txt", "test/d.txt"])
    with pytest.warns(UserWarning, match=r"parts in the column 'split', and loader.val=0.4 mixes them; loader.val=s"):
        split(FolderDataset(Numbers(), tmp_path), 0.4)


@pytest.mark.parametrize(("val", "text"), [
    ("splt", "loader.val names the column 'splt'; did you mean 'split'"),
    ("label", "label of train/kick/a.txt is 'kick', not one of train, .*loader.val={label: "),
])
def test_a_column_that_names_no_parts_is_told(tmp_path, val, text):
    write(tmp_path, ["train/kick/a.txt", "val/hat/b.txt"])
    with pytest.raises(ValueError, match=text):
        split(FolderDataset(Numbers(), tmp_path), val)
    (tmp_path / "val" / "hat" / "b.txt").unlink()
    with pytest.raises(ValueError, match="nothing would be held out"):
        split(FolderDataset(Numbers(), tmp_path), "split")


def test_groups_stay_together_and_meet_the_share_as_nearly_as_they_can(tmp_path):
    sizes = dict(zip("abcdefghij", (10, 9, 11, 10, 10, 8, 12, 10, 10, 10), strict=True))
    write(tmp_path, [f"{speaker}/{i}.txt" for speaker, count in sizes.items() for i in range(count)])
    data = FolderDataset(Numbers(), tmp_path)
    train, held = Loading(val=0.3, group="label").split(data)
    speakers = [{part.column(i)["label"] for i in range(len(part))} for part in (train, held)]
    assert not speakers[0] & speakers[1] and len(train) + len(held) == 100 and 25 <= len(held) <= 35
    assert split(data, 0.01, group="label")[1].column(0)["label"] in speakers[1], "a larger share holds out more"
    assert len(split(data, 0.99, group="label")[0]) >= 8, "one group is left"
    assert not len(split(data, 0, group="label")[1])
    with pytest.raises(ValueError, match="loader.group names the column 'labl'; did you mean 'label'"):
        split(data, 0.3, group="labl")
    with pytest.raises(ValueError, match="loader.group and loader.by_time go with a share"):
        split(data, "label", group="label")


@pytest.fixture
def recordings(tmp_path):
    """Two of 10 s and one of 0.6 s, in which the level is the time: a sample is ``time / 20``."""
    for name, seconds in (("a.wav", 10), ("b.flac", 10), ("short.wav", 0.6)):
        write_audio(torch.linspace(0, seconds / 20, round(seconds * 4000))[None], tmp_path / name, 4000)
    return tmp_path


@pytest.mark.parametrize("seconds", [0.5, None])
def test_the_last_part_of_each_recording_is_held_out_and_never_trained_on(recordings, seconds):
    reader = AudioReader(4000, seconds=seconds)
    data = FolderDataset(reader, recordings)
    if seconds is None:
        train, held = split(data, 0.2, by_time=True)
    else:
        with pytest.warns(UserWarning, match="1 of 3 files are too short"):
            train, held = split(data, 0.2, by_time=True)
        assert names(train) == ["a.wav [0:0.8]", "b.flac [0:0.8]", "short.wav"]
        assert names(held) == [f"{name} [{part}]" for name in ("a.wav", "b.flac") for part in
                               ("0.8:0.85", "0.85:0.9", "0.9:0.95", "0.95:1")], "each clip of it is a sample"
        assert [round(float(held.read(i)[0].min()) * 20, 1) for i in range(4)] == [8, 8.5, 9, 9.5]
    rng = np.random.default_rng(0)
    for i in range(2):
        seen = [train.read(i, rng)[0] * 20 for _ in range(50)]
        own = [k for k, name in enumerate(names(held)) if name.startswith(train.name(i).split()[0])]
        heard = [held.read(k, chance)[0] * 20 for k in own for chance in [None, *[rng] * 10]]
        assert max(x.max() for x in seen) <= 8.001 and min(x.min() for x in heard) >= 7.999
        assert max(x.max() for x in seen) > 7.4 and max(x.max() for x in heard) > 9.4
        assert all(x.shape == (1, 2000) for x in [*seen, *heard]) or seconds is None


def test_the_last_part_of_a_film_is_held_out(tmp_path):
    encode(tmp_path / "a.mp4", frames=numbered(40), gop=12)
    data = FolderDataset(VideoReader(fps=25, frames=4, height=48, width=96), tmp_path)
    train, held = split(data, 0.25, by_time=True)
    rng = np.random.default_rng(0)

    def shown(part):
        clips = [part.read(i, rng)[0] for _ in range(60) for i in range(len(part))]
        frames = [frame for clip in clips for frame in clip.permute(1, 2, 3, 0).numpy()]
        return {number((frame + 1) * 127.5) for frame in frames}

    assert shown(train) == set(range(30)) and shown(held) == set(range(30, 40)) and len(held) == 2
    every = Subset(train, [0]).laid_out([0])
    assert len(every) == 7 and shown(every) <= set(range(30)) and len(set(names(every))) == 7, "as they follow"
    assert [number((every.read(i)[0][:, 0].permute(1, 2, 0).numpy() + 1) * 127.5) for i in range(2)] == [0, 5]
    with pytest.raises(ValueError, match="no file is long enough to hold out its last part: .*shorter than a clip"):
        split(data, 0.02, by_time=True)


def test_files_without_time_cannot_be_cut(tmp_path):
    write(tmp_path, ["a.txt", "b.txt"])
    with pytest.raises(ValueError, match="Numbers reads files as wholes, which have no last part"):
        split(FolderDataset(Numbers(), tmp_path), 0.2, by_time=True)
