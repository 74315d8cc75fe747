"""Maps that samples are told to follow: what they are of a sample, what an untold one changes, and what is refused."""

import json
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

import mmdiff
from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.controls import Loudness, LowBands, Onsets, Pitch
from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.audio.notes import Notes
from mmdiff.adapters.base import Adapter
from mmdiff.adapters.controls import Control, gathered, joined, maps_of
from mmdiff.adapters.points.controls import Shadow
from mmdiff.adapters.series.controls import LowPass
from mmdiff.adapters.video.controls import Edges, Grey, LowResolution
from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.cli import sample
from mmdiff.config.adapter import build_codec
from mmdiff.config.build import ConfigError, build
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.overrides import composed, composition
from mmdiff.core.guidance import ClassifierFree
from mmdiff.core.several import Several
from mmdiff.core.types import Condition, Masked
from mmdiff.data.batch import Batch
from mmdiff.data.labels import encode_labels
from mmdiff.data.loaders import eval_loader
from mmdiff.evaluation.following import followed, unfollowed
from mmdiff.generation.autoguidance import RunAutoguidance
from mmdiff.nn.dit1d import DiT1d
from mmdiff.nn.network import MAPS
from mmdiff.nn.point_dit import PointDiT
from mmdiff.nn.point_egnn import PointEGNN
from mmdiff.nn.unet1d import UNet1d
from mmdiff.nn.video_dit import VideoDiT
from mmdiff.nn.video_uvit import VideoUViT
from mmdiff.store import load_model
from mmdiff.training.base import base_of
from mmdiff.training.run import assemble, opened
from mmdiff.training.train import train
from tests.training.faults import killed_after
from tests.training.launch import Job

LOOP = ["loader.batch_size=8", "preview.n=0", "validation.every=2", "checkpoint.every=2", "logger=csv", "trainer=cpu",
        "log.every=1", "data.n=24", "adapter.conditioner.dim=16"]
VIDEO = [*LOOP, "adapter=video", "adapter.network.dim=32", "adapter.network.depth=1", "adapter.network.heads=2",
         "data.frames=4", "data.size=16", "adapter.reader.frames=4", "adapter.reader.height=16",
         "adapter.reader.width=16", "data=shapes"]
FURTHER = [word for word in VIDEO if not word.startswith("adapter")]
"""What a run says that starts from such a model."""
UNET = ["adapter.network.base=8", "adapter.network.multipliers=[1,2]"]
EACH = {
    "edges": VIDEO,
    "loudness": [*LOOP, "adapter=audio", *UNET, "adapter.reader.seconds=0.25", "adapter.codec.vocoder.n_iter=2"],
    "shadow": [*LOOP, "adapter=points", "data=solids", "adapter.network.dim=32", "adapter.network.depth=1",
               "adapter.network.heads=2", "adapter.reader.points=32"],
}
"""A control of every modality; that of a plug-in is in tests/plugins/test_examples.py."""
FILM = torch.rand(2, 3, 4, 16, 16) * 2 - 1


def begin(run, *words):
    words = [*words, f"run={run}"]
    train(*composition("train", words))
    return run


def assembled(run, *words):
    """All parts of a run before its first step."""
    config, record, _ = opened(run, composed("train", [*words, f"run={run}"]), None)
    return assemble(config, run, record=record, base=base_of(config, record, resumed=False))


