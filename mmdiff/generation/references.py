"""Files that maps are made of: ``control.sketch=film.mp4``.

    map = control(codec(file)),      the same control as in training, and of it the first positions that are asked for
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from ..adapters.base import Codec
from ..data.labels import suggest
from ..model import DiffusionModel


@dataclass(frozen=True)
class Reference:
    """A file, or a folder of frames, of which a map is made. ``ValueError`` where there is none."""

    input: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", Path(self.input).expanduser())
        if not (self.input.is_file() or self.input.is_dir()):
            raise ValueError(f"{self.input} is not a file, nor a folder of frames")

    @cached_property
    def facts(self) -> dict[str, str]:
        """What a sidecar says of it; hashed once for all requests that share it."""
        return {"input": self.input.name, "input_sha256": digest_of(self.input)}

    def size(self, codec: Codec, default: Mapping[str, float]) -> dict[str, float]:
        """Its size in the words of the codec, opened once for all requests that share it."""
        key = (codec, *sorted(default.items()))
        if key not in self._sizes:
            self._sizes[key] = codec.size(codec.load(self.input, **default))
        return self._sizes[key]

    @cached_property
    def _sizes(self) -> dict[tuple, dict[str, float]]:
        return {}

    def map(self, name: str, model: DiffusionModel, size: dict[str, float]) -> Tensor:
        """The map ``(width, *S)`` of the control ``name``. ``ValueError`` where it is of another size than samples."""
        found, shape = model.map_of(name, model.codec.load(self.input, **size)), model.codec.latent_shape(**size)
        if found.shape[1] < shape[0] or found.shape[2:] != shape[1:]:
            raise ValueError(f"gives a map of size {' x '.join(map(str, found.shape[1:]))}, and samples of "
                             f"{' x '.join(map(str, shape))} are asked for: leave the size out, and it is the file's")
        return found[:, : shape[0]]


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, or of all files of a folder."""
    digest = sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


def referred(controls: Mapping[str, str | Path | Reference]) -> dict[str, Reference]:
    """Files as references. Raises ``ValueError`` that names the control."""
    found = {}
    for name, file in controls.items():
        try:
            found[name] = file if isinstance(file, Reference) else Reference(Path(file))
        except (TypeError, ValueError) as error:
            raise ValueError(f"control.{name}: {error}") from None
    return found


def known(controls: Mapping[str, Any], model: DiffusionModel) -> None:
    """Raise ``ValueError`` for a control that the model has not."""
    for name in controls:
        if name not in model.controls:
            raise ValueError(f"the model follows no map {name!r}; {suggest(name, list(model.controls))}")


@contextmanager
def errors_named(name: str, file: Reference) -> Iterator[None]:
    """What is wrong with a file, told with its name and its control."""
    try:
        yield
    except (ValueError, OSError) as error:
        where = "" if str(file.input) in str(error) else f"{file.input} "
        raise ValueError(f"control.{name}: {where}{error}") from None
