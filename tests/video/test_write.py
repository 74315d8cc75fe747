"""Films that players like: sound of any rate beside its pictures, colours that say what they are."""

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace

from mmdiff.adapters.video.write import SUFFIXES, write_video

FILMS = [".mp4", ".webm", ".mkv"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))


def tone(seconds, rate, channels=1):
    return 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(int(seconds * rate)) / rate)[None].repeat(channels, 1)


@pytest.mark.parametrize("suffix", FILMS)
@pytest.mark.parametrize("rate", [8000, 10_000, 22_050, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_any_rate_keeps_its_pitch_and_the_length_of_the_pictures_within_50_ms(
    tmp_path, suffix, rate, channels
):
    path = write_video(torch.zeros(3, 16, 32, 32), tmp_path / f"a{suffix}", 8, sound=(tone(3, rate, channels), rate))
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono")
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    heard, stored = np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate
    assert abs(len(heard) / stored - 2) < 0.05
    middle = heard[stored // 2 : stored * 3 // 2]
    assert abs(np.abs(np.fft.rfft(middle)).argmax() - 440) <= 1      # one second: bins of 1 Hz


@pytest.mark.parametrize("suffix", FILMS)
def test_sound_lies_beside_its_pictures_in_the_file(tmp_path, suffix):
    path = write_video(torch.zeros(3, 300, 32, 32), tmp_path / f"a{suffix}", 10, sound=(tone(30, 8000), 8000))
    latest = lag = 0.0
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                time = float(packet.pts * packet.time_base)
                latest = max(latest, time)
                lag = max(lag, latest - time)
    assert lag < 1.5


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("size", [64, 736])
def test_colours_say_their_matrix_and_range_so_that_no_player_guesses(tmp_path, suffix, size):
    clip = torch.tensor([0.8, -0.6, 0.1])[:, None, None, None].expand(3, 2, size, size)
    path = write_video(clip, tmp_path / f"a{suffix}", 8)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (Colorspace.ITU601, ColorRange.MPEG)
        got = frame.to_ndarray(format="rgb24")[size // 2, size // 2]
    assert np.abs(got - (np.array([0.8, -0.6, 0.1]) + 1) * 127.5).max() < 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_reads_like_a_protocol_is_a_folder(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12:30").mkdir()
    assert write_video(torch.zeros(3, 4, 32, 32), f"12:30/a%d{suffix}", 8).is_file()