def awake(module: nn.Module) -> None:
    """No parameter left at zero, as training leaves it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A model that follows outlines."""
    return begin(tmp_path_factory.mktemp("runs") / "film", *VIDEO, "adapter/controls=edges", "trainer.max_steps=2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model that follows nothing."""
    return begin(tmp_path_factory.mktemp("runs") / "plain", *VIDEO, "trainer.max_steps=2")


@pytest.fixture(scope="module")
def clip(film, tmp_path_factory):
    """A film of 4 frames."""
    model = load_model(film)[0]
    return model.codec.save(FILM[0], tmp_path_factory.mktemp("films") / "walk.mp4")


@pytest.mark.parametrize("control", [Edges(3), Edges(3, least=0.0), Grey(3)])
@pytest.mark.parametrize("axis", [-1, -2])
def test_the_map_of_the_mirrored_film_is_the_mirrored_map_to_the_bit(control, axis):
    assert torch.equal(control(FILM.flip(axis), FILM.flip(axis)), control(FILM, FILM).flip(axis))


@pytest.mark.parametrize(("control", "border"), [(Edges(3), 1), (Grey(3), 0), (LowResolution(3, factor=4), 0)])
def test_the_map_of_a_crop_is_the_crop_of_the_map_but_for_what_looks_beyond_it(control, border):
    box = (..., slice(1, 3), slice(4, 12), slice(4, 16))
    inner = (..., slice(border, 8 - border), slice(border, 12 - border))
    assert torch.equal(control(FILM[box], FILM[box])[inner], control(FILM, FILM)[box][inner])


def test_the_pitch_of_notes_is_heard_whatever_they_are_played_on_and_of_noise_none():
    codec, notes = MelCodec("speech_8k_48"), Notes(AudioReader(seconds=0.25, sample_rate=8000), n=30)
    control = Pitch(48, **codec.facts)
    errors = []
    for i in range(30):
        sample_, labels = notes.read(i)
        both = [codec.features(Masked(level * sample_[None])).x for level in (1.0, 0.1)]
        octaves, clear = control(both[0], both[0])[0]
        assert (control(both[1], both[1]) - control(both[0], both[0])).abs().mean() < 0.05       # however loud
        if labels["instrument"] != "struck":                          # whose partials are no harmonics
            heard = 60 + 12 * (octaves / clear.clamp(min=1e-3))[clear > 0.5].median()
            errors.append(abs(heard - labels["pitch"]))
    assert len(errors) > 10 and torch.stack(errors).max() < 0.5
    noise = codec.features(Masked(torch.randn(1, 1, 4000))).x
    assert control(noise, noise)[0, 1].mean() < 0.2
    silence = codec.features(Masked(torch.zeros(1, 1, 4000))).x
    assert not control(silence, silence).any()
    with pytest.raises(ValueError, match="this codec makes none"):
        Pitch(3)


def test_maps_of_sounds_series_and_points_are_those_of_each_frame_or_window():
    x = torch.randn(2, 20, 30)
    part = Loudness(20)(x[..., 5:9], x[..., 5:9])
    torch.testing.assert_close(Loudness(20)(x, x)[..., 5:9], part, rtol=0, atol=1e-6)
    assert torch.equal(LowBands(20, bands=4)(x, x), x[:, :4])
    assert (Loudness(20)(x + 5, x) - Loudness(20)(x, x) - 1).abs().max() < 1e-5          # decibels, whatever sounds
    played = torch.full((1, 20, 30), -10.0)
    played[..., 12:] = -2.0                                            # silence, then a tone that is held
    assert Onsets(20)(played, played)[0, 0].tolist() == [0.0] * 12 + [4.0] + [0.0] * 17
    part = Onsets(20)(x[..., 5:9], x[..., 5:9])
    torch.testing.assert_close(Onsets(20)(x, x)[..., 6:9], part[..., 1:], rtol=0, atol=1e-6)
    slow = LowPass(20, window=3)(x, x)
    torch.testing.assert_close(slow[..., 1:-1], (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) / 3)
    assert torch.equal(Shadow(3, axis="y")(x[:, :3], x[:, :3]), x[:, [0, 2]])


def test_the_map_of_a_sample_is_the_same_in_any_batch_and_zero_beyond_it():
    x, mask = torch.randn(3, 5, 12), torch.arange(12) < torch.tensor([[12], [7], [3]])[:, None]
    maps = maps_of(LowPass(5, window=5), Masked(x, mask), Masked(x, mask))
    for row, own, length in zip(maps, x, (12, 7, 3), strict=True):
        assert torch.equal(row[:, :length], LowPass(5, window=5)(own[None, :, :length], own[None, :, :length])[0])
        assert (row[:, length:] == 0).all()


def test_what_is_not_told_is_zero_and_says_so():
    controls: dict[str, Control] = {"grey": Grey(3), "edges": Edges(3)}
    maps = {name: torch.full((2, 1, 4), 5.0) for name in controls}
    cond = joined(controls, maps, {"grey": torch.tensor([True, False]), "edges": torch.tensor([False, False])})
    assert cond[:, :, 0].tolist() == [[5, 1, 0, 0], [0, 0, 0, 0]]
    rows = [{"grey": torch.full((1, 4), 5.0), "shape": "disc"}, {"edges": None}]
    assert torch.equal(gathered(controls, rows, torch.device("cpu")), cond)
    assert gathered(controls, [{}, {"shape": "disc"}], torch.device("cpu")) is None
    both = Condition.cat([Condition(concat=cond), Condition()])
    assert both.concat.shape == (4, 4, 4) and (both.concat[2:] == 0).all()
    with pytest.raises(ValueError, match="map grey is a tensor of 1 channels"):
        gathered(controls, [{"grey": torch.zeros(2, 4)}], torch.device("cpu"))
    with pytest.raises(ValueError, match=r"map grey has the size \(5,\), another map \(4,\)"):
        gathered(controls, [{"grey": torch.zeros(1, 4)}, {"grey": torch.zeros(1, 5)}], torch.device("cpu"))


@pytest.mark.parametrize(("kind", "size"), [
    (UNet1d, (9,)), (DiT1d, (9,)), (VideoDiT, (3, 9, 9)), (VideoUViT, (3, 9, 9)), (PointDiT, (9,)), (PointEGNN, (9,)),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_network_that_begins_to_read_maps_keeps_its_bits_and_untold_ones_never_change_them(kind, size):
    base, one, two = (kind(8, 5, concat_channels=n).eval() for n in (0, 2, 5))
    awake(base)
    x, level, cond = torch.randn(2, 8, *size), torch.rand(2), Condition(torch.randn(2, 5))
    out, maps = base(x, level, cond), torch.randn(2, 2, *size)
    one.inherit(base)
    assert torch.equal(one(x, level, cond._replace(concat=maps)), out)
    nn.init.normal_(one.get_parameter(MAPS), std=0.1)
    told = one(x, level, cond._replace(concat=maps))
    assert (told - out).abs().max() > 1e-3
    assert torch.equal(one(x, level, cond), out)
    assert torch.equal(one(x, level, cond._replace(concat=torch.zeros_like(maps))), out)
    two.inherit(one)
    more = torch.cat([maps, torch.randn(2, 3, *size)], 1)
    torch.testing.assert_close(two(x, level, cond._replace(concat=more)), told, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="find no place, such as maps.weight"):
        base.inherit(one)


@pytest.mark.parametrize(("codec", "control", "fits"), [
    ("video_codec", "edges", False), ("video_codec", "companion", True), ("audio_codec", "loudness", False),
    ("audio_vocoder", "loudness", True), ("video", "edges", True),
])
def test_learned_latents_are_no_samples_of_which_a_map_is_made(codec, control, fits):
    parts = build_codec(composed("train", [f"adapter={codec}", "data=notes"]).adapter)[0]
    modality, network = codec.partition("_")[0], UNet1d(parts.channels, cond_dim=8, base=8, multipliers=(1,))
    node = composed("train", [f"adapter={modality}", f"adapter/controls={control}", "data=notes"]).adapter
    controls = {control: build(node.controls[control], Control, channels=parts.channels)}
    adapter = Adapter(None, parts, None, network, controls=controls)
    with nullcontext() if fits else pytest.raises(ValueError, match=f"the map {control} is made of samples as they"):
        adapter.check()


@pytest.mark.parametrize("control", EACH)
def test_training_and_generation_make_the_same_map_of_a_sample(control, tmp_path):
    module = assembled(tmp_path / "r", *EACH[control], f"adapter/controls={control}").module
    model, batch = module.model, next(iter(eval_loader(module.dataset, 4)))
    model.codec.fit([batch.samples])
    features, x0 = model._encoded(batch.samples, encoded=batch.encoded)
    maps = maps_of(model.controls[control], features, x0)
    assert maps.shape == (4, model.controls[control].width, *x0.x.shape[2:]) and 0.1 < maps.std() < 10
    for sample_, own in zip(batch.samples.x, maps, strict=True):
        torch.testing.assert_close(model.map_of(control, sample_), own, atol=1e-5, rtol=1e-5)
    model.denoiser.network.requires_grad_(True)
    model.loss(batch, 0).sum().backward()                             # the output is zero at first, and blocks all else
    assert model.denoiser.network.get_parameter(MAPS).shape[1] % (model.controls[control].width + 1) == 0


def test_a_run_goes_on_to_the_bits_of_the_one_that_was_not_stopped(tmp_path):
    words = [*VIDEO, "adapter/controls=[edges,grey]", "trainer.max_steps=4"]
    whole, part = begin(tmp_path / "whole", *words), tmp_path / "part"
    Job("train", *words, f"run={part}", fault=killed_after(3), output=tmp_path).wait(-9)
    train(composed("train", [f"run={part}"]), [])
    assert (part / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()


def test_which_maps_are_told_is_fixed_by_seed_and_draw_and_hides_with_the_labels(film):
    model, n = load_model(film)[0], 2000
    labels = encode_labels(model.conditioner.fields, [{"shape": "disc"}] * n)
    batch = Batch(Masked(torch.zeros(n, 3, 4, 16, 16)), labels, torch.arange(n))
    drawn = model.draw(batch, 0, batch_size=n)
    kept = drawn.random["kept"]
    assert not kept[drawn.labels["shape"] < 0].any() and abs(kept.float().mean() - 0.81) < 0.03
    assert kept.equal(model.draw(batch, 0, batch_size=n).random["kept"])
    model.conditioner.drop_each = 0.5
    assert abs(model.draw(batch, 0, batch_size=n).random["kept"].float().mean() - 0.45) < 0.04


@pytest.mark.parametrize("words", [[], ["lora=2"], ["train.only=[network.maps]"]])
def test_a_base_that_begins_to_follow_maps_gives_its_bits(plain, tmp_path, words):
    words = [*FURTHER, f"init={plain}", "adapter/controls=edges", *words]
    model, base = assembled(tmp_path / "r", *words).module.averaged.eval(), load_model(plain)[0]
    wish = [{"shape": "disc"}, {}]
    told = [{**row, "edges": torch.rand(1, 4, 16, 16)} for row in wish]
    right = base.latents(wish, [0, 1], (4, 16, 16))
    assert torch.equal(model.latents(wish, [0, 1], (4, 16, 16)), right)
    assert torch.equal(model.latents(told, [0, 1], (4, 16, 16)), right)
    assert model.denoiser.network.get_parameter(MAPS).count_nonzero() == 0


def test_a_change_holds_the_projection_of_its_maps_and_brings_them_along(plain, tmp_path):
    words = [*FURTHER, f"init={plain}", "adapter/controls=edges"]
    run = begin(tmp_path / "r", *words, "lora=2", "trainer.max_steps=2")
    alone, added = load_model(run)[0], load_model(plain, lora={str(run): 1.0})[0]
    assert list(added.controls) == ["edges"] and alone.denoiser.network.get_parameter(MAPS).any()
    assert all(torch.equal(a, b) for a, b in zip(alone.state_dict().values(), added.state_dict().values(), strict=True))
    none, base = load_model(plain, lora={str(run): 0.0})[0], load_model(plain)[0]
    told = [{"edges": torch.rand(1, 4, 16, 16)}]
    assert torch.equal(none.latents(told, [0], (4, 16, 16)), base.latents([{}], [0], (4, 16, 16)))


def test_one_scale_for_a_map_is_classifier_free_guidance_and_scale_zero_is_untold(film):
    model = load_model(film)[0]
    awake(model.denoiser)
    rows = [{"edges": torch.rand(1, 4, 16, 16)}, {"edges": torch.rand(1, 4, 16, 16)}]

    def latents(rows, guidance):
        return model.latents(rows, [0, 1], (4, 16, 16), guidance=guidance)

    torch.testing.assert_close(latents(rows, Several({"edges": 2.0})), latents(rows, ClassifierFree(2.0)))
    assert torch.equal(latents(rows, Several({"edges": 0.0})), latents([{}, {}], None))
    assert (latents(rows, Several({"edges": 1.0})) - latents([{}, {}], None)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="no field or map 'edge'; it has shape, colour, speed, edges"):
        latents(rows, Several({"edge": 2.0}))


def test_a_weak_model_is_told_the_maps_and_one_that_follows_others_guides_nobody(film, plain):
    model, rows = load_model(film)[0], [{"shape": "disc", "edges": torch.rand(1, 4, 16, 16)}]
    awake(model.denoiser)
    alone, guided = (model.latents(rows, [0], (4, 16, 16), guidance=g) for g in (None, RunAutoguidance(film)))
    assert guided.isfinite().all() and not torch.equal(guided, alone)
    with pytest.raises(ValueError, match="cannot guide this model: .*it follows no map edges"):
        model.latents(rows, [0], (4, 16, 16), guidance=RunAutoguidance(plain))


def test_files_are_followed_from_python_the_command_line_and_tables_alike(film, clip, tmp_path):
    awake((pipeline := mmdiff.load(film)).model.denoiser)
    told, untold = pipeline.sample(1, controls={"edges": clip}), pipeline.sample(1)
    assert told[0].shape == (3, 4, 16, 16) and not torch.equal(told[0], untold[0])
    (tmp_path / "wishes.csv").write_text(f"control.edges\n{Path('..') / clip.parent.name / clip.name}\n")
    (tmp_path.parent / clip.parent.name).mkdir(exist_ok=True)
    (tmp_path.parent / clip.parent.name / clip.name).write_bytes(clip.read_bytes())
    for out, words in (("a", [f"control.edges={clip}"]), ("b", [f"requests={tmp_path / 'wishes.csv'}"])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert sample.main([str(film), f"out={tmp_path / out}", "seed=3", *words]) == 0
    first, second = (next((tmp_path / out).glob("0000_*.json")) for out in "ab")
    facts = json.loads(first.read_text())
    assert facts["controls"]["edges"]["input"] == "walk.mp4" and len(facts["controls"]["edges"]["input_sha256"]) == 64
    assert facts == json.loads(second.read_text()) and facts["size"]["frames"] == 4
    assert first.with_suffix(".mp4").read_bytes() == second.with_suffix(".mp4").read_bytes()


def test_the_size_follows_the_file_and_a_shorter_one_takes_its_beginning(film, clip, tmp_path):
    pipeline = mmdiff.load(film)
    longer = pipeline.model.codec.save(torch.cat([FILM[0], FILM[1]], 1), tmp_path / "longer.mp4")
    assert pipeline.sample(1, controls={"edges": longer})[0].shape[1] == 8
    assert pipeline.sample(1, controls={"edges": longer}, frames=3)[0].shape[1] == 3
    both = {"edges": clip, "grey": longer}
    with pytest.raises(ValueError, match="edges is of frames 4, control.grey of 8: say frames=, and both take their"):
        pipeline.size_of(mmdiff.Request(controls=both))
    assert pipeline.size_of(mmdiff.Request(controls=both, size={"frames": 4}))["frames"] == 4


@pytest.mark.parametrize(("asked", "message"), [
    ({"controls": {"edge": "walk"}}, "follows no map 'edge'; did you mean 'edges'"),
    ({"controls": {"edges": "none.mp4"}}, "control.edges: none.mp4 is not a file"),
    ({"controls": {"edges": "notes.txt"}}, "control.edges: .*notes.txt"),
    ({"controls": {"edges": "walk"}, "frames": 9}, r"control.edges: .*walk.mp4 gives a map of size 4 x 16 x 16, and s"),
    ({"controls": {"edges": "walk"}, "edit": "walk"}, "mode=extend starts from a file, control.edges follows one"),
])
def test_files_that_cannot_be_followed_are_named(film, clip, tmp_path, monkeypatch, asked, message):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no film")
    asked["controls"] = {name: clip if file == "walk" else file for name, file in asked["controls"].items()}
    if "edit" in asked:
        asked["edit"] = mmdiff.Edit("extend", clip)
    with pytest.raises(ValueError, match=message):
        mmdiff.load(film).sample(1, **asked)


@pytest.mark.parametrize(("words", "message"), [
    (["adapter/controls=edge"], "adapter/controls has no option 'edge'; did you mean 'edges'"),
    (["adapter/controls=[edges,gray]"], "no option 'gray'; did you mean 'grey'"),
    (["adapter/controls=edges", "adapter.controls.edges.most=1"], "no key 'adapter.controls.edges.most'"),
])
def test_maps_that_are_not_there_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        composed("train", [*VIDEO, *words])


def test_a_map_has_the_name_of_no_field_and_those_of_a_base_come_first(film, tmp_path):
    config = composed("train", [*VIDEO, "adapter/controls=edges", f"run={tmp_path / 'r'}"])
    config.adapter.controls = {"shape": config.adapter.controls.edges}
    with pytest.raises(ConfigError, match=r"adapter.controls.shape: the data tell a field of that name"):
        assemble(opened(tmp_path / "r", config, None)[0], tmp_path / "r")
    words = [*VIDEO, f"init={film}", "adapter/controls=grey"]
    with pytest.raises(ConfigError, match="follows the maps edges, and adapter.controls has grey: new ones come after"):
        assembled(tmp_path / "r", *words)
    both = assembled(tmp_path / "r", *VIDEO, f"init={film}", "adapter/controls=[edges,grey]").module.averaged.eval()
    told = [{"edges": torch.rand(1, 4, 16, 16)}]
    right = load_model(film)[0].latents(told, [0], (4, 16, 16))
    torch.testing.assert_close(both.latents(told, [0], (4, 16, 16)), right, atol=1e-5, rtol=1e-5)


def test_the_held_out_loss_is_of_samples_that_are_told_their_maps(film, tmp_path):
    model = load_model(film)[0]
    awake(model.denoiser)
    batch = next(iter(eval_loader(assembled(tmp_path / "r", *VIDEO).module.dataset, 4)))
    told = model.validation_loss(batch)
    model.denoiser.network.get_parameter(MAPS).data.zero_()
    assert (model.validation_loss(batch) - told).abs().max() > 1e-5


def test_an_evaluation_tells_a_model_that_follows_its_map_from_one_that_does_not(film, monkeypatch):
    pipeline, judge = mmdiff.load(film), VideoJudge()
    real, other = list(FILM.repeat(3, 1, 1, 1, 1)), list(torch.zeros(6, 3, 4, 16, 16))
    real = [sample.roll(i, -1) for i, sample in enumerate(real)]
    rows = followed(pipeline, judge, real, [{}] * 6, other, seed=0, batch_size=4)["edges"]
    assert list(rows) == ["with map", "without map", "another's map", "codec"]
    assert {row["n"] for row in rows.values()} == {6}
    assert rows["codec"]["error"].value < 1e-5 < rows["with map"]["error"].value
    alone = unfollowed({"edges": {**rows, "without map": rows["with map"]}})
    assert len(alone) == 1 and alone[0].startswith("The map edges is not followed")

    def perfect(labels, seeds, shape, **_):
        return pipeline.model.codec.encode(Masked(torch.stack(real)[list(seeds)])).x

    monkeypatch.setattr(pipeline.model, "latents", perfect)
    rows = followed(pipeline, judge, real, [{}] * 6, other, seed=0, batch_size=4)["edges"]
    assert rows["with map"]["error"] == rows["codec"]["error"] and rows["another's map"]["error"].value > 0.01
    assert rows["with map"]["PSNR, dB"].value > 40 > rows["another's map"]["PSNR, dB"].value
    assert not unfollowed({"edges": rows})


def test_a_map_of_files_is_judged_by_how_near_the_samples_come_to_that_of_which_it_is(film, monkeypatch):
    pipeline, model = mmdiff.load(film), load_model(film)[0]
    real = [FILM[i % 2].roll(i, -1) for i in range(6)]
    beside = {"edges": [None, *(-sample for sample in real[1:])]}
    asked = []

    def perfect(labels, seeds, shape, **_):
        asked.extend(row["edges"] for row in labels)
        return pipeline.model.codec.encode(Masked(torch.stack(real)[[seed + 1 for seed in seeds]])).x

    monkeypatch.setattr(pipeline.model, "latents", perfect)
    blank = [torch.zeros(3, 4, 16, 16)] * 6
    rows = followed(pipeline, VideoJudge(), real, [{}] * 6, blank, seed=0, batch_size=4, beside=beside)
    rows = rows["edges"]
    assert {row["n"] for row in rows.values()} == {5}                 # one has no file
    for found, x in zip(asked, real[1:], strict=True):
        torch.testing.assert_close(found, model.map_of("edges", -x), atol=1e-5, rtol=0)
    assert rows["with map"]["error"].value < 1e-5 < rows["without map"]["error"].value


@pytest.mark.parametrize("encoded", [False, True])
def test_a_preview_follows_the_map_of_the_sample_that_stands_before_it(film, encoded):
    model = load_model(film)[0]
    awake(model.denoiser)
    shown = [sample if not encoded else model.codec.features(Masked(sample[None])).x[0] for sample in FILM]
    size = {"frames": 4, "height": 16, "width": 16}
    examples = model.preview(shown, [{}, {}], size, encoded=encoded)
    assert [title for title, _ in examples] == ["followed", "", "followed", ""]
    torch.testing.assert_close(examples[2][1], FILM[1], atol=1e-5, rtol=0)
    told = [{"edges": model.map_of("edges", FILM[1])}]
    made = model.decoded(model.latents(told, [1], (4, 16, 16), sampler=model.sampler, guidance=model.guidance))[0]
    torch.testing.assert_close(examples[3][1], made, atol=1e-4, rtol=0)
