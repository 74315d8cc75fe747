"""What a file shows, told by files of which the truth is known without FFmpeg's own reading of them."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mmdiff.adapters.video.alpha import laid
from mmdiff.adapters.video.codec import PixelCodec
from mmdiff.adapters.video.decode import frames_at
from mmdiff.adapters.video.index import VideoIndex
from mmdiff.adapters.video.reader import VideoReader, read_clip, shown_at
from tests.video.test_files import FRAMES, encode, number, numbered


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))


def shown(path, positions=(0,)):
    index = VideoIndex.of(path)
    return frames_at(path, index, positions, height=index.shown[0], width=index.shown[1])


@pytest.mark.parametrize(
    ("matrix", "edge"), [((0, 1, -1, 0), "bottom"), ((-1, 0, 0, -1), "left"), ((0, -1, 1, 0), "top")]
)
def test_the_matrix_of_a_quicktime_header_turns_the_picture_as_its_standard_says(tmp_path, matrix, edge):
    frames = np.zeros((3, 48, 96, 3), np.uint8)
    frames[:, :, 48:] = 255                                           # white on the right
    data = bytearray(encode(tmp_path / "a.mp4", frames=frames).read_bytes())
    at = data.index(b"tkhd") + 44                                     # a, b, u, c, d, v, x, y, w: x' = a x + c y
    a, b, c, d = (n << 16 for n in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(data)
    picture = shown(tmp_path / "a.mp4")[0]
    assert picture.shape[:2] == ((96, 48) if matrix[0] == 0 else (48, 96))
    white = {"bottom": picture[-40:], "top": picture[:40], "left": picture[:, :40]}[edge]
    assert white.min() > 250 and 0.45 < (picture > 127).mean() < 0.55


def test_pixels_that_are_not_square_are_shown_as_wide_as_they_stand_for(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(6)[5], format="rgb24")))
        container.mux(stream.encode(None))
    assert VideoIndex.of(path).shown == (48, 140)


@pytest.mark.parametrize("matrix", ["ITU709", "SMPTE170M"])
def test_colours_come_back_by_the_matrix_that_the_file_names(tmp_path, matrix):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [128, 64, 200], [20, 220, 120]], np.uint8)
    picture = np.repeat(np.repeat(colours[None], 48, 0), 16, 1)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv444p"
        stream.codec_context.colorspace = {"ITU709": 1, "SMPTE170M": 6}[matrix]
        stream.codec_context.color_range = 1
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range="MPEG")))
        container.mux(stream.encode(None))
    assert np.abs(shown(path)[0].astype(int) - picture).max() <= 2


@pytest.mark.parametrize(("name", "codec", "form"), [
    ("a.avi", "mjpeg", "yuvj420p"), ("a.mkv", "libx264", "yuv420p"), ("a.nut", "ffv1", "bgr0"),
])
@pytest.mark.parametrize("fps", [60, 25, 10, 7])
def test_the_container_does_not_change_which_frame_is_shown_at_a_time(tmp_path, name, codec, form, fps):
    index = VideoIndex.of(encode(tmp_path / name, codec, form=form))
    expected = [int(k / fps * 25 + 1e-6) for k in range(10)]
    assert shown_at(index, fps, 0, 10).tolist() == expected


def header_first(source, path):
    with av.open(str(source)) as read, av.open(str(path), "w", options={"movflags": "+faststart"}) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return path


@pytest.mark.parametrize("gop", [1, 12, 250])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_of_a_film_cut_off_behind_its_header_every_frame_of_the_index_is_there(tmp_path, gop, share):
    noise = np.random.default_rng(0).integers(0, 255, (FRAMES, 12, 24, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    whole = header_first(encode(tmp_path / "a.mp4", gop=gop, frames=noise), tmp_path / "whole.mp4")
    truth, content, path = shown(whole, range(FRAMES)), whole.read_bytes(), tmp_path / "cut.mp4"
    path.write_bytes(content[: int(len(content) * share)])
    index = VideoIndex.of(path)
    assert 0.5 * share * FRAMES < len(index.pts) < FRAMES
    for k in range(len(index.pts)):
        assert np.array_equal(shown(path, [k])[0], truth[k])
    reader = VideoReader(fps=25, frames=4, height=48, width=96)
    assert all(reader.read(path, np.random.default_rng(seed)).shape == (3, 4, 48, 96) for seed in range(20))


def test_a_recording_that_starts_between_key_frames_begins_with_its_first_whole_frame(tmp_path):
    whole = encode(tmp_path / "whole.ts", gop=10, options={"sc_threshold": "0"}).read_bytes()
    packets = len(whole) // 188
    path = tmp_path / "late.ts"
    path.write_bytes(whole[: 3 * 188] + whole[188 * (packets // 3) :])    # the tables, then from the middle
    index = VideoIndex.of(path)
    numbers = [number(frame) for frame in shown(path, range(len(index.pts)))]
    assert numbers == list(range(numbers[0], FRAMES)) and 0 < numbers[0] <= 20


@pytest.mark.parametrize("name", ["12:30.mp4", "concat:a.mp4", "50%.mp4", "ü ñ 猫.mp4", "a#b?c.mp4"])
def test_a_name_is_only_a_name(tmp_path, monkeypatch, name):
    encode(tmp_path / "a.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert number(frames_at(name, VideoIndex.of(name), [7], height=48, width=96)[0]) == 7


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif", ".tif"])
def test_what_is_transparent_is_black_whatever_colour_is_stored_there(tmp_path, suffix):
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 0], picture[:, :16, 3] = 255, 255                    # red all over, shown on the left alone
    Image.fromarray(picture).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    expected = picture[..., :3] * (picture[..., 3:] // 255)
    assert np.array_equal(shown(tmp_path / f"a{suffix}")[0], expected)
    half = np.full((32, 32, 4), 128, np.uint8)
    Image.fromarray(half).save(tmp_path / "b.png")
    assert (shown(tmp_path / "b.png")[0] == 64).all()


@pytest.mark.parametrize(("name", "shown_there"), [("white", (255, 255, 255)), ("#4080ff", (64, 128, 255))])
def test_what_is_transparent_shows_the_background_that_is_named(tmp_path, name, shown_there):
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 0], picture[:, :16, 3], picture[:, 16:24, 3] = 255, 255, 51
    Image.fromarray(picture).save(tmp_path / "a.png")
    reader = VideoReader(fps=1, frames=1, height=32, width=32, background=name)
    got = ((reader.read(tmp_path / "a.png")[:, 0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
    assert (got[:, :16] == (255, 0, 0)).all() and (got[:, 24:] == shown_there).all()
    assert np.abs(got[:, 16:24] - (0.2 * np.array([255, 0, 0]) + 0.8 * np.array(shown_there))).max() <= 0.5
    grey = VideoReader(1, fps=1, frames=1, height=32, width=32, background=name).read(tmp_path / "a.png")
    assert grey.shape == (1, 1, 32, 32)
    with pytest.raises(ValueError, match="background is the name of a colour, such as .*; got 'snowy'"):
        VideoReader(fps=1, background="snowy")


@pytest.mark.parametrize("suffix", [".png", ".mkv"])
def test_how_opaque_a_pixel_is_can_be_a_channel_and_comes_back_from_files(tmp_path, suffix):
    rng, codec = np.random.default_rng(0), PixelCodec(4, background="white", fps=10)
    frames = rng.integers(0, 256, (3, 128, 128, 4)).astype(np.uint8)
    frames[..., 3] = rng.choice([0, 255, 128], (3, 128, 128))
    clip = torch.from_numpy(np.concatenate([laid(frames, (255, 255, 255)), frames[..., 3:]], -1))
    clip = clip.permute(3, 0, 1, 2).float() / 127.5 - 1
    back = codec.load(codec.save(clip, tmp_path / f"a{suffix}"), height=128, width=128)
    assert back.shape == (4, 3, 128, 128) and (back - clip).abs().max() < 0.017, "two steps of 255, by rounding"
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgba")
    assert np.array_equal(stored[..., 3], frames[0, ..., 3])
    opaque = frames[0, ..., 3] == 255
    assert np.array_equal(stored[opaque], frames[0][opaque])
    shown = PixelCodec(background="white", fps=10).load(tmp_path / f"a{suffix}", height=128, width=128)
    assert (shown - clip[:3]).abs().max() < 0.017
    assert read_clip(codec.save(clip, tmp_path / "a.mp4"), height=128, width=128).shape == (3, 3, 128, 128)


def test_a_clip_without_transparency_is_opaque(tmp_path):
    clip = VideoReader(4, fps=25, frames=2, height=48, width=96).read(encode(tmp_path / "a.mp4"))
    assert clip.shape == (4, 2, 48, 96) and (clip[3] == 1).all()
