"""Folders of numbered pictures are clips."""

import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from mmdiff import Edit
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.index import VideoIndex
from mmdiff.adapters.video.reader import VideoReader, read_clip
from mmdiff.adapters.video.write import frames_to_folder, write_video
from mmdiff.config.adapter import resolve_codec
from mmdiff.data.folders import FolderDataset
from mmdiff.data.splits import split
from tests.video.test_files import encode, number, numbered


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))


def clip(n=12):
    return torch.from_numpy(numbered(n)).permute(3, 0, 1, 2).float() / 127.5 - 1


def shown(sample):
    return [number((frame.permute(1, 2, 0).numpy() + 1) * 127.5) for frame in sample.transpose(0, 1)]


@pytest.fixture
def root(tmp_path):
    for name in ("cat/one", "cat/two", "dog/three"):
        frames_to_folder(clip(), tmp_path / "root" / name)
    return tmp_path / "root"


def test_frames_that_were_written_are_read_back_as_the_clip(root):
    for fps in (None, 8, 30000 / 1001):
        assert torch.equal(read_clip(root / "cat/one", height=48, width=96, fps=fps), clip())
    reader = VideoReader(fps=8, frames=4, height=48, width=96)
    assert shown(reader.read(root / "cat/one")) == [0, 1, 2, 3]
    starts = {shown(reader.read(root / "cat/one", np.random.default_rng(i)))[0] for i in range(60)}
    assert starts == set(range(9))


def test_a_data_set_of_folders_of_frames_has_a_sample_for_each(root):
    data = FolderDataset(VideoReader(fps=8, frames=4, height=48, width=96), root)
    assert [data.name(i) for i in range(len(data))] == ["cat/one", "cat/two", "dog/three"]
    assert data.fields == {"label": ["cat", "dog"]} and data.read(2)[0].shape == (3, 4, 48, 96)
    (root / "list.csv").write_text("file,mood\ncat/one,calm\ndog/three,wild\n")
    tabled = FolderDataset(data.reader, root, table=root / "list.csv")
    assert tabled.fields == {"label": ["cat", "dog"], "mood": ["calm", "wild"]}
    train, held = split(data, 0.5, by_time=True)
    assert shown(train.read(0)[0]) == [0, 1, 2, 3] and shown(held.read(0)[0]) == [6, 7, 8, 9]


def test_a_changed_frame_is_another_clip(root):
    data = FolderDataset(VideoReader(fps=8, frames=4, height=48, width=96), root)
    before = data.digest(0), VideoIndex.of(root / "cat/one").digest
    shutil.copy(root / "cat/one/000005.png", root / "cat/one/000001.png")
    assert data.digest(0) != before[0] and VideoIndex.of(root / "cat/one").digest != before[1]
    assert shown(data.read(0)[0]) == [0, 5, 2, 3]


def test_pictures_are_samples_of_their_own_where_one_frame_is_a_clip(root):
    pictures = FolderDataset(VideoReader(fps=8, frames=1, height=48, width=96), root)
    assert len(pictures) == 36 and pictures.name(1) == "cat/one/000001.png"
    mixed = {"buckets": [(1, 48, 96), (4, 48, 96)]}
    assert len(FolderDataset(VideoReader(fps=8, **mixed), root)) == 36
    assert len(FolderDataset(VideoReader(fps=8, sequences=True, **mixed), root)) == 3
    Image.new("RGB", (96, 48)).save(root / "dog" / "portrait.png")
    data = FolderDataset(VideoReader(fps=8, frames=4, height=48, width=96), root)
    assert len(data) == 3 and data.skipped[0][0] == "dog/portrait.png"


def test_numbers_may_begin_anywhere_in_even_steps_without_zeros(tmp_path):
    for k in range(5):
        Image.fromarray(numbered()[k]).save(tmp_path / f"walk{10 * k + 90}.png")
    assert shown(read_clip(tmp_path, height=48, width=96)) == list(range(5))


