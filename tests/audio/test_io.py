"""Files to waveforms and back."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from mmdiff.adapters.audio.decode import decode, duration
from mmdiff.adapters.audio.io import AudioReader, write_audio
from mmdiff.adapters.audio.measure import pitch


def tone(seconds=1.0, rate=8000, frequency=440.0, level=0.5):
    return level * torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * rate)) / rate)[None]


@pytest.mark.parametrize(
    ("suffix", "error"), [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.05), (".mp3", 0.05), (".m4a", 0.1)]
)
@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_what_is_written_is_read_back(tmp_path, suffix, error, rate):
    x = tone(rate=rate)
    assert write_audio(x, tmp_path / f"a{suffix}", rate) == 0
    y = AudioReader(rate).read(tmp_path / f"a{suffix}")
    assert y.shape[1] >= x.shape[1]
    assert y.dtype == torch.float32
    if suffix != ".m4a":                                              # AAC tells its delay, but not to the sample
        assert (y[:, : x.shape[1]] - x)[:, 500:-2500].abs().max() < error
    assert abs(pitch(y, rate) - 440) < 0.5
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_opus_is_written_and_read(tmp_path):
    write_audio(tone(rate=48000), tmp_path / "a.opus", 48000)
    assert abs(pitch(AudioReader(16000).read(tmp_path / "a.opus"), 16000) - 440) < 0.5


def test_samples_beyond_full_scale_are_limited_and_counted_and_never_wrap(tmp_path):
    x = torch.tensor([[0.0, 1.5, -3.0, 0.5, 1.0, -1.0]])
    assert write_audio(x, tmp_path / "a.wav", 8000) == 2
    assert torch.allclose(AudioReader(8000).read(tmp_path / "a.wav"), x.clamp(-1, 1), atol=1e-4)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
def test_nan_is_never_written_and_leaves_no_file(tmp_path, name):
    with pytest.raises(ValueError, match="NaN"):
        write_audio(torch.full((1, 100), float("nan")), tmp_path / name, 8000)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_what_was_there(tmp_path):
    (tmp_path / "a.opus").write_bytes(b"before")
    with pytest.raises(ValueError, match="22050"):
        write_audio(tone(rate=22050), tmp_path / "a.opus", 22050)
    assert (tmp_path / "a.opus").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unknown_ending_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"\.wav.*\.m4a"):
        write_audio(tone(), tmp_path / "a.xyz", 8000)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_sample_formats(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", tone()[0].numpy(), 8000, subtype=subtype)
    assert (AudioReader(8000).read(tmp_path / "a.wav") - tone()).abs().max() < 0.02


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000, subtype="FLOAT")
    assert torch.allclose(AudioReader(8000).read(tmp_path / "a.wav"), torch.full((1, 100), 0.125))


@pytest.mark.parametrize(("rate", "size"), [(44100, 44100), (22050, 1000), (16000, 12345), (8000, 777), (11025, 1)])
def test_the_length_after_resampling_is_the_documented_one(tmp_path, rate, size):
    soundfile.write(tmp_path / "a.wav", np.full(size, 0.1), rate, subtype="FLOAT")
    assert AudioReader(8000).read(tmp_path / "a.wav").shape == (1, -(-size * 8000 // rate))


def test_resampling_keeps_the_pitch_and_removes_what_would_alias(tmp_path):
    soundfile.write(tmp_path / "a.wav", (tone(rate=44100) + tone(rate=44100, frequency=5000))[0].numpy(), 44100)
    y = AudioReader(8000).read(tmp_path / "a.wav")
    assert (y - tone())[:, 100:-100].abs().max() < 0.01


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a"])
def test_a_crop_is_the_same_part_of_the_whole(tmp_path, name):
    x = torch.linspace(-0.5, 0.5, 5 * 16000)[None] + 0.2 * tone(5, 16000, 100.0)
    write_audio(x, tmp_path / name, 16000)
    whole = AudioReader(16000).read(tmp_path / name)
    crop = AudioReader(16000, seconds=0.5).read(tmp_path / name, np.random.default_rng(3))
    assert crop.shape == (1, 8000)
    starts = torch.nn.functional.conv1d(whole[None], crop[None])      # the match is where their product is largest
    energy = torch.nn.functional.conv1d(whole[None].square(), torch.ones(1, 1, 8000))
    distance = energy - 2 * starts + crop.square().sum()
    assert (distance.min().clamp(min=0) / 8000).sqrt() < 0.01
    assert distance.argmin() > 0


def test_crops_are_drawn_from_rng_alone_and_without_one_from_the_start(tmp_path):
    write_audio(tone(3) * torch.linspace(0.1, 1, 24000), tmp_path / "a.wav", 8000)
    reader = AudioReader(8000, seconds=1.0)
    read = lambda seed: reader.read(tmp_path / "a.wav", np.random.default_rng(seed))  # noqa: E731
    assert torch.equal(read(0), read(0))
    assert not torch.equal(read(0), read(1))
    assert torch.equal(reader.read(tmp_path / "a.wav"), AudioReader(8000).read(tmp_path / "a.wav")[:, :8000])


def test_a_short_clip_is_left_short_or_followed_by_silence(tmp_path):
    write_audio(tone(0.25), tmp_path / "a.wav", 8000)
    assert AudioReader(8000, seconds=1.0).read(tmp_path / "a.wav").shape == (1, 2000)
    y = AudioReader(8000, seconds=1.0, pad="silence").read(tmp_path / "a.wav")
    assert y.shape == (1, 8000)
    assert not y[:, 2000:].any()
    assert y[:, :2000].any()


def test_peak_sets_the_largest_value(tmp_path):
    write_audio(tone(level=0.05), tmp_path / "a.wav", 8000)
    assert AudioReader(8000, peak=0.9).read(tmp_path / "a.wav").abs().max() == pytest.approx(0.9)


class Pipe:
    """What can be written but not gone back in, so that no header learns the length."""

    def __init__(self, file):
        self.write = file.write


def stream(path, kind, codec, x, rate):
    """Write ``(1, L)`` through a pipe."""
    with path.open("wb") as file, av.open(Pipe(file), "w", format=kind) as container:
        out = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(x.numpy().astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = rate
        context = out.codec_context
        fit = av.AudioResampler(format=context.format, layout="mono", rate=rate, frame_size=1024)
        for part in [*fit.resample(frame), *fit.resample(None)]:
            container.mux(out.encode(part))
        container.mux(out.encode(None))
    return path


STREAMS = {
    ".flac": ("flac", "flac"), ".aac": ("adts", "aac"), ".mka": ("matroska", "aac"), ".mp3": ("mp3", "libmp3lame"),
}


@pytest.mark.parametrize("suffix", STREAMS)
def test_crops_come_from_all_of_a_sound_whose_header_does_not_tell_its_length(tmp_path, suffix):
    ramp = torch.linspace(0.05, 0.8, 3 * 16000)[None] * tone(3, 16000)
    path = stream(tmp_path / f"a{suffix}", *STREAMS[suffix], ramp, 16000)
    reader = AudioReader(16000, seconds=0.5)
    crops = [reader.read(path, np.random.default_rng(i)) for i in range(40)]
    assert all(crop.shape == (1, 8000) for crop in crops)
    loud = torch.stack([crop.abs().max() for crop in crops])
    assert len(set(loud.tolist())) > 30 and loud.min() < 0.15 and loud.max() > 0.35
    assert torch.equal(reader.read(path, np.random.default_rng(0)), crops[0])


@pytest.mark.parametrize("suffix", [".wav", *STREAMS])
def test_a_crop_that_is_silent_is_drawn_again(tmp_path, suffix):
    late, path = torch.cat([torch.zeros(1, 32000), tone(1, 16000)], 1), tmp_path / f"a{suffix}"
    if suffix == ".wav":
        write_audio(late, path, 16000)
    else:
        stream(path, *STREAMS[suffix], late, 16000)
    reader = AudioReader(16000, seconds=0.25)
    for rng in [None, *map(np.random.default_rng, range(20))]:
        crop = reader.read(path, rng)
        assert crop.shape == (1, 4000) and crop.any()


def test_what_sounds_for_a_moment_alone_is_found(tmp_path):
    x = torch.zeros(1, 80000)
    x[0, 60000] = 0.5
    write_audio(x, tmp_path / "a.wav", 8000)
    for rng in (None, np.random.default_rng(0)):
        assert AudioReader(8000, seconds=0.1).read(tmp_path / "a.wav", rng).abs().max() > 0.4


@pytest.mark.parametrize("left", [0.0, 0.001])
def test_channels_that_cancel_each_other_are_told(tmp_path, left):
    x = tone()[0].numpy()
    soundfile.write(tmp_path / "a.wav", np.stack([x, (left - 1) * x], 1), 8000, subtype="FLOAT")
    for seconds in (None, 0.5):
        with pytest.raises(ValueError, match="a.wav is silent.*cancel each other"):
            AudioReader(8000, seconds=seconds).read(tmp_path / "a.wav")


def corrupt(folder):
    """Files that hold no usable sound, by name."""
    wav = lambda name, x, **more: soundfile.write(folder / name, x, 8000, **more)  # noqa: E731
    (folder / "empty.wav").write_bytes(b"")
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "text.wav").write_text("this is no sound\n" * 50)
    (folder / "text.mp3").write_text("this is no sound\n" * 50)
    (folder / "text.m4a").write_text("this is no sound\n" * 50)
    (folder / "noise.ogg").write_bytes(bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)))
    wav("header.wav", np.ones(100) * 0.1)
    (folder / "header.wav").write_bytes((folder / "header.wav").read_bytes()[:20])
    wav("zero.wav", np.zeros(0))
    wav("silent.wav", np.zeros(1000))
    wav("all_nan.wav", np.full(1000, np.nan), subtype="FLOAT")
    one = np.full(1000, 0.1)
    one[500] = np.nan
    wav("one_nan.wav", one, subtype="FLOAT")
    one[500] = np.inf
    wav("inf.wav", one, subtype="FLOAT")
    for suffix in (".m4a", ".flac"):
        write_audio(torch.randn(1, 80000).clamp(-3, 3) / 4, folder / f"cut{suffix}", 8000)
        content = (folder / f"cut{suffix}").read_bytes()
        (folder / f"cut{suffix}").write_bytes(content[: len(content) // 2])
    with av.open(str(folder / "picture.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    soundfile.write(folder / "odd_rate.wav", np.ones(1000) * 0.1, 44101)
    soundfile.write(folder / "low_rate.wav", np.ones(1000) * 0.1, 10)
    (folder / "folder.wav").mkdir()
    return sorted([*(p.name for p in folder.iterdir()), "missing.wav"])


def test_every_unusable_file_gives_a_value_error_with_its_name_and_a_reason(tmp_path):
    for name in corrupt(tmp_path):
        for peak in (None, 0.9):
            with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
                AudioReader(8000, peak=peak).read(tmp_path / name)
            assert len(str(caught.value)) > len(str(tmp_path / name)) + 5


def test_a_wav_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path):
    write_audio(tone(), tmp_path / "a.wav", 8000)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[: 44 + 8000])
    assert decode(tmp_path / "a.wav").samples.shape == (1, 4000)


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"seconds": -1}, {"pad": "zeros"}, {"peak": 0}, {"peak": 2}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AudioReader(8000, **wrong)


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_recordings_one_after_another_are_refused_rather_than_cut_to_the_first(tmp_path, suffix):
    write_audio(0.5 * torch.sin(torch.arange(8000) / 3)[None], tmp_path / f"a{suffix}", 8000)
    assert AudioReader(8000).read(tmp_path / f"a{suffix}").shape[1] >= 8000
    (tmp_path / f"b{suffix}").write_bytes(2 * (tmp_path / f"a{suffix}").read_bytes())
    with pytest.raises(ValueError, match="several recordings one after another"):
        AudioReader(8000, seconds=0.5).read(tmp_path / f"b{suffix}")


def test_a_folder_that_reads_like_a_protocol_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("12:30", "concat:a", "a%03d"):
        (tmp_path / folder).mkdir()
        write_audio(tone(), f"{folder}/a.m4a", 8000)
        assert abs(pitch(AudioReader(8000).read(Path(folder) / "a.m4a"), 8000) - 440) < 0.5


@pytest.mark.parametrize("tagged", [True, False])
def test_mp3_files_that_were_joined_as_they_are_are_read_to_their_end(tmp_path, tagged):
    data = b""
    for hertz in (440, 880):
        wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(3 * 22050) / 22050).astype(np.float32)[None]
        options = {} if tagged else {"write_xing": "0", "id3v2_version": "0"}
        with av.open(str(tmp_path / "part.mp3"), "w", options=options) as container:
            stream = container.add_stream("libmp3lame", rate=22050, layout="mono")
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 22050
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data += (tmp_path / "part.mp3").read_bytes()
    (tmp_path / "joined.mp3").write_bytes(data)
    whole = AudioReader(22050).read(tmp_path / "joined.mp3")[0].numpy()
    assert abs(len(whole) / 22050 - 6) < 0.2
    pitches = [np.abs(np.fft.rfft(part)).argmax() for part in (whole[:22050], whole[-33075:-11025])]
    assert pitches == [440, 880]
    late = decode(tmp_path / "joined.mp3", seconds=1, position=0.9).samples[0]
    assert np.abs(np.fft.rfft(late)).argmax() == 880


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
@pytest.mark.parametrize("content", [b"junk" * 99, b""])
def test_the_length_of_what_is_no_sound_is_refused_by_name_and_without_a_number_of_ffmpeg(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as sound: (neither|it )") as error:
        duration(tmp_path / name)
    assert "Errno" not in str(error.value)
