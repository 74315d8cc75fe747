"""Making a file again, from its record and the model alone.

    record -> model of that hash, sampler, guidance, request, micro-batch, threads -> sample -> file -> its SHA-256

What the record names may come from anybody: classes are checked where they are built, and a file that it names is
looked for by name and hash alone.
"""

import inspect
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import __version__
from ..config.files import MODEL_FILE
from ..config.header import ModelFileError, model_file, read_header
from ..config.kinds import KindError, check
from ..provenance import tags
from ..provenance.record import NoRecord, digest, read, signed, texts
from .edits import Edit
from .pipeline import Pipeline, load
from .record import stack
from .references import digest_of
from .request import Request


class Reproduction(NamedTuple):
    """What came of making a file again."""

    payload: str
    """The SHA-256 of the file that was made again, before any signature."""
    recorded: str
    """That of the file, as its record has it, or of the file itself where no record has."""
    changed: bool
    """Whether the file at hand is another than the one that the JSON beside it was written for."""
    differs: list[str]
    """What is known to differ from the first making, in words."""
    distance: float | None
    """The largest difference of a value of both samples; None where they are of two sizes."""

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return self.payload == self.recorded


def reproduce(
    path: str | Path, model: str | Path | None = None, *, files: Mapping[str, str | Path] | None = None,
    lora: Sequence[str | Path] = (), base: str | Path | None = None, encoder: str | Path | None = None,
    device: str | None = None, out: str | Path | None = None,
) -> Reproduction:
    """Make the file at ``path`` again with ``model``, a run or model file (default: that of the folders above it).

    ``files`` are what it was made from, by ``input`` or the name of a control, where they are no longer beside it;
    ``lora`` are the changes that were added. ``base``, ``encoder`` and ``device`` are as for ``mmdiff.load``, but that
    what a CPU made is made by one. ``out`` keeps the new file. Raises ``ValueError`` where the record, its model or an
    input is not there.
    """
    path = Path(path).expanduser()
    record = read(path)
    with _threads(record):
        device = device or ("cpu" if record.get("stack", {}).get("device") == "cpu" else None)
        pipeline = _pipeline(path, record, model, lora, base=base, encoder=encoder, device=device)
        request = _request(path, record, {k: Path(v).expanduser() for k, v in (files or {}).items()})
        lies = digest(path)
        recorded = record.get("payload_sha256") or (signed(path) or {}).get("payload_sha256") or lies
        with tempfile.TemporaryDirectory() as folder:
            reproduced = _file(pipeline, request, record, path, Path(folder) / f"made{path.suffix}", recorded)
            if out is not None:
                Path(out).expanduser().write_bytes(reproduced.read_bytes())
            return Reproduction(
                digest(reproduced), recorded, record.get("sha256", lies) != lies, list(_differences(record, pipeline)),
                _distance(pipeline, request, path, reproduced),
            )


def _file(
    pipeline: Pipeline, request: Request, record: Mapping[str, Any], original: Path, path: Path, wanted: str
) -> Path:
    """The file at ``original``, made again at ``path``.

    Rows of a micro-batch that do not fill a register may be rounded otherwise than the rest, and the sample may have
    stood in any: those that differ are tried until one gives the hash that is ``wanted``.
    """
    known = list(inspect.signature(pipeline.model.codec.save).parameters)[2:]
    options = {name: record[name] for name in known if name in record}
    metadata = texts(record) if "file" in record else tags.read(original)
    count = record["batch_size"]
    tried: list[Tensor] = []
    for _, sample in pipeline.run([request] * count, count, show_progress=False):
        if any(torch.equal(sample, other) for other in tried):
            continue
        tried.append(sample)
        _write(pipeline, sample, path, metadata, options)
        if digest(path) == wanted:
            return path
    if len(tried) > 1:
        _write(pipeline, tried[0], path, metadata, options)
    return path


def _distance(pipeline: Pipeline, request: Request, *paths: Path) -> float | None:
    size = pipeline.size_of(request)
    try:
        first, second = (pipeline.model.codec.load(path, **size) for path in paths)
    except (ValueError, OSError):                                     # it was changed to what cannot be read
        return None
    return (first - second).abs().max().item() if first.shape == second.shape and first.numel() else None