@pytest.mark.parametrize(("change", "text"), [
    (lambda folder: (folder / "000004.png").unlink(), "between 000003.png and 000005.png pictures are missing"),
    (lambda folder: (folder / "000004.png").rename(folder / "b4.png"), "several names, .*: a clip is a folder"),
    (lambda folder: Image.new("RGB", (8, 8)).save(folder / "000004.png"), "several sizes, such as 000000.png 96 x 48"),
    (lambda folder: (folder / "000004.png").write_bytes(b"no picture"), r"000004.png cannot be read as a picture"),
])
def test_a_folder_that_is_no_clip_is_skipped_with_the_reason(root, change, text):
    change(root / "cat" / "one")
    data = FolderDataset(VideoReader(fps=8, frames=4, height=48, width=96), root)
    assert len(data) == 2 and data.skipped[0][0] == "cat/one"
    with pytest.raises(ValueError, match=text):
        VideoReader(fps=8, frames=4, height=48, width=96).read(root / "cat" / "one")


def test_a_folder_of_frames_can_be_edited(root):
    codec = PixelCodec(fps=8)
    edit = Edit("inpaint", root / "cat/one", hole=(0.5, 0.75))
    assert edit.size(codec, {"frames": 4, "height": 48, "width": 96}) == {"frames": 12, "height": 48, "width": 96}
    assert len(edit.facts["input_sha256"]) == 64 and edit.facts["input"] == "one"


def test_transparent_frames_come_back_with_their_alpha(tmp_path):
    sample = torch.cat([clip(3), torch.ones(1, 3, 48, 96)])
    sample[3, :, :, 40:] = -1
    sample[:3, :, :, 40:] = 1                                         # white shows where nothing is
    frames_to_folder(sample, tmp_path / "a", background="white")
    back = PixelCodec(4, background="white").load(tmp_path / "a", height=48, width=96)
    assert torch.equal(back, sample)


def films(root, *rates):
    for i, rate in enumerate(rates):
        encode(root / f"{i}.mp4", rate=rate)
    return root


def test_the_frame_rate_is_that_of_the_files_where_they_agree(tmp_path):
    (films(tmp_path, 20, 20) / "broken.mp4").write_bytes(b"no film")
    write_video(clip(), tmp_path / "c.gif", 20)
    codec, reader = PixelCodec(), VideoReader(**PixelCodec().reading, frames=4, height=48, width=96)
    data = FolderDataset(reader, tmp_path)
    assert data.inferred == {"fps": 20} and len(data) == 3
    assert shown(data.read(0)[0]) == [0, 1, 2, 3]
    node = OmegaConf.create({"codec": {"_target_": "mmdiff.adapters.video.codec.PixelCodec"},
                             "reader": {"_target_": "mmdiff.adapters.video.reader.VideoReader"}})
    codec, reader = resolve_codec(node, codec, reader, data.inferred)
    assert codec.fps == reader.fps == node.codec.fps == 20


@pytest.mark.parametrize(("rates", "text"), [
    ((25, 25, 20), r"several frame rates: 25 \(2 files\), 20 \(1 file\)\..*adapter.codec.fps=25"),
    ((), "folders of pictures such as .* tell no frame rate: name it, such as adapter.codec.fps=8"),
])
def test_where_files_tell_no_one_rate_the_key_is_named(tmp_path, rates, text):
    films(tmp_path, *rates)
    if not rates:
        frames_to_folder(clip(), tmp_path / "a")
    with pytest.raises(ValueError, match=text):
        FolderDataset(VideoReader(frames=4, height=48, width=96), tmp_path)
    data = FolderDataset(VideoReader(fps=5, frames=4, height=48, width=96), tmp_path)
    assert len(data) == max(1, len(rates))
    with pytest.raises(ValueError, match=r"at 5 frames/s \(adapter.codec.fps\), shorter than a clip"):
        VideoReader(fps=5, frames=99, height=48, width=96).read(data.rows[0][0])
