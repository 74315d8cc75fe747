"""Features of a pretrained network: a folder that ``save_pretrained`` of Hugging Face's transformers wrote.

    samples, as the judge prepares them -> network -> embedding (of sound, for CLAP), pooled output, or mean of states

Nothing is fetched, no code of the folder is run, and weights are read from safetensors alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...adapters.judge import Judge

Features = Callable[[Tensor], Tensor]


def pretrained(folder: Path, *, judge: Judge, settings: Mapping[str, int]) -> tuple[Features, dict[str, Any]]:
    """``(N, C, *S) -> (N, D)`` and its name and hash. ``ValueError`` says why a folder cannot be used."""
    try:
        import transformers
    except ImportError:
        raise ValueError(f"the folder {folder} needs transformers: pip install 'mmdiff[eval]'") from None
    if judge.preprocessor is None:
        raise ValueError(f"{folder}: a folder of transformers does not judge {judge.name}")
    try:
        prepare = getattr(transformers, judge.preprocessor).from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is no model that transformers can load: {str(error).splitlines()[0]}") from None
    embed = getattr(model, "get_audio_features", model)

    def features(x: Tensor) -> Tensor:
        return _pooled(embed(**judge.prepared(x, prepare, model, **settings)))

    return features, {"file": folder.resolve().name, "sha256": _digest(folder)}


def _pooled(output: Any) -> Tensor:
    """``(N, D)`` of what a network of transformers gives."""
    if isinstance(output, Tensor):
        return output
    pooled = getattr(output, "pooler_output", None)
    return output.last_hidden_state.flatten(1, -2).mean(1) if pooled is None else pooled


def _digest(folder: Path) -> str:
    sha = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in {".json", ".safetensors"}:
            sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()
