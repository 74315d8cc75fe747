"""Features of a pretrained network: a folder that ``save_pretrained`` of Hugging Face's transformers wrote.

    sound   at the network's rate  -> its feature extractor -> audio embedding (CLAP), pooled output, or mean of states
    clip    as many frames as it takes, evenly -> its image processor -> the same                   (VideoMAE, ViViT)

Nothing is fetched, no code of the folder is run, and weights are read from safetensors alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchaudio.functional import resample

Features = Callable[[Tensor], Tensor]


def pretrained(folder: Path, *, modality: str, settings: Mapping[str, int]) -> tuple[Features, dict[str, Any]]:
    """``(N, C, *S) -> (N, D)`` and its name and hash. ``ValueError`` says why a folder cannot be used."""
    try:
        import transformers
    except ImportError:
        raise ValueError(f"the folder {folder} needs transformers: pip install 'mmdiff[eval]'") from None
    if modality not in {"audio", "video"}:
        raise ValueError(f"{folder}: a folder of transformers judges audio or video, not {modality}")
    prepared = transformers.AutoFeatureExtractor if modality == "audio" else transformers.AutoImageProcessor
    try:
        prepare = prepared.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is no model that transformers can load: {str(error).splitlines()[0]}") from None
    function = _sound(model, prepare, settings["sample_rate"]) if modality == "audio" else _clip(model, prepare)
    return function, {"file": folder.resolve().name, "sha256": _digest(folder)}


def _sound(model: Any, prepare: Any, rate: int) -> Features:
    embed, limit = getattr(model, "get_audio_features", model), getattr(prepare, "nb_max_samples", None)

    def features(x: Tensor) -> Tensor:
        waves = resample(x[:, 0], rate, prepare.sampling_rate)[:, :limit]
        return _pooled(embed(**prepare(list(waves.numpy()), sampling_rate=prepare.sampling_rate, return_tensors="pt")))

    return features


def _clip(model: Any, prepare: Any) -> Features:
    def features(x: Tensor) -> Tensor:
        count = getattr(model.config, "num_frames", None) or x.shape[2]
        chosen = torch.linspace(0, x.shape[2] - 1, count).round().long()
        frames = ((x[:, :, chosen] + 1) * 127.5).round().clamp(0, 255).byte().expand(-1, 3, -1, -1, -1)
        clips = [list(clip) for clip in frames.permute(0, 2, 3, 4, 1).numpy()]            # of (H, W, 3)
        return _pooled(model(**prepare(clips, return_tensors="pt")))

    return features


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
