"""What the documentation shows works: its commands compose, its packages install, its Python runs.

    ```bash                   every mmdiff command is composed as the command line does, every script has its options
    ```python run             runs, all of a page in one namespace, in a folder that holds a small run ``runs/mine``
    ```LANGUAGE file=PATH     is a file of the package that the documentation makes, which is installed
    ```LANGUAGE is=PATH       is that file of the project, to the letter
"""

import json
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from mmdiff.cli import COMMANDS, adopt, lora
from mmdiff.cli.estimate import asked
from mmdiff.cli.list import KINDS, options
from mmdiff.cli.mark import looked_for
from mmdiff.cli.paths import taken
from mmdiff.cli.plan import limit
from mmdiff.cli.sample import MAKING, parsed
from mmdiff.config.overrides import composed, with_run
from mmdiff.skeleton import write
from mmdiff.testing import Trial
from mmdiff.testing.report import failure, laws
from tests.conftest import TINY, mmdiff
from tests.plugins.conftest import install

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]


class Block(NamedTuple):
    """A fenced block: its language, the words after it, its text."""

    language: str
    words: list[str]
    text: str


def blocks(page):
    fenced = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    for language, words, text in fenced:
        yield Block(language, words.split(), text)


def commands(page):
    """Every command of a page: lines of shell blocks and of indented ones, and ``mmdiff ...`` in running text."""
    for block in blocks(page):
        if block.language == "bash":
            yield from block.text.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    command = rf"mmdiff (?:{'|'.join(COMMANDS)})(?= )|python scripts/"
    yield from re.findall(rf"^    ((?:{command}).*)$", prose, flags=re.MULTILINE)
    yield from re.findall(rf"`((?:{command})[^`]*)`", prose)


@pytest.fixture(scope="module")
def packages(tmp_path_factory, with_plugins):
    """The examples, the package of docs/adapters.md and that of docs/extending.md, installed."""
    root = tmp_path_factory.mktemp("docs")
    for block in (block for page in PAGES for block in blocks(page)):
        for word in block.words:
            if word.startswith("file="):
                path = root / "mine" / word.removeprefix("file=")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
    for folder in (root / "mine" / "mmdiff_mine", root / "mine" / "mmdiff_mine" / "configs"):
        (folder / "__init__.py").touch()
    folders = [root / "mine", write("weather", root), *sorted((ROOT / "examples").glob("*/"))]
    install(root / "site", *folders)
    with_plugins(root / "site")
    return root


@pytest.fixture(scope="module")
def bases(kicks, tmp_path_factory):
    """A folder in which every model that a command starts from is there."""
    root = tmp_path_factory.mktemp("bases")
    lines = [line for page in PAGES for line in commands(page)]
    for line in lines:
        for name in re.findall(r"\binit=([\w./-]+)", line):
            path = root / (name if name.endswith(".safetensors") else f"{name}/model.safetensors")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kicks / "runs" / "mine" / "model.safetensors", path)
    for line in lines:
        for name in re.findall(r"\bcodec=([\w./-]+)", line):           # of the modality that the command names
            modality = re.search(r"\b(?:adapter|experiment)=([a-z]+)", line)
            config = composed("train", [f"experiment={modality[1]}/codec", "data.root=x"])
            made = {part: OmegaConf.to_container(config[part]) for part in ("adapter", "reconstruction")}
            header = {"format": 1, "sha256": "", "config": made}
            path = root / (name if name.endswith(".safetensors") else f"{name}/model.safetensors")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"x": torch.zeros(1)}, path, {"mmdiff": json.dumps(header)})
    return root


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_composes(packages, bases, page, monkeypatch):
    monkeypatch.chdir(bases)
    for line in commands(page):
        words = shlex.split(line.replace("...", ""), comments=True)
        if "mmdiff" in words and words[0] in {"mmdiff", "torchrun"}:
            words = words[words.index("mmdiff") + 1 :]
            check(words[0], words[1:])
        elif words[:1] == ["python"] and words[1].startswith("scripts/"):
            source = (ROOT / words[1]).read_text()
            assert all(f'"{word}"' in source for word in words if word.startswith("--")), line
        elif words and words[0].startswith("scripts/"):
            assert (ROOT / words[0]).is_file(), line


