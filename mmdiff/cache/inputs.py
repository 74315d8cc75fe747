"""What a model makes of the files that samples start from or follow: kept between jobs, under a hash of all that it
depends on (weights, content of the file, size, how it is used), so that a file is read and encoded once."""

from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .. import __version__
from ..data.cached import cache_folder, keep
from .encode import hashed


def kept(told: Any, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that ``make`` gives, on the CPU: those of an earlier job with the same ``told``, or new ones."""
    path = cache_folder() / "inputs" / f"{hashed([told, __version__, torch.__version__])}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError):                                # not there, or not whole
        made = {name: tensor.cpu().contiguous() for name, tensor in make().items()}
    keep(path, lambda file: file.write(save(made)))
    return made
