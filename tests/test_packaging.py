"""What is shipped: every package and config, a quick import, and the direction of dependencies."""

import ast
import email
import json
import re
import subprocess
import sys
import venv
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from mmdiff.cli.list import KINDS, options
from tests.conftest import LONGEST

ROOT = Path(__file__).parents[1]
ORDER = (
    "core", "nn", "metrics", "data", "adapters", "learner", "marks", "model", "change", "config", "provenance",
    "engines", "weights", "store", "cache", "generation", "evaluation", "skeleton", "testing", "training", "cli",
)
"""Imports run to the left alone. A modality, a folder of ``adapters``, is imported by itself and by nobody else."""
APART = {"core", "nn", "metrics"}
"""Packages that import no other of mmdiff."""
LIBRARIES = {
    "core": {"numpy"}, "nn": {"einops", "xformers"}, "metrics": {"numpy", "scipy"},
    "data": {"numpy", "scipy", "tqdm"},
    "adapters": {"annotated_types", "numpy", "scipy", "torchaudio", "soundfile", "av", "trimesh", "PIL", "matplotlib",
                 "safetensors", "einops", "open3d", "transformers", "diffusers", "yaml"},
}
MODALITIES = sorted(path.parent.name for path in (ROOT / "mmdiff" / "adapters").glob("*/__init__.py"))
NAMELESS = [
    *(path for name in ("evaluation", "generation", "cli", "training")
      for path in (ROOT / "mmdiff" / name).rglob("*.py")),
    *(ROOT / "configs" / f"{name}.yaml" for name in ("sample", "eval", "embedder", "encode", "train")),
]


def imports(path):
    """(what of mmdiff, as its names from the top; library, or None) of every import of a file."""
    package = path.relative_to(ROOT / "mmdiff").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(".".join(filter(None, (node.module, alias.name))), node.level) for alias in node.names]
        for name, level in names:
            if level:
                yield (*package[: len(package) - level + 1], *name.split(".")), None
            elif name.split(".")[0] == "mmdiff":
                yield tuple(name.split(".")[1:]), None
            else:
                yield None, name.split(".")[0]


def files():
    return [path for path in (ROOT / "mmdiff").rglob("*.py") if "package" not in path.parts]


def part(path):
    """The package of a file, or the module at the top."""
    parts = path.relative_to(ROOT / "mmdiff").with_suffix("").parts
    return parts[0]


def test_imports_run_one_way():
    for path in files():
        own = part(path)
        for found, _ in imports(path):
            if own in ORDER and found and found[0] in ORDER and found[0] != own:
                assert ORDER.index(found[0]) < ORDER.index(own) and own not in APART, f"{path} imports {found}"


def test_a_modality_is_imported_by_itself_alone():
    for path in files():
        home = path.relative_to(ROOT / "mmdiff" / "adapters").parts[0] if part(path) == "adapters" else ""
        for found, _ in imports(path):
            if found and found[0] == "adapters" and len(found) > 1 and found[1] in MODALITIES:
                assert found[1] == home, f"{path} imports {found}"


def test_nothing_around_a_modality_knows_one_by_name():
    name = re.compile(rf"\b({'|'.join(MODALITIES)})\b")
    for path in NAMELESS:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not name.search(line) or line == "  - adapter: audio", f"{path}, line {number}: {line}"


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_package_at_the_bottom_needs_these_libraries_alone(package):
    for path in (ROOT / "mmdiff" / package).rglob("*.py"):
        for _, library in imports(path):
            known = LIBRARIES[package] | {"torch"} | sys.stdlib_module_names
            assert library is None or library in known, f"{path} imports {library}"


def test_only_training_imports_lightning():
    for path in files():
        for _, library in imports(path):
            assert library != "lightning" or part(path) == "training", path


def test_what_takes_seconds_to_import_is_imported_where_it_is_used():
    for path in files():
        body = ast.parse(path.read_text()).body
        names = {name.name for node in body if isinstance(node, ast.Import) for name in node.names}
        names |= {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}
        assert not {name.partition(".")[0] for name in names} & {"diffusers", "transformers", "peft", "torchao"}, path


def test_no_two_public_classes_share_a_name_and_no_two_files_of_a_modality():
    classes = Counter(
        node.name for path in files() for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in classes.items() if count > 1] == []
    assert len([path for path in (ROOT / "mmdiff").glob("*.py") if not path.name.startswith("__")]) <= 6