def _write(
    pipeline: Pipeline, sample: Tensor, path: Path, metadata: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    pipeline.model.codec.save(sample, path, **options)
    tags.write(path, metadata)


def _pipeline(
    path: Path, record: Mapping[str, Any], model: str | Path | None, lora: Sequence[str | Path], **settings: Any
) -> Pipeline:
    found = _model(path, record) if model is None else model_file(model)
    if (header := read_header(found))["sha256"] != record["model"]:
        raise ModelFileError(f"{path} was made by {_named(record, 'model')}, and {found} is {_named(header, 'sha256')}")
    scales = _scales(path, record, lora)
    chosen = {name: record.get(name) for name in ("sampler", "guidance", "engine", "precision", "mark")}
    return load(found, lora=scales or None, **chosen, **settings)


def _model(path: Path, record: Mapping[str, Any]) -> Path:
    """The model file of that hash in the folders above a file."""
    for folder in path.absolute().parents[:3]:
        if (found := folder / MODEL_FILE).is_file() and read_header(found)["sha256"] == record["model"]:
            return found
    raise ModelFileError(f"{path} was made by {_named(record, 'model')}, which is in no folder above it: name its run "
                         "or file")


def _scales(path: Path, record: Mapping[str, Any], lora: Sequence[str | Path]) -> dict[Path, float]:
    """The changes of a record with their scales, each found among ``lora`` by its hash."""
    there = {read_header(file := model_file(one))["sha256"]: file for one in lora}
    found: dict[Path, float] = {}
    for change in record.get("lora", []):
        if (digest := change.get("sha256")) not in there:
            raise ModelFileError(f"{path} was made with the change {change.get('name')} (hash {str(digest)[:8]}): name "
                                 "its run or file by lora=")
        found[there.pop(digest)] = float(change.get("scale", 1))
    if there:
        raise ModelFileError(f"lora={next(iter(there.values()))}: {path} was made without it")
    return found


def _request(path: Path, record: Mapping[str, Any], files: dict[str, Path]) -> Request:
    """What was asked for, its input files found and of the hashes that they had."""
    edited = record.get("edit")
    edit = None
    parents = {"input": edited} if edited else {}
    parents |= record.get("controls", {})
    if foreign := [name for name in files if name not in parents]:
        raise ValueError(f"{foreign[0]}={files[foreign[0]]}: {path} was not made from such a file")
    found = {name: _parent(path, name, _mapping(parent, name), files.get(name)) for name, parent in parents.items()}
    if edited:
        options = {name: edited.get(name) for name in ("mode", "keep", "overlap")}
        hole = edited.get("hole")
        edit = Edit(**options, input=found.pop("input"), hole=tuple(hole) if isinstance(hole, list) else hole)
    return Request(
        seed=record["seed"], labels=record["labels"], size=record["size"], edit=edit, controls=found,
        negative=record.get("negative", {}),
    )


def _parent(path: Path, name: str, parent: Mapping[str, Any], named: Path | None) -> Path:
    """The file that a sample was made from. Raises ``ValueError`` where it is not there, or is another."""
    stated, wanted = Path(str(parent.get("input"))).name, parent.get("input_sha256")
    if not stated.strip("."):
        raise NoRecord(f"the record is not whole: {name} names no file")
    files = [named] if named else [path.parent / stated, Path(stated)]
    if not (there := [candidate for candidate in files if candidate.exists()]):
        key = name if name == "input" else f"control.{name}"
        raise ValueError(f"{path} was made from {stated} (hash {str(wanted)[:8]}), which is not at {files[0]}: name it "
                         f"by {key}=FILE")
    if right := [candidate for candidate in there if digest_of(candidate) == wanted]:
        return right[0]
    raise ValueError(f"{there[0]} is another file than the one that {path} was made from (hash {str(wanted)[:8]})")


def _differences(record: Mapping[str, Any], pipeline: Pipeline) -> Iterator[str]:
    versions = {"mmdiff": __version__, "torch": torch.__version__, "mark_key": pipeline.mark.key}
    now = {**versions, **stack(pipeline)}
    then = {**{name: record.get(name) for name in versions}, **record.get("stack", {})}
    for name in dict.fromkeys([*then, *now]):
        if then.get(name) != now.get(name):
            yield f"{name} was {then.get(name)}, and is {now.get(name)}"


@contextmanager
def _threads(record: Mapping[str, Any]) -> Iterator[None]:
    """As many threads as there were: a sum of several is rounded otherwise."""
    before, recorded = torch.get_num_threads(), record.get("stack", {}).get("threads")
    torch.set_num_threads(recorded if isinstance(recorded, int) and 0 < recorded <= 1024 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _mapping(value: Any, name: str) -> dict[str, Any]:
    try:
        check(value, dict[str, Any], key=name)
    except KindError as error:
        raise NoRecord(f"the record is not whole: {error}") from None
    return value


def _named(facts: Mapping[str, Any], name: str) -> str:
    return f"a model of step {facts.get('step')} and hash {str(facts[name])[:8]}"
