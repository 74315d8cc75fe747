"""Low-rank changes as other programs write them: PEFT, diffusers, kohya's sd-scripts.

    PEFT        base_model.model.LAYER.lora_A.weight, .lora_B.weight, .lora_magnitude_vector;   config: r, lora_alpha
    diffusers   transformer.LAYER.lora_A.weight, .lora_B.weight;             its header may hold that config
    kohya       lora_unet_LAYER.lora_down.weight, .lora_up.weight, .dora_scale, .alpha;        LAYER with _ for its dots

There the change is (alpha / rank) B A, here B A: alpha goes into B, and what is written has alpha = rank. Ranks that
were cut to a layer's width are filled up with zeros, as not all readers take a rank for each layer.
"""

import copy
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from .lora import attach, layers

PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.", "unet.", "model.")
FLAT = ("lora_unet_", "lora_transformer_")
"""Beginnings of names, with dots and with underscores."""
ENDINGS = {
    ".lora_A.weight": "a", ".lora_down.weight": "a", ".lora.down.weight": "a", ".lora_embedding_A": "embedding_a",
    ".lora_B.weight": "b", ".lora_up.weight": "b", ".lora.up.weight": "b", ".lora_embedding_B": "embedding_b",
    ".lora_magnitude_vector.weight": "magnitude", ".lora_magnitude_vector": "magnitude", ".dora_scale": "magnitude",
    ".alpha": "alpha",
}
OF_DIFFUSERS = "lora_adapter_metadata"
"""What diffusers calls PEFT's configuration of each part of a pipeline, in the header of its files."""
TABLE = {"embedding_a": "b", "embedding_b": "a"}
"""What the matrices of a table are here: (B A)^T is added there."""


def written(network: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str) -> tuple[dict[str, Tensor], int]:
    """The tensors of a change of ``network`` (as of ``lora.tensors_of``) under PEFT's names, and their one rank.

    Raises ``ValueError`` where these names cannot tell it, and for tensors that are no change of ``network``.
    """
    attach(copy.deepcopy(network), tensors)
    found = layers(network)
    rank = max((len(value) for name, value in tensors.items() if name.endswith("lora_A")), default=0)
    if not rank:
        raise ValueError("there is nothing that it changes")
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        path, _, part = name.rpartition(".")
        layer, to = found[path], f"{prefix}{path}"
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.groups > 1:
            raise ValueError(f"{path} is a convolution in groups, which PEFT's layout cannot tell")
        weight, table = layer.weight, isinstance(layer, nn.Embedding)
        spatial = weight.ndim - 2
        if part == "lora_magnitude":
            if table:
                raise ValueError(f"{path} is a table with a magnitude for each row, which PEFT's layout cannot tell")
            shape = (1, -1, *(1,) * spatial) if spatial else (-1,)
            out[f"{to}.lora_magnitude_vector"] = value.reshape(shape)
            continue
        short = value.shape[0 if part == "lora_A" else 1]
        fill = (0, 0, 0, rank - short) if part == "lora_A" else (0, rank - short)
        padded = nn.functional.pad(value, fill)
        if table:                                                     # the other way round: (B A)^T is added
            out[f"{to}.lora_embedding_{'B' if part == 'lora_A' else 'A'}"] = padded.T.contiguous()
        elif part == "lora_A":
            out[f"{to}.{part}.weight"] = padded.reshape(rank, *weight.shape[1:])
        else:
            out[f"{to}.{part}.weight"] = padded.reshape(*padded.shape, *(1,) * spatial)
    return out, rank


def peft_config(rank: int, names: Mapping[str, Tensor], *, base: str) -> dict[str, Any]:
    """What ``adapter_config.json`` says of tensors named by ``written``; layers are named whole, as a pattern."""
    paths = dict.fromkeys(name.removeprefix(PREFIXES[0]).partition(".lora_")[0] for name in names)
    return {
        "peft_type": "LORA", "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "bias": "none",
        "use_dora": any(name.endswith("magnitude_vector") for name in names), "use_rslora": False,
        "fan_in_fan_out": False, "inference_mode": True, "task_type": None, "base_model_name_or_path": base,
        "target_modules": "|".join(path.replace(".", r"\.") for path in paths),
    }


