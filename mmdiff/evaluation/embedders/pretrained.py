"""Features of a pretrained network: a folder that ``save_pretrained`` of Hugging Face's transformers wrote.

    samples, as the judge prepares them -> network -> embedding (of sound, for CLAP), pooled output, or mean of states

Nothing is fetched, no code of the folder is run, and weights are read from safetensors alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...adapters.judge import Judge

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")
"""Files of which a tokenizer has one at least."""
Features = Callable[[Tensor], Tensor]
Texts = Callable[[Sequence[str]], Tensor]


def pretrained(
    folder: Path, *, judge: Judge, settings: Mapping[str, int]
) -> tuple[Features, dict[str, Any], Texts | None]:
    """``(N, C, *S) -> (N, D)``, its name and hash, and N texts ``-> (N, D)`` where the network compares both (CLAP) and
    the folder has a tokenizer. ``ValueError`` says why a folder cannot be used."""
    try:
        import transformers
    except ImportError:
        raise ValueError(f"the folder {folder} needs transformers: pip install 'mmdiff[eval]'") from None
    if judge.preprocessor is None:
        raise ValueError(f"{folder}: a folder of transformers does not judge {judge.name}")
    tokenizer: Any = None
    try:
        prepare = getattr(transformers, judge.preprocessor).from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        tokenizer = _tokenizer(folder) if hasattr(model, "get_text_features") else None
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} is no model that transformers can load: {str(error).splitlines()[0]}") from None
    embed = getattr(model, "get_audio_features", model)

    def features(x: Tensor) -> Tensor:
        return _pooled(embed(**judge.prepared(x, prepare, model, **settings)))

    def texts(wanted: Sequence[str]) -> Tensor:
        limit = model.config.text_config.max_position_embeddings - 2              # two are taken before the first word
        inputs = tokenizer(list(wanted), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        return _pooled(model.get_text_features(**inputs))

    facts = {"file": folder.resolve().name, "sha256": _digest(folder)}
    return features, facts, texts if tokenizer is not None else None


def _tokenizer(folder: Path) -> Any:
    """What splits texts; None where the folder has none, for which transformers would make up one of no words."""
    if not any((folder / name).is_file() for name in VOCABULARIES):
        return None
    import transformers

    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


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
