"""What turns samples into features: a network trained on the reference data, or a user's own file.

    features (N, D) -> distances between sets;    heads on them -> was the label heard or seen that was asked for?

A file is .safetensors (written by ``mmdiff embedder``), .pt (TorchScript) or .onnx; or a folder of transformers. A
distance carries the name of what made its features: FAD and FVD are names of distances in VGGish and I3D features only.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ...adapters.judge import WIDTH, Judge
from ...data.labels import Fields, is_scalar, part_name
from ...data.writing import write_atomic
from .pretrained import pretrained

FACTS = {"judge": str, "fields": dict, "settings": dict, "sha256": str}
"""What an embedder's header must say."""


class Judged(NamedTuple):
    """What an embedder says of N samples."""

    features: Tensor
    """``(N, D)``."""
    probabilities: dict[str, Tensor]
    """``(N, classes)`` of each field that it knows."""
    frames: Tensor | None
    """``(N, T)``: class of each frame alone, by the first field; None without frames or classes."""


class Embedder(nn.Module):
    """A body with a linear head for each field: classes, or one number in [0, 1] over a scalar's range."""

    def __init__(self, judge: Judge, fields: Fields, **settings: int):
        super().__init__()
        self.name, self.settings = judge.name, settings
        self.fields: Fields = {name: [*field] for name, field in fields.items()}
        self.body = judge.body(**settings)
        sizes = {name: 1 if is_scalar(field) else len(field) for name, field in self.fields.items()}
        self.heads = nn.ModuleDict({part_name(name): nn.Linear(WIDTH, size) for name, size in sizes.items()})
        first = next(iter(self.classes.values()), None)
        self.frame_head = nn.Linear(WIDTH, len(first)) if first and self.body.looks_at_frames else None
        self.seen_head = nn.Linear(WIDTH, self.body.extra) if self.body.extra else None
        self.facts: dict[str, Any] = {}

    @property
    def classes(self) -> dict[str, list[str]]:
        """The fields that are classes."""
        return {name: [str(known) for known in field] for name, field in self.fields.items() if not is_scalar(field)}

    def head(self, name: str, features: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of a field."""
        return self.heads[part_name(name)](features)

    @torch.no_grad()
    def judge(self, x: Tensor, *, batch: int = 64) -> Judged:
        """Of samples ``(N, C, *S)``."""
        features = torch.cat([self.body(part) for part in x.split(batch)])
        probabilities = {name: self.head(name, features).softmax(-1) for name in self.classes}
        frames = None
        if self.frame_head is not None:
            frames = torch.cat([self.frame_head(self.body.frames(part)).argmax(-1) for part in x.split(batch)])
        return Judged(features, probabilities, frames)

    def save(self, path: Path, facts: dict[str, Any]) -> str:
        """Write weights and facts; gives the hash of the weights."""
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        digest = _digest(weights)
        self.facts = {**facts, "judge": self.name, "settings": self.settings, "fields": self.fields,
                      "sha256": digest}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(weights, {"embedder": json.dumps(self.facts)}))
        return digest


class Foreign:
    """A user's own network, ``(N, C, *S) -> (N, D)``; it knows no label. ``texts`` embeds texts into the same space,
    where it does."""

    classes: Mapping[str, Sequence[str]] = {}

    def __init__(self, function: Callable[[Tensor], Tensor], facts: dict[str, Any],
                 texts: Callable[[Sequence[str]], Tensor] | None = None):
        self.function, self.facts, self.texts = function, facts, texts

    @torch.no_grad()
    def judge(self, x: Tensor, *, batch: int = 64) -> Judged:
        """Of samples ``(N, C, *S)``, as the modality has them."""
        features = torch.cat([self.function(part) for part in x.split(batch)])
        if features.ndim != 2 or len(features) != len(x):
            raise ValueError(
                f"{self.facts['file']} must give features (N, D) of samples (N, C, ...): for {tuple(x.shape)} it gave "
                f"{tuple(features.shape)}"
            )
        return Judged(features.float(), {}, None)


def load_embedder(
    path: str | Path, *, judge: Judge, settings: Mapping[str, int] | None = None
) -> Embedder | Foreign:
    """The embedder of a file or folder; ``settings`` are those that ``judge`` asks of a codec, such as ``sample_rate``.

    ``ValueError`` says what is wrong with one that cannot be used.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return Foreign(*pretrained(path, judge=judge, settings=settings or {}))
    if not path.is_file():
        raise ValueError(f"there is no embedder {path}: make one with mmdiff embedder RUN out={path}")
    if path.suffix == ".safetensors":
        return _load(path, judge, settings)
    facts = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    if path.suffix in {".pt", ".ts"}:
        try:
            return Foreign(torch.jit.load(str(path), map_location="cpu").eval(), facts)
        except RuntimeError as error:
            raise ValueError(f"{path} is no TorchScript file: {str(error).splitlines()[0]}") from None
    if path.suffix == ".onnx":
        return Foreign(_onnx(path), facts)
    raise ValueError(
        f"an embedder is a file .safetensors, .pt (TorchScript) or .onnx, or a folder of transformers, got {path.name}"
    )


def _load(path: Path, judge: Judge, settings: Mapping[str, int] | None) -> Embedder:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from None
    if "embedder" not in metadata:
        raise ValueError(f"{path} was not written by mmdiff embedder")
    try:
        facts = json.loads(metadata["embedder"])
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not all(isinstance(facts.get(name), kind) for name, kind in FACTS.items()):
        raise ValueError(f"{path} is damaged: its header does not say what it judges")
    if facts["judge"] != judge.name:
        raise ValueError(f"{path} is an embedder for {facts['judge']}, this model makes {judge.name}")
    if settings is not None and facts["settings"] != dict(settings):
        raise ValueError(f"{path} judges samples of {facts['settings']}, and this model makes such of {dict(settings)}")
    if _digest(weights) != facts["sha256"]:
        raise ValueError(f"{path} is damaged: its weights do not match the hash in its header")
    try:
        model = Embedder(judge, facts["fields"], **facts["settings"])
        model.load_state_dict(weights)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no embedder of this version: {' '.join(str(error).split())}") from None
    model.facts = facts
    return model.eval().requires_grad_(False)


def _onnx(path: Path) -> Callable[[Tensor], Tensor]:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"{path.name} needs onnxruntime: pip install onnxruntime") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _digest(weights: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return sha.hexdigest()