def header_config(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """PEFT's configuration of a network, of the header of a file of diffusers; None where that has none.

    Raises ``ValueError`` for one that is no mapping.
    """
    if OF_DIFFUSERS not in metadata:
        return None
    found = json.loads(metadata[OF_DIFFUSERS])
    if not isinstance(found, Mapping):
        raise ValueError(f"{OF_DIFFUSERS} of its header is no mapping, but {found!r:.80}")
    return {name.partition(".")[2]: value for name, value in found.items() if name.startswith(PREFIXES)}


def read(
    network: nn.Module, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
) -> dict[str, Tensor]:
    """The tensors of a foreign file under the names of ``lora.attach``; ``config`` is PEFT's, where there is one.

    Raises ``ValueError`` with a count and the first name where one finds no layer of ``network``, and for an alpha of
    such a layer.
    """
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise ValueError(f"its configuration is no mapping, but {config!r:.80}")
    if config.get("fan_in_fan_out") or config.get("peft_type", "LORA") != "LORA":
        raise ValueError("it is no LoRA of layers with weights (rows, columns): peft_type and fan_in_fan_out say so")
    by_layer, patterns = _by_layer(network, tensors), _patterns(network, config)
    out: dict[str, Tensor] = {}
    for path, parts in by_layer.items():
        if table := "embedding_a" in parts or "embedding_b" in parts:
            if "magnitude" in parts:
                raise ValueError(f"{path} is a table with a magnitude for each column, and here a row has one")
            parts = {TABLE.get(name, name): value for name, value in parts.items()}
        if not {"a", "b"} <= parts.keys():
            raise ValueError(f"{path} has one of its two matrices alone")
        if not all(parts[name].ndim >= 2 and parts[name].numel() for name in ("a", "b")):
            shapes = " and ".join(str(tuple(parts[name].shape)) for name in ("a", "b"))
            raise ValueError(f"{path} has no two matrices that could be multiplied, but {shapes}")
        if not all(parts[name].is_floating_point() and parts[name].isfinite().all() for name in ("a", "b")):
            raise ValueError(f"{path} has numbers that are whole or not finite, {parts['a'].dtype} and "
                             f"{parts['b'].dtype}: it is damaged, or quantized")
        a, b = (parts[name].float().mT if table else parts[name].float().flatten(1) for name in ("a", "b"))
        out[f"{path}.lora_A"], out[f"{path}.lora_B"] = a, _scale(path, a.shape[0], parts, config, patterns) * b
        if "magnitude" in parts:
            out[f"{path}.lora_magnitude"] = parts["magnitude"].float().flatten()
    return {name: value.contiguous() for name, value in out.items()}


def _by_layer(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The parts of each layer, by what they are."""
    known = {path: path for path in layers(network)}
    flat = {f"{start}{path.replace('.', '_')}": path for path in known for start in FLAT}
    dotted = {f"{start}{path}": path for path in known for start in PREFIXES}
    found: dict[str, dict[str, Tensor]] = {}
    strange = []
    for name, value in tensors.items():
        plain = name.replace(".default", "")
        ending = next((ending for ending in ENDINGS if plain.endswith(ending)), "")
        path = (known | dotted | flat).get(plain.removesuffix(ending)) if ending else None
        if path is None:
            strange.append(name)
        elif ENDINGS[ending] in (parts := found.setdefault(path, {})):
            raise ValueError(f"{path} has two tensors of one place, of which one is {name}: a file holds one change")
        else:
            parts[ENDINGS[ending]] = value
    if strange or not found:
        raise ValueError(f"{len(strange)} of {len(tensors)} tensors find no layer of this network, such as "
                         f"{strange[0] if strange else 'none'}")
    return found


def _patterns(network: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """Alphas of layers that have one of their own, by the ends of their names."""
    found = config.get("alpha_pattern") or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"alpha_pattern of its configuration is no mapping, but {found!r:.80}")
    patterns = {str(name).removeprefix("^"): alpha for name, alpha in found.items()}
    if strange := [name for name in patterns if not any(_named(path, name) for path in layers(network))]:
        raise ValueError(f"alpha_pattern of its configuration names {strange[0]!r:.80}, which is no layer of this "
                         "network: expressions are not read, name each layer by itself")
    return patterns


def _named(path: str, end: str) -> bool:
    return path == end or path.endswith(f".{end}")


def _scale(
    path: str, rank: int, parts: Mapping[str, Tensor], config: Mapping[str, Any], patterns: Mapping[str, Any]
) -> float:
    """What B A is multiplied by there: (alpha / rank), of the file, of PEFT's configuration, or 1."""
    if "alpha" in parts:
        return _finite(path, parts["alpha"]) / rank
    if "lora_alpha" not in config:
        return 1.0
    near = [key for key in patterns if _named(path, key)]
    alpha = _finite(path, patterns[max(near, key=len)] if near else config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _finite(path: str, alpha: Any) -> float:
    """An alpha as a number."""
    with suppress(TypeError, ValueError, RuntimeError):
        if math.isfinite(number := float(alpha)):
            return number
    raise ValueError(f"alpha of {path} is a number, got {alpha!r:.80}")