def test_import_is_quick_and_light():
    code = (
        "import sys, time; start = time.perf_counter(); import mmdiff; spent = time.perf_counter() - start;"
        "import mmdiff.testing.pytest_plugin;"                         # of every pytest where mmdiff is installed
        "heavy = {'torch', 'torchaudio', 'av', 'trimesh', 'lightning', 'hydra', 'numpy'} & set(sys.modules);"
        "print(spent, heavy)"
    )
    tries = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(" ", 1)
        for _ in range(5)
    ]
    assert {heavy.strip() for _, heavy in tries} == {"set()"}
    assert min(float(seconds) for seconds, _ in tries) < 0.2, "the quickest of five, as the machine may be busy"


def test_the_longest_files_of_tests_come_first(request):
    assert all(list((ROOT / "tests").rglob(name)) for name in LONGEST)
    files = list(dict.fromkeys(item.path.name for item in request.session.items))
    first = [name for name in LONGEST if name in files]
    assert files[: len(first)] == first and not request.config.getoption("loadscopereorder")


IMPORT_ALL = """
import importlib, logging, pkgutil, warnings
import hydra, lightning.pytorch, matplotlib, scipy.signal, torch, torchaudio, trimesh
def state():
    names = ['', *logging.root.manager.loggerDict]
    loggers = {name: (logging.getLogger(name).level, len(logging.getLogger(name).handlers)) for name in names}
    return matplotlib.rcParams._get('backend'), list(warnings.filters), loggers
before = state()
import mmdiff
for module in pkgutil.walk_packages(mmdiff.__path__, 'mmdiff.'):
    if 'skeleton.package' not in module.name and not module.name.endswith('__main__'):
        importlib.import_module(module.name)
after = state()
assert after[:2] == before[:2], after[:2]
assert {name: after[2][name] for name in before[2]} == before[2]
"""


def test_importing_the_library_changes_nothing_of_other_libraries():
    """Neither matplotlib's backend nor the levels and handlers of logging nor the filters of warnings."""
    assert subprocess.run([sys.executable, "-c", IMPORT_ALL], timeout=300).returncode == 0


GROUPS = [group for group in KINDS.values() if group not in {"evaluation", "accelerator", "published"}]
GROUPS += ["diffusion/parameterization", "diffusion/time", "diffusion/weight", "optim", "logger", "debug"]
LATER = ("mark", "provenance", "engine", "precision")
"""Groups of ``mmdiff sample``."""
COMPOSE = """
import json, sys
sys.path[1:1] = {libraries!r}
import mmdiff
from mmdiff.cli.list import options
from mmdiff.config.overrides import composed
assert {site!r} in mmdiff.__file__, mmdiff.__file__
found = {{group: list(options(group)) for group in {groups!r}}}
for name, groups in (('sample', set(found) & set({later!r})), ('train', set(found) - set({later!r}))):
    composed(name, ['run=x', *(f'{{group}}={{found[group][0]}}' for group in sorted(groups))])
for name in options('evaluation'):
    composed('eval', ['run=x', f'evaluation={{name}}'])
composed('mark_find', ['run=x'])
composed('mark_test', ['run=x'])
composed('embedder', ['run=x'])
print(json.dumps(found))
"""


def test_the_wheel_holds_everything_and_composes_from_anywhere(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as opened:
        shipped = set(opened.namelist())
        info = f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"
        licence, about = (opened.read(f"{info}/{name}") for name in ("licenses/LICENSE", "METADATA"))
    assert "mmdiff/py.typed" in shipped
    assert licence == (ROOT / "LICENSE").read_bytes()
    told = email.message_from_bytes(about)
    assert (told["License-Expression"], told["Author"]) == ("Apache-2.0", "The mmdiff developers")
    for path in [*(ROOT / "mmdiff").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml")]:
        relative = path.relative_to(ROOT)
        name = str(relative) if relative.parts[0] == "mmdiff" else f"mmdiff/{relative}"
        assert name in shipped, f"{name} is not in the wheel"
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", wheel], check=True)
    site = str(tmp_path / "env")
    libraries = [p for p in sys.path if "site-packages" in p]
    code = COMPOSE.format(libraries=libraries, site=site, groups=GROUPS, later=LATER)
    result = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {group: list(options(group)) for group in GROUPS}