def check(command, words):
    if command in {"train", "plan", "encode"}:
        words = asked(limit(words)[1])[1] if command == "plan" else words
        composed("encode" if command == "encode" else "train", [word for word in words if "=" in word])
    elif command == "eval" and "--compare" in words:
        assert [word.endswith(".json") for word in words if word != "--compare"] in ([True, True], []), words
    elif command in {"eval", "embedder"}:
        told = [f"run={word}" if i == 0 else word for i, word in enumerate(w for w in words if not w.startswith("-"))]
        told = [word.partition(",")[0] for word in told] if "-m" in words else told
        late = [word for word in told if word.startswith(tuple(f"{name}." for name in MAKING))]
        told = [word for word in told if word not in late]
        if command == "eval" and not any(word.startswith("evaluation=") for word in told):
            kind = "points" if any("judge.points" in word for word in told) else "audio"       # a run says which
            told.append(f"evaluation={kind}_v1")
        composed(command, told)
    elif command == "sample":
        parsed(words)
    elif command == "lora":
        paths, told = taken(words[0], words[1:], lora.KEYS[words[0]])
        assert paths and all(told.values()), words
    elif command in {"reproduce", "check", "certificate", "audit", "card", "export"}:
        paths, _ = taken(command, words, import_module(f"mmdiff.cli.{command}").KEYS)
        assert paths, words
    elif command == "adopt":
        folder, told, rest = adopt.taken(words)
        composed("train", [f"adapter={told.get('adapter', 'wan')}", f"adapter.model={folder}", *rest])
    elif command == "mark":
        found = looked_for(words[1:]) if words[0] == "find" else composed("mark_test", with_run("mark_test", words[1:]))
        assert words[0] in {"find", "test"} and found.run, words
    elif command == "list":
        assert all(word in {*KINDS, "KIND"} for word in words), words
    elif command == "adapter":
        assert words[0] in {"new", "check"}, words
        assert words[0] == "new" or words[1] in {*options("adapter"), "NAME"}, words
    else:
        assert command == "doctor", command


def test_no_block_is_left_out():
    for page in PAGES:
        for block in blocks(page):
            used = block.language == "bash" or "run" in block.words
            used = used or any(word.startswith(("file=", "is=")) for word in block.words)
            assert used, f"{page.name}: {block.text}"


def test_what_is_shown_of_a_file_is_the_file():
    shown = [(word[3:], block.text) for p in PAGES for block in blocks(p) for word in block.words if word[:3] == "is="]
    assert "examples/minimal.py" in dict(shown)
    for path, text in shown:
        assert text == (ROOT / path).read_text(), path


@pytest.fixture(scope="module")
def kicks(tmp_path_factory):
    """The folder of a user who trained on sounds in the sub-folders kick and snare: ``runs/mine``."""
    root = tmp_path_factory.mktemp("user")
    for i in range(24):
        path = root / "sounds" / ("kick", "snare")[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.sin(np.arange(2000) * (0.02 + 0.01 * i)) * np.linspace(0.8, 0, 2000), 8000)
    words = [*(word for word in TINY if not word.startswith("data.")), "trainer.max_steps=4", "sampler.steps=2"]
    mmdiff("train", f"run={root}/runs/mine", f"data.root={root}/sounds", *words)
    return root


@pytest.mark.parametrize("page", [p for p in PAGES if any("run" in b.words for b in blocks(p))], ids=lambda p: p.stem)
def test_python_runs(packages, kicks, page, monkeypatch):
    monkeypatch.chdir(kicks)
    namespace = {"__name__": page.stem}
    for block in blocks(page):
        if "run" in block.words:
            exec(compile(block.text, page.name, "exec"), namespace)
    assert namespace.keys() - {"__name__", "__builtins__"}, "nothing was run"


@pytest.mark.parametrize("adapter", ["audio_convolutions", "audio_tokens"])
def test_the_parts_of_the_extending_page_work_together(packages, adapter, tmp_path):
    trial = Trial(
        adapter,
        ["data=chirps", "diffusion/schedule=log_linear", "diffusion/parameterization=ahead", "diffusion/time=mode",
         "diffusion/weight=truncated_snr", "sampler=early_noise", "sampler.steps=2", "guidance=fading",
         "sampler.grid._target_=mmdiff_mine.grid.Slowing", "adapter.reader.seconds=0.25",
         "adapter.codec.vocoder.n_iter=1"],
        tmp_path,
    )
    names = [name for name in laws() if name.startswith(("network", "null", "model", "sampling", "one batch"))]
    assert {name: failure(laws()[name], trial) for name in names} == dict.fromkeys(names)
