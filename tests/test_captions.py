"""Models that are told by captions: from the first line of a run to files, tables, moved encoders and reports."""

import json
import shutil
import warnings

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open

import mmdiff
from mmdiff.adapters.points.write import write_points
from mmdiff.cache.encode import encode
from mmdiff.cli import embedder, sample
from mmdiff.cli import eval as judge
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.store import ModelFileError, load_model
from mmdiff.training.train import train
from tests.test_texts import folder

TINY = [
    "adapter=audio", "adapter.reader.seconds=0.25", "adapter.codec.vocoder.n_iter=2", "adapter.network.base=8",
    "adapter.network.multipliers=[1,2]", "adapter.conditioner.dim=16", "loader.batch_size=4", "loader.val_samples=2",
    "preview.n=0", "validation.every=4", "checkpoint.every=2", "trainer.max_steps=4", "log.every=1", "logger=csv",
    "trainer=cpu", "sampler.steps=2",
]
BYTES = ["adapter/text=bytes", "adapter.text.width=16", "adapter.text.heads=2", "adapter.text.depth=1"]
LONG = "a long and slow tone that begins low and rises, rises, rises until it is high and ends at once"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twelve sounds with captions beside them, two of a list each, and one without."""
    root = tmp_path_factory.mktemp("sounds")
    for i in range(13):
        soundfile.write(root / f"{i}.wav", 0.5 * np.sin(np.arange(2000) * (0.02 + 0.01 * i)), 8000)
        caption = f"a tone, number {i}" if i % 6 else json.dumps([LONG, f"tone {i}"])
        if i < 12:
            (root / f"{i}.txt").write_text(caption)
    return root


@pytest.fixture(scope="module")
def told(sounds, tmp_path_factory):
    """A run on them, and what it said."""
    run = tmp_path_factory.mktemp("runs") / "told"
    return run, begun(run, [f"data.root={sounds}", "data.captions=true", *TINY, *BYTES])


def begun(run, words):
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmdiff.training.train.say", lambda text: said.append(str(text)))
        train(composed("train", [*words, f"run={run}"]))
    return said


def files(run):
    return (run / "model.safetensors").read_bytes(), (run / "metrics.csv").read_text()


def test_the_first_line_of_a_run_says_how_many_have_a_caption_and_how_long_they_are(told):
    assert "12 of 13 have a caption, median 5 tokens, longest 22 of 64" in told[1][0]


def test_clouds_are_told_by_captions_in_their_names(tmp_path):
    (root := tmp_path / "in").mkdir()
    for i in range(8):
        shape, height = (("flat", 0.1), ("tall", 2.0))[i % 2]
        write_points(torch.randn(3, 24) * torch.tensor([[1.0], [height], [1.0]]), root / f"a {shape} thing, {i}.ply")
    said = begun(tmp_path / "run", [
        "adapter=points", f"data.root={root}", "data.pattern=(?P<caption>.*)", "data.texts=[caption]", *BYTES,
        "adapter.reader.points=16", "adapter.network.dim=16", "adapter.network.depth=1", "adapter.network.heads=2",
        *(word for word in TINY if not word.startswith("adapter")), "loader.val=0.25", "optim.lr=0.05",
    ])
    assert "8 of 8 have a caption" in said[0]
    model = mmdiff.load(tmp_path / "run", device="cpu")
    flat, tall, untold = (model.sample(seed=1, cond={"caption": f"a {shape} thing"} if shape else {})[0]
                          for shape in ("flat", "tall", ""))
    assert flat.shape == (3, 16) and not torch.equal(flat, tall) and not torch.equal(flat, untold)


def test_a_model_file_holds_no_caption(told):
    run, _ = told
    with safe_open(run / "model.safetensors", "pt") as file:
        header = file.metadata()["mmdiff"]
    assert json.loads(header)["config"]["adapter"]["conditioner"]["fields"] == {"caption": "text"}
    assert "tone" not in header


def test_a_sample_is_the_same_bits_beside_shorter_and_longer_captions(told):
    run, _ = told
    captions = ["a tone", LONG, "", f"{LONG} {LONG}", "tone 3"]
    requests = [mmdiff.Request(seed=i, labels={"caption": c}) for i, c in enumerate(captions)]
    model = mmdiff.load(run, device="cpu")
    alone = [dict(model.run([r], 2, show_progress=False))[0] for r in requests]
    together = dict(model.run(requests, 2, show_progress=False))
    assert all(torch.equal(together[i], alone[i]) for i in range(len(requests)))
    other = dict(model.run([mmdiff.Request(seed=0, labels={"caption": LONG})], 2, show_progress=False))[0]
    assert not torch.equal(other, alone[0])


def test_an_empty_caption_is_untold_on_the_command_line_in_tables_and_in_python(told, tmp_path):
    run, _ = told
    (tmp_path / "t.jsonl").write_text('{"caption": ""}\n{"caption": null}\n{}\n')
    words = [str(run), "seed=5", "device=cpu", "record=false"]
    sample.main([*words, f"requests={tmp_path / 't.jsonl'}", f"out={tmp_path / 'a'}"])
    sample.main([*words, "cond.caption=", f"out={tmp_path / 'b'}"])
    names = [path.read_bytes() for path in sorted((tmp_path / "b").glob("*.wav"))]
    assert len(names) == 1 and sorted((tmp_path / "a").glob("*.wav"))[0].read_bytes() == names[0]
    model = mmdiff.load(run, device="cpu")
    assert torch.equal(model.sample(seed=5, cond={"caption": ""})[0], model.sample(seed=5)[0])


def test_a_long_caption_is_cut_in_titles_and_names_but_not_in_what_is_told(told, tmp_path):
    run, _ = told
    sample.main([str(run), f"cond.caption={LONG}", f"out={tmp_path}", "device=cpu"])
    (wave,), (facts,) = tmp_path.glob("*.wav"), tmp_path.glob("*.json")
    assert len(wave.name.encode()) < 220 and json.loads(facts.read_text())["labels"] == {"caption": LONG}
    assert mmdiff.Request(labels={"caption": LONG}).title == f"{LONG[:59]}…"


def test_signs_that_the_font_of_pictures_has_not_are_no_warning(told, tmp_path, recwarn):
    sample.main([str(told[0]), "cond.caption=a \a bell \u826f \U0001f642 $x", f"out={tmp_path}", "device=cpu"])
    assert (tmp_path / "preview.png").exists() and not [w for w in recwarn if "Glyph" in str(w.message)]


@pytest.mark.parametrize(("words", "text"), [
    ([f"cond.caption={LONG} {LONG} {LONG} {LONG}"], "caption has 88 tokens, of which adapter.text.length=64"),
    (["cond.captoin=a tone"], "did you mean 'caption'"),
    (["cond.caption=a \ud83d tone"], "labels holds half of a letter"),
    (["encoder=elsewhere"], "reads no text by an encoder"), (["control.hum="], "control.hum= names no file"),
    (["cond.caption=a tone", "cond.caption=a bell"], "cond.caption= is said 2 times: a sample is told one"),
    (["not.caption=a tone", "not.caption=a bell"], "not.caption= is said 2 times"),
    (["control.hum=a.wav", "control.hum=b.wav"], "control.hum= is said 2 times"),
    (["guidance=composed", "guidance.also=[{cond: {caption: true}, scale: 1}]"], "in quotes any word is a text"),
    (["guidance=composed", "guidance.also=[{cond: {caption: [a, b]}, scale: 1}]"], r"got \['a', 'b'\]"),
])
def test_a_mistaken_wish_is_refused_before_any_work(told, tmp_path, words, text):
    with pytest.raises(ValueError, match=text):
        sample.main([str(told[0]), *words, f"out={tmp_path / 'out'}", "device=cpu"])
    assert not (tmp_path / "out").exists()


def test_a_scale_of_what_no_sample_is_told_is_a_warning(told):
    model = mmdiff.load(told[0], device="cpu", guidance={"_target_": "mmdiff.core.several.Several",
                                                         "scales": {"caption": 3.0}})
    with pytest.warns(UserWarning, match="guidance.scales has caption, of which nothing is told: say cond.caption="):
        model.sample()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.prepare([mmdiff.Request(), mmdiff.Request(negative={"caption": "a tone"})], 1)


def test_a_caption_that_is_too_long_names_its_sample_before_the_training(sounds, tmp_path):
    words = [f"data.root={sounds}", "data.captions=true", *TINY, *BYTES, "adapter.text.length=8"]
    with pytest.raises(ConfigError, match=r"\d+.wav: its caption has 22 tokens, .* 'and rises , rises , rises until"):
        begun(tmp_path / "run", words)
    said = begun(tmp_path / "run", [*words, "adapter.text.truncate=true", "trainer.max_steps=1"])
    assert "2 cut (adapter.text.truncate)" in said[0]


def test_a_run_from_latents_words_captions_as_the_run_from_files(sounds, told, tmp_path):
    words = [f"data.root={sounds}", "data.captions=true", *TINY, *BYTES]
    encode(composed("encode", words), str(tmp_path / "latents"), progress=False)
    rest = [w for w in words if not w.startswith("data.")]
    begun(tmp_path / "run", ["data=latents", f"data.root={tmp_path / 'latents'}", *rest])
    assert files(tmp_path / "run")[1] == files(told[0])[1]


def test_a_frozen_encoder_stays_in_its_folder_and_is_known_again(sounds, tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))
    path, run = folder("bert", tmp_path / "bert"), tmp_path / "run"
    words = [f"data.root={sounds}", "data.captions=true", *TINY, "adapter/text=pretrained", f"adapter.text.path={path}",
             "adapter.text.length=32"]
    begun(run, words)
    with safe_open(run / "model.safetensors", "pt") as file:
        config = json.loads(file.metadata()["mmdiff"])["config"]["adapter"]["text"]
        assert not any("text" in name for name in file.keys())        # noqa: SIM118
    assert config["width"] == 24 and len(config["digest"]) == 64
    checkpoint = torch.load(sorted((run / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)
    assert not any(".text." in name for name in checkpoint["state_dict"])
    straight = files(run)
    shutil.copytree(run, tmp_path / "again")
    for name in ("checkpoints/step-000000004.ckpt", "model.safetensors"):
        (tmp_path / "again" / name).unlink()
    train(composed("train", [f"run={tmp_path / 'again'}"]), [])
    assert files(tmp_path / "again") == straight
    first = mmdiff.load(run, device="cpu").sample(cond={"caption": "a red disc"})[0]
    moved = path.rename(tmp_path / "moved")
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match="is no folder of a text encoder"):
        mmdiff.load(run, device="cpu").sample(cond={"caption": "a red disc"})
    assert torch.equal(mmdiff.load(run, device="cpu", encoder=moved).sample(cond={"caption": "a red disc"})[0], first)
    folder("bert", moved, seed=1)
    with pytest.raises(ValueError, match="another text encoder than this model learned with"):
        mmdiff.load(run, device="cpu", encoder=moved).sample(cond={"caption": "a red disc"})


def test_a_model_of_captions_is_judged_by_what_captions_tell(tmp_path):
    run = tmp_path / "run"
    begun(run, [*TINY, *BYTES, "data=captioned_notes", "data.n=60", "loader.val=0.25"])
    embedder.main([str(run), f"out={tmp_path / 'judge.safetensors'}", "steps=4"])
    quick = ["evaluation.n=10", "evaluation.references=20", "evaluation.draws=4", "sampler.steps=2",
             "evaluation.captions=2"]
    assert judge.main([str(run), f"evaluation.embedder={tmp_path / 'judge.safetensors'}", *quick]) == 0
    report = json.loads((run / "eval" / "report.json").read_text())
    assert {"instrument right", "height right"} <= set(report["rows"]["model"])
    assert set(report["groups"]["model"]) == {"instrument", "height"} and "caption" not in report["embedder"]["fields"]
    rows = report["retrieval"]["caption"]
    assert list(rows) == ["real", "model", "control: captions shuffled"] and rows["real"]["captions"] > 1
    assert "## caption among others" in (run / "eval" / "report.md").read_text()


def test_a_model_file_whose_text_encoder_is_no_folder_is_told_when_a_text_is_read(told, tmp_path):
    _, header = load_model(told[0])
    assert header["config"]["adapter"]["text"]["_target_"].endswith("Bytes")
    with pytest.raises(ModelFileError, match="reads no text by an encoder of a folder"):
        load_model(told[0], encoder=tmp_path)
