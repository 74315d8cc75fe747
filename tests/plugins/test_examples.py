"""The examples as their users have them: installed from their folders, trained, sampled, loaded elsewhere."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

import mmdiff
from mmdiff.adapters.video.write import write_video
from mmdiff.config import plugins
from mmdiff.config.header import ModelFileError
from mmdiff.config.overrides import composed
from mmdiff.data.loaders import eval_loader
from mmdiff.store import save_model
from mmdiff.testing import Trial
from mmdiff.testing.report import failure, laws
from mmdiff.training.base import base_of
from mmdiff.training.run import assemble, opened
from tests.conftest import mmdiff as run_mmdiff
from tests.plugins.conftest import install

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = [
    "loader.batch_size=4", "trainer=cpu", "preview.every=3", "preview.n=2", "validation.every=3", "checkpoint.every=3",
    "trainer.max_steps=6", "log.every=1", "logger=csv", "adapter.conditioner.dim=8",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory, with_plugins):
    folder = tmp_path_factory.mktemp("examples") / "site"
    install(folder, *sorted(EXAMPLES.glob("*/")))
    with_plugins(folder)
    return folder


@pytest.fixture(scope="module")
def environment(site):
    return {"PYTHONPATH": str(site)}


ABSENT = ["lightning", "hydra", "omegaconf", "pydantic", "av", "soundfile", "torchaudio", "trimesh", "scipy", "PIL"]


def test_the_core_alone_trains_and_samples():
    """The example checks its own result; here it is run where everything but torch, NumPy and einops is missing."""
    code = f"import runpy, sys; sys.modules.update(dict.fromkeys({ABSENT})); runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", code, EXAMPLES / "minimal.py"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("nearest to the centre asked for") == 2


@pytest.mark.parametrize(("example", "most"), [("biosignals", 150), ("images", 60)])
def test_a_modality_is_so_many_lines(example, most):
    package = EXAMPLES / example
    files = [package / "pyproject.toml", *package.glob("mmdiff_*/**/*.py"), *package.glob("mmdiff_*/**/*.yaml")]
    assert len(files) > 4
    assert sum(len(file.read_text().splitlines()) for file in files) <= most


@pytest.mark.parametrize(("adapter", "overrides"), [
    ("biosignals", ["adapter.network.base=8", "adapter.codec.channels=2", "adapter.reader.seconds=1"]),
    ("images", ["adapter.network.dim=32", "adapter.network.heads=2", "adapter.reader.height=16",
                "adapter.reader.width=16", "data.size=16"]),
])
def test_it_keeps_the_laws(site, tmp_path, adapter, overrides):
    trial = Trial(adapter, [*overrides, "loader.limit=16"], tmp_path)
    faults = {name: failure(law, trial) for name, law in laws().items() if not name.startswith("two processes")}
    assert faults == dict.fromkeys(faults)


def test_a_plug_in_follows_maps(site, tmp_path):
    words = ["adapter=biosignals", "adapter/controls=low_pass", "adapter.network.base=8", "adapter.reader.seconds=1"]
    module = assemble(opened(tmp_path, composed("train", [*words, f"run={tmp_path}"]), None)[0], tmp_path).module
    model, batch = module.model, next(iter(eval_loader(module.dataset, 4)))
    model.codec.fit([batch.samples])
    cond = model.condition([{"low_pass": model.map_of("low_pass", sample)} for sample in batch.samples.x])
    assert cond.concat.shape[1] == model.codec.channels + 1 and (cond.concat[:, -1] == 1).all()
    assert model.latents([{}], [0], (16,)).shape == (1, model.codec.channels, 16)
    assert model.loss(batch, 0).isfinite().all()


@pytest.mark.parametrize("kind", ["scratch", "paths", "consistent"])
def test_a_plug_in_learns_to_generate_in_one_call(site, tmp_path, kind):
    words, base = ["adapter.network.base=8", "adapter.reader.seconds=1"], None
    if kind == "scratch":
        words = ["adapter=biosignals", *words]
    else:
        trial = Trial("biosignals", [*words, "loader.limit=8"], tmp_path)
        save_model(trial.awake, trial.stored, tmp_path / "teacher.safetensors", step=1)
        words = [f"init={tmp_path / 'teacher.safetensors'}", "data=vital_signs", "data.n=8"]
    words += ["few.n=4", "few.calls=4"] if kind == "paths" else []
    config = opened(tmp_path, composed("train", [*words, f"few={kind}", f"run={tmp_path}"]), None)[0]
    base = base_of(config, None, resumed=False)
    module = assemble(config, tmp_path, base=base).module
    model, batch = module.model, next(iter(eval_loader(module.dataset, 4)))
    if base is None:
        model.codec.fit([batch.samples])
    model.loss(batch, 0).mean().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.network.parameters())
    calls = []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    shape = batch.samples.x.shape[2:] if kind == "paths" else model.codec.features(batch.samples).x.shape[2:]
    made = model.latents([{}, {}], [0, 1], shape, sampler=model.sampler, guidance=model.guidance)
    assert made.isfinite().all() and len(calls) == model.sampler.calls == 4


@pytest.mark.parametrize(("adapter", "metric", "overrides"), [
    ("biosignals", "frequency, cycles a position", ["adapter.reader.seconds=1", "adapter.network.base=8"]),
    pytest.param(
        "images", "sharpness",
        ["adapter.reader.height=16", "adapter.reader.width=16", "data.size=16", "adapter.network.dim=32",
         "adapter.network.heads=2"],
        marks=pytest.mark.slow,
    ),
])
def test_it_is_judged_as_it_is(site, environment, tmp_path, adapter, metric, overrides):
    words = [f"adapter={adapter}", "data.n=60", "loader.val=0.3", *overrides, *TINY]
    run_mmdiff("train", f"run={tmp_path / 'run'}", *words, "trainer.max_steps=2", env=environment)
    judge = tmp_path / "judge.safetensors"
    run_mmdiff("embedder", tmp_path / "run", f"out={judge}", "steps=4", env=environment)
    quick = ["evaluation.n=12", "evaluation.draws=4", "sampler.steps=2", f"evaluation.embedder={judge}"]
    printed = run_mmdiff("eval", tmp_path / "run", *quick, env=environment)
    assert f"| W1 {metric} |" in printed and "told from real samples by" in printed


def test_biosignals_from_a_folder_of_csv_and_npz(site, environment, tmp_path, monkeypatch):
    time = np.arange(200) / 64
    for i in range(8):
        fast, slow = (np.stack([np.sin(2 * np.pi * (f * time + i / 8)), np.cos(f * time)]) for f in (5, 1))
        for folder in ("fast", "slow"):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        header = "a,b" if i % 2 else ""
        np.savetxt(tmp_path / "data" / "fast" / f"{i}.csv", fast.T, delimiter=",", header=header, comments="")
        np.savez(tmp_path / "data" / "slow" / f"{i}.npz", signal=slow[:, ::2], sample_rate=32)
    (tmp_path / "data" / "slow" / "broken.npz").write_bytes(b"nothing")
    run = tmp_path / "run"
    run_mmdiff(
        "train", f"run={run}", "adapter=biosignals", f"data.root={tmp_path / 'data'}", "adapter.codec.channels=2",
        "adapter.reader.seconds=1.5", "adapter.network.base=8", *TINY, env=environment,
    )
    assert '"kept": 16' in (run / "data.json").read_text() and "broken.npz" in (run / "data.json").read_text()
    assert (run / "previews" / "step-000000006" / "preview.png").exists()
    run_mmdiff("sample", run, "n=2", "cond.label=fast", "seconds=2", "sampler.steps=2", env=environment)
    with np.load(next((run / "samples").glob("*.npz"))) as made:
        assert made["signal"].shape == (2, 128) and made["sample_rate"] == 64

    exported = shutil.copy(run / "model.safetensors", tmp_path / "alone.safetensors")
    first, again = (mmdiff.load(path, device="cpu").sample(2, seconds=1) for path in (run, exported))
    assert first[0].shape == (2, 64) and all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    monkeypatch.setattr(plugins, "packages", tuple)                   # as where the package is not installed
    with pytest.raises(ModelFileError, match=r"mmdiff_biosignals.* is refused: .* install that"):
        mmdiff.load(exported, device="cpu")


def test_images_from_a_folder_of_png(site, environment, tmp_path):
    (tmp_path / "data" / "dark").mkdir(parents=True)
    (tmp_path / "data" / "light").mkdir()
    for i in range(8):
        for folder, level in (("dark", -0.5), ("light", 0.5)):
            write_video(level + 0.3 * torch.rand(3, 1, 20, 24), tmp_path / "data" / folder / f"{i}.png", 1)
    run = tmp_path / "run"
    run_mmdiff(
        "train", f"run={run}", "adapter=images", f"data.root={tmp_path / 'data'}", "adapter.reader.height=16",
        "adapter.reader.width=16", "adapter.network.dim=32", "adapter.network.heads=2", *TINY, env=environment,
    )
    model = mmdiff.load(run, device="cpu")
    paths = model.save([mmdiff.Request(seed=i, labels={"label": "dark"}) for i in range(2)], tmp_path / "out")
    assert [path.name for path in paths] == ["0000_label-dark_seed0.png", "0001_label-dark_seed1.png"]
    assert model.model.codec.load(paths[0], height=16, width=16).shape == (3, 1, 16, 16)


def test_an_editable_install_is_found_like_any_other(tmp_path):
    package = shutil.copytree(EXAMPLES / "images", tmp_path / "images")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    purelib = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    (purelib / "libraries.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", "-e", package],
        check=True, capture_output=True,
    )
    code = "from mmdiff.config.plugins import offered_by; print(offered_by('adapter', 'images'))"
    result = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout.strip() == "['mmdiff_images.configs']"
