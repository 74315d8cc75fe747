"""Reading is exact whatever the codec, the key frames and the clock; what is written is read back."""

import gc
import os
import pickle
import threading
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from mmdiff.adapters.video import cache as cache_module
from mmdiff.adapters.video.decode import frames_at
from mmdiff.adapters.video.index import VideoIndex, video_stream
from mmdiff.adapters.video.reader import VideoReader, count, cover, read_clip, shown_at
from mmdiff.adapters.video.write import SUFFIXES, frames_to_folder, write_video
from tests.conftest import shared_data

BITS, SIZE = 6, 48
FRAMES = 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))


def numbered(n=FRAMES, width=96):
    """Frames ``(n, 48, width, 3)`` that show their number in black and white bars, one a bit."""
    bits = (np.arange(n)[:, None] >> np.arange(BITS)) & 1
    return np.repeat(np.repeat(bits[:, None, :, None] * 255, SIZE, 1), width // BITS, 2).repeat(3, 3).astype(np.uint8)


def number(frame):
    """The number that a frame ``(H, W, C)`` shows."""
    bars = frame.reshape(frame.shape[0], BITS, -1).mean((0, 2)) > 127
    return int((bars << np.arange(BITS)).sum())


def encode(path, codec="libx264", *, gop=12, frames=None, pts=None, form="yuv420p", rate=25, options=None):
    frames = numbered() if frames is None else frames
    pts = np.arange(len(frames)) if pts is None else pts
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": str(gop), **(options or {})})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], form
        stream.codec_context.time_base = Fraction(1, rate)
        for array, at in zip(frames, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = int(at), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


CODECS = {
    "h264": ("a.mp4", "libx264", "yuv420p", {}),
    "h264 with many B frames": ("a.mkv", "libx264", "yuv420p", {"bf": "4"}),
    "h264 open GOP": ("a.ts", "libx264", "yuv420p", {"x264-params": "open-gop=1:bframes=3"}),
    "hevc": ("a.mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
    "vp9": ("a.webm", "libvpx-vp9", "yuv420p", {"cpu-used": "8"}),
    "av1": ("a.mkv", "libsvtav1", "yuv420p", {"preset": "12"}), "mjpeg": ("a.avi", "mjpeg", "yuvj420p", {}),
    "ffv1": ("a.mkv", "ffv1", "yuv444p", {}), "mpeg4 in avi": ("a.avi", "mpeg4", "yuv420p", {"bf": "2"}),
}


@pytest.mark.parametrize("gop", [1, 12, 250])
@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_is_the_one_asked_for(tmp_path, codec, gop):
    name, encoder, form, options = CODECS[codec]
    path = encode(tmp_path / name, encoder, gop=gop, form=form, options=options)
    index = VideoIndex.of(path)
    assert len(index.pts) == FRAMES
    rng = np.random.default_rng(gop)
    for size in (1, 3, 8, FRAMES):
        wanted = np.sort(rng.choice(FRAMES, size, replace=False))
        got = frames_at(path, index, wanted, height=SIZE, width=96)
        assert [number(frame) for frame in got] == wanted.tolist()
    again = frames_at(path, index, [5, 5, 7], height=SIZE, width=96)
    assert [number(frame) for frame in again] == [5, 5, 7]


def test_frames_are_chosen_by_time_when_the_rate_varies_and_the_first_is_not_at_zero(tmp_path):
    pts = 17 + np.cumsum(np.r_[0, np.tile([1, 1, 4], FRAMES)[: FRAMES - 1]])
    path = encode(tmp_path / "a.mkv", pts=pts)
    index = VideoIndex.of(path)
    times = (pts - pts[0]) / 25
    for start, fps in ((0, 25), (3, 10), (7, 7.5)):
        frames = 5
        got = frames_at(path, index, shown_at(index, fps, start, frames), height=SIZE, width=96)
        asked = (start + np.arange(frames)) / fps
        expected = [int(np.searchsorted(times, t + 1e-3, "right") - 1) for t in asked]
        assert [number(frame) for frame in got] == expected


def test_a_clip_has_the_frame_rate_of_the_model(tmp_path):
    path = encode(tmp_path / "a.mp4", rate=20)
    clip = VideoReader(fps=5, frames=8, height=48, width=96).read(path)
    shown = [number((frame.permute(1, 2, 0).numpy() + 1) * 127.5) for frame in clip.transpose(0, 1)]
    assert shown == list(range(0, 32, 4))
    assert count(VideoIndex.of(path), 20) == FRAMES
    late = VideoReader(fps=20, frames=8, height=48, width=96).read(path, np.random.default_rng(1))
    first = number((late[:, 0].permute(1, 2, 0).numpy() + 1) * 127.5)
    assert 0 < first <= FRAMES - 8


def display_matrices():
    """(a, b, c, d) of the eight ways to turn and mirror by right angles."""
    return [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


@pytest.mark.parametrize("entries", display_matrices())
def test_a_display_matrix_is_honoured_mirrors_included(tmp_path, entries):
    frames = numbered()
    frames[:, :12] = 128                                              # no way to turn it looks like another
    path, turned = encode(tmp_path / "flat.mp4", frames=frames), tmp_path / "turned.mp4"
    a, b, c, d = entries
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        if not hasattr(stream, "set_display_matrix"):
            pytest.skip("this PyAV cannot write a display matrix")
        stream.set_display_matrix([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    plain = frames_at(path, VideoIndex.of(path), [9], height=48, width=96)[0].astype(int)
    y, x = np.mgrid[:48, :96]
    right, down = a * x + c * y, b * x + d * y                         # where each stored pixel is shown
    expected = np.zeros((96, 48, 3) if b else (48, 96, 3), int)
    expected[down - down.min(), right - right.min()] = plain
    index = VideoIndex.of(turned)
    assert index.shown == expected.shape[:2]
    for _ in range(2):                                                # found, and remembered
        got = frames_at(turned, VideoIndex.of(turned), [9], height=index.shown[0], width=index.shown[1])[0]
        assert np.abs(got - expected).mean() < 2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("way", range(1, 9))
def test_exif_turns_and_mirrors_pictures(tmp_path, suffix, way):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24], picture[:16, 24:], picture[16:, :24] = [250, 0, 0], [0, 250, 0], [0, 0, 250]
    exif = Image.Exif()
    exif[0x0112] = way
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture).save(path, exif=exif, **({"quality": 100} if suffix in (".jpg", ".webp") else {}))
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(int)
    height, width = expected.shape[:2]
    got = (read_clip(path, height=height, width=width)[:, 0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(got - expected).mean() < 6


def test_a_home_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    expected = VideoIndex.of(path)

    def read_only(self, *args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "other"))
    for name in ("mkdir", "unlink"):
        monkeypatch.setattr(Path, name, read_only)
    assert VideoIndex.of(path).digest == expected.digest


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "yuv420p10le", "gray"])
def test_levels_come_back_whatever_the_range_and_depth(tmp_path, form):
    levels = np.repeat(np.linspace(0, 255, 6).round()[None, :, None], 16, 1).repeat(16, 2).reshape(1, 16, 96, 1)
    codec, options = ("libx264", {"crf": "1"}) if form == "yuvj420p" else ("ffv1", {})
    path = encode(tmp_path / "a.mkv", codec, frames=levels.repeat(3, 3).astype(np.uint8), form=form, options=options)
    for channels in (1, 3):
        got = frames_at(path, VideoIndex.of(path), [0], height=16, width=96, channels=channels)[0]
        assert np.abs(got.astype(int) - levels[0].astype(int)).max() <= 5, (form, channels)


def test_pictures_and_animations_are_clips(tmp_path):
    clip = torch.from_numpy(numbered(6)).permute(3, 0, 1, 2).float() / 127.5 - 1
    paths = frames_to_folder(clip, tmp_path / "frames")
    assert len(paths) == 6
    reader = VideoReader(fps=8, buckets=[(1, 48, 96), (4, 48, 96)])
    assert reader.shape(paths[3]) == (1, 48, 96)
    assert torch.equal(reader.read(paths[3])[:, 0], clip[:, 3])
    write_video(clip, tmp_path / "a.gif", 8)
    assert reader.shape(tmp_path / "a.gif") == (4, 48, 96)
    assert torch.equal(reader.read(tmp_path / "a.gif"), clip[:, :4])


def test_a_bucket_has_the_nearest_aspect_then_the_most_frames_then_the_largest_size(tmp_path):
    path = encode(tmp_path / "a.mp4")                                 # 40 frames of 48 x 96
    reader = VideoReader(fps=25, buckets=[(60, 24, 48), (16, 24, 48), (32, 24, 48), (32, 96, 192), (32, 40, 40)])
    assert reader.shape(path) == (32, 24, 48)
    assert VideoReader(fps=25, buckets=[(8, 24, 48), (8, 48, 96), (8, 12, 24)]).shape(path) == (8, 48, 96)
    assert reader.read(path).shape == (3, 32, 24, 48)
    with pytest.raises(ValueError, match="shorter than a clip"):
        VideoReader(fps=25, frames=41, height=8, width=8).shape(path)


def test_cover_covers_and_keeps_the_aspect():
    assert cover((48, 96), (32, 32)) == (32, 64)
    assert cover((100, 50), (64, 64)) == (128, 64)
    assert cover((48, 96), (48, 96)) == (48, 96)


def test_with_and_without_cache_a_clip_is_the_same_bit_for_bit(tmp_path):
    path = encode(tmp_path / "a.mp4")
    plain = VideoReader(fps=12.5, frames=6, height=24, width=24, crop="random")
    cached = VideoReader(fps=12.5, frames=6, height=24, width=24, crop="random", cache=tmp_path / "clips")
    for _ in range(2):
        for seed in range(5):
            rngs = np.random.default_rng(seed), np.random.default_rng(seed)
            assert torch.equal(plain.read(path, rngs[0]), cached.read(path, rngs[1]))
        assert torch.equal(plain.read(path), cached.read(path))
    stored = list((tmp_path / "clips").rglob("*.npy"))
    assert len(stored) == 1
    VideoReader(fps=12.5, frames=6, height=20, width=24, cache=tmp_path / "clips").read(path)
    VideoReader(fps=25, frames=6, height=24, width=24, cache=tmp_path / "clips").read(path)
    encode(path, frames=numbered()[::-1])
    cached.read(path)
    assert len(list((tmp_path / "clips").rglob("*.npy"))) == 4


def test_a_full_disk_costs_the_cache_and_nothing_else(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.np, "save", full)
    reader = VideoReader(fps=25, frames=6, height=24, width=24, cache=tmp_path / "clips")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert reader.read(path).shape == (3, 6, 24, 24)
    assert "No space left" in str(seen[0].message)
    assert not [p for p in (tmp_path / "clips").rglob("*") if p.is_file()]


def bad_files(folder: Path):
    whole = encode(folder / "whole.mp4").read_bytes()
    sound = folder / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    contents = {
        "zero.mp4": b"", "text.mp4": b"no video at all", "header.mp4": whole[:300], "noise.mkv": os.urandom(9999),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in contents), sound, folder / "missing.mp4"]


def test_what_is_no_video_is_refused_with_the_file_and_the_reason(tmp_path):
    for path in bad_files(tmp_path):
        with pytest.raises(ValueError, match=path.name):
            VideoReader(fps=8, frames=1, height=8, width=8).read(path)


def test_a_file_that_is_cut_off_gives_what_is_there_and_an_error_beyond(tmp_path):
    whole = encode(tmp_path / "a.mkv", gop=5).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    index = VideoIndex.of(path)
    assert 0 < len(index.pts) < FRAMES
    assert number(frames_at(path, index, [3], height=48, width=96)[0]) == 3
    middle = bytearray(whole)
    middle[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
    (tmp_path / "hole.mkv").write_bytes(bytes(middle))
    index = VideoIndex.of(tmp_path / "hole.mkv")
    got = frames_at(tmp_path / "hole.mkv", index, range(3), height=48, width=96)
    assert [number(frame) for frame in got] == [0, 1, 2]
    beyond = index._replace(pts=np.r_[index.pts, index.pts[-1] + 1000])
    with pytest.raises(ValueError, match=r"hole.mkv decodes to 1 of 2 frames"):
        frames_at(tmp_path / "hole.mkv", beyond, [0, len(index.pts)], height=48, width=96)


def test_of_several_streams_the_one_that_players_choose_is_taken(tmp_path):
    path = tmp_path / "two.mkv"
    frames = {"small": numbered(5)[:, ::2, ::2], "large": numbered(5)}
    with av.open(str(path), "w") as container:
        streams = {}
        for name, array in frames.items():
            streams[name] = container.add_stream("ffv1", rate=25)
            streams[name].width, streams[name].height, streams[name].pix_fmt = array.shape[2], array.shape[1], "bgr0"
        for i in range(5):
            for name, array in frames.items():
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array[i]), format="rgb24")
                frame.pts = i
                container.mux(streams[name].encode(frame))
        for stream in streams.values():
            container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert video_stream(container).index == VideoIndex.of(path).stream == best.index
        assert VideoIndex.of(path).shown == (best.height, best.width)


def test_reading_leaves_neither_threads_nor_files_open(tmp_path):
    path = encode(tmp_path / "a.mp4")
    reader = VideoReader(fps=25, frames=6, height=24, width=24)
    reader.read(path)
    gc.collect()
    before = threading.active_count(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    for seed in range(60):
        reader.read(path, np.random.default_rng(seed))
    assert (threading.active_count(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before


class _Files(torch.utils.data.Dataset):
    def __init__(self, reader, path):
        self.reader, self.path = reader, path

    def __len__(self):
        return 12

    def __getitem__(self, i):
        return self.reader.read(self.path, np.random.default_rng(i))


def test_it_is_picklable_and_reads_alike_in_workers(tmp_path):
    path = encode(tmp_path / "a.mp4")
    reader = pickle.loads(pickle.dumps(VideoReader(fps=25, frames=6, height=24, width=24)))
    reader.read(path)                                                 # FFmpeg is used before the workers are forked
    data = _Files(reader, path)
    for i, clip in enumerate(DataLoader(data, batch_size=None, num_workers=2)):
        assert torch.equal(clip, data[i])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("lossless", [False, True])
def test_what_is_written_is_read_back_with_its_clock(tmp_path, suffix, lossless):
    clip = torch.from_numpy(numbered(9)).permute(3, 0, 1, 2).float() / 127.5 - 1
    for fps in (8, 24, 30000 / 1001):
        path = write_video(clip, tmp_path / f"a{suffix}", fps, lossless=lossless)
        index = VideoIndex.of(path)
        tick = 0.011 if suffix == ".gif" else 0.0011
        assert np.abs(index.times - np.arange(9) / fps).max() < tick
        back = read_clip(path, height=48, width=96)
        assert back.shape == clip.shape
        if lossless or suffix in (".mkv", ".gif", ".png"):
            assert torch.equal(back, clip)
        else:
            assert -10 * torch.log10((back - clip).square().mean() / 4) > 28
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
@pytest.mark.parametrize("seconds", [0.4, 3.0])
def test_sound_has_the_length_of_the_pictures(tmp_path, suffix, seconds):
    clip = torch.zeros(3, 16, 32, 32)
    wave = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(int(seconds * 16000)) / 16000)[None]
    path = write_video(clip, tmp_path / f"a{suffix}", 8, sound=(wave, 16000))
    with av.open(str(path)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1)
        length = heard.shape[1] / container.streams.audio[0].rate
    assert abs(length - 2.0) < 0.1
    assert np.abs(heard[:, heard.shape[1] // 20 : heard.shape[1] // 10]).max() > 0.3


def test_odd_sizes_are_padded_by_their_edge_and_tiny_ones_enlarged(tmp_path):
    clip = torch.rand(1, 3, 9, 7) * 2 - 1
    path = write_video(clip, tmp_path / "a.mp4", 8, lossless=False)
    assert VideoIndex.of(path).shown == (10, 8)
    path = write_video(clip, tmp_path / "b.mkv", 8, upscale=5)
    assert VideoIndex.of(path).shown == (45, 35)
    assert (read_clip(path, height=9, width=7, channels=1) - clip).abs().max() < 0.01


def test_what_cannot_be_written_is_refused_and_leaves_no_file(tmp_path):
    clip = torch.zeros(3, 2, 8, 8)
    for bad, name, match in (
        (clip / 0, "a.mp4", "NaN"), (clip, "a.wmv", ".mp4"), (clip[0], "a.mp4", "T, H, W"),
        (clip[:2], "a.gif", "1, 3 or 4"),
    ):
        with pytest.raises(ValueError, match=match):
            write_video(bad, tmp_path / name, 8)
    with pytest.raises(ValueError, match="no sound"):
        write_video(clip, tmp_path / "a.gif", 8, sound=(torch.zeros(1, 10), 8000))
    assert list(tmp_path.iterdir()) == [] or all(p.is_dir() for p in tmp_path.iterdir())


def real_videos():
    root = shared_data("video")
    return [p for p in sorted(root.rglob("*")) if p.suffix in {".mp4", ".webm", ".gif", ".mkv", ".avi", ".mov"}]


def test_no_wrong_frame_in_200_random_seeks_over_the_real_files():
    rng, wrong, seeks = np.random.default_rng(0), 0, 0
    paths = real_videos()
    for path in paths:
        index = VideoIndex.of(path)
        size = {"height": 24, "width": 32, "channels": 3}
        stop = min(len(index.pts), 300)
        truth = frames_at(path, index, range(stop), **size)
        for _ in range(-(-200 // len(paths))):
            wanted = np.sort(rng.integers(0, stop, 3))
            wrong += int((frames_at(path, index, wanted, **size) != truth[wanted]).any())
            seeks += 1
    assert seeks >= 200 and wrong == 0
