"""A frozen text encoder of somebody else: a folder that ``save_pretrained`` of Hugging Face's transformers wrote.

    T5, UMT5, BERT and its kin (sentence encoders), CLIP, CLAP;     a text -> states (L, width)

It is a reference, by path and digest, and no part of the model: neither trained, averaged nor saved with it. Texts of
one length are encoded together, without padding, so that the states of a text are the same whatever its neighbours;
each is kept, in memory and on the disk, under

    sha256(text, digest of the folder, length, layer, dtype)

Nothing is fetched, no code of the folder is run, and weights are read from safetensors alone. No constructor opens it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import numpy as np
import torch
from torch import Tensor

from ..data.cached import cache_folder, keep
from .texts import TextEncoder, padded_length

READ = (".json", ".safetensors", ".txt", ".model")
"""Endings of the files that say what an encoder is."""
BATCH = 32
"""Texts that are encoded at once, at most."""
CACHE_BYTES = 2**28
"""Bytes of states that are held in memory, about."""


class Pretrained(TextEncoder):
    """The encoder of the folder ``path``, whose ``digest`` and ``width`` ``resolve`` finds.

    ``length`` tokens are read of a text at most; ``layer`` is that whose states are given, -1 the last.
    """

    empty = False
    """Whether an empty text has states of its own."""

    def __init__(
        self, path: Path, *, digest: str, width: int, length: int = 64, layer: int = -1,
        dtype: Literal["float16", "float32"] = "float16", truncate: bool = False,
    ):
        if length < 1 or width < 1:
            raise ValueError(f"length and width are at least 1, got {length} and {width}")
        self.path, self.digest, self.width, self.layer = path, digest, width, layer
        self.length, self.dtype, self.truncate = length, dtype, truncate
        self._cache: dict[str, np.ndarray] = {}
        self._size = 0

    def __deepcopy__(self, memo: dict) -> "Pretrained":
        return self                                                   # frozen: averages of weights share it

    def __getstate__(self) -> dict[str, Any]:
        parts = ("path", "digest", "width", "layer", "length", "dtype", "truncate")
        return {**{name: getattr(self, name) for name in parts}, "_cache": {}, "_size": 0}

    @classmethod
    def resolve(cls, **settings: Any) -> dict[str, Any]:
        """Raises ``ValueError`` for a folder that cannot be used, or that reads less than ``length``."""
        if {"digest", "width"} <= settings.keys():
            return settings
        folder = _folder(settings["path"])
        found = {"digest": digest(folder), "width": 1, **settings, "path": str(folder)}
        encoder = cls(**found)
        if encoder.length > encoder.limit:
            raise ValueError(f"adapter.text.length={encoder.length}, and {folder} reads {encoder.limit} tokens at most")
        return {**found, "width": encoder._states(["a"])[0].shape[1]}

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        return [self.tokenizer.convert_ids_to_tokens(ids) for ids in self._ids(texts)]

    def __call__(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        wanted = [normalize("NFC", text) for text in texts]
        kept = {text: self._kept(text) for text in dict.fromkeys(wanted) if text or self.empty}
        found = {text: states for text, states in kept.items() if states is not None}
        missing = [text for text in kept if text not in found]
        for text, states in zip(missing, self._states(missing, device) if missing else (), strict=True):
            found[text] = states
            self._keep(text, states)
        lengths = [len(found.get(text, ())) for text in wanted]
        padded = torch.zeros(len(wanted), padded_length(max(lengths)), self.width)
        for row, text, count in zip(padded, wanted, lengths, strict=True):
            if count:
                row[:count] = torch.from_numpy(found[text].astype(np.float32))
        mask = torch.arange(padded.shape[1]) < torch.tensor(lengths)[:, None]
        return padded.to(device), mask.to(device)

    @cached_property
    def tokenizer(self) -> Any:
        """What splits texts."""
        return self.loaded("AutoTokenizer")

    @cached_property
    def network(self) -> Any:
        """The part of the folder's network that reads texts, frozen."""
        model = complete(self.folder, self.loaded(self._class(self.loaded("AutoConfig")), use_safetensors=True,
                                                  output_loading_info=True))
        return getattr(model, "text_model", model).eval().requires_grad_(False)

    @property
    def weight_bytes(self) -> int:
        """What its weights take in memory; they are not read."""
        config = self.loaded("AutoConfig")
        with torch.device("meta"):
            model = getattr(_transformers(), self._class(config)).from_config(config)
        text_model = getattr(model, "text_model", model)
        return sum(tensor.numel() * tensor.element_size() for tensor in text_model.parameters())

    @property
    def limit(self) -> int:
        """The most tokens that it reads."""
        config = self.loaded("AutoConfig")
        text_config = getattr(config, "text_config", config)
        most = [self.tokenizer.model_max_length, getattr(text_config, "max_position_embeddings", None)]
        return int(min(n for n in most if n))

    @cached_property
    def folder(self) -> Path:
        """The folder, once it is known to be the one that is meant."""
        folder = _folder(self.path)
        if digest(folder) != self.digest:
            raise ValueError(f"{folder} is another text encoder than this model learned with (adapter.text.digest): "
                             "name the folder that it is in now, or bring it back")
        return folder

    def loaded(self, name: str, folder: Path | None = None, **options: Any) -> Any:
        """What a class of transformers makes of the folder, or of another."""
        folder = folder or self.folder
        try:
            cls = getattr(_transformers(), name)                      # left open, it asks on the terminal: y runs code
            with _no_bars():
                return cls.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ValueError(f"{folder} is no text encoder that transformers can load: "
                             f"{str(error).strip().splitlines()[0]}") from None

    @staticmethod
    def _class(config: Any) -> str:
        """Which class of transformers reads texts by such a configuration."""
        known = type(config) in _transformers().MODEL_FOR_TEXT_ENCODING_MAPPING
        return "AutoModelForTextEncoding" if known else "AutoModel"

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"] if texts else []

    @torch.no_grad()
    def _states(self, texts: Sequence[str], device: torch.device | None = None) -> list[np.ndarray]:
        """Of each text ``(L, width)``; those of one length are encoded together."""
        network = self.network.to(device or "cpu")
        ids = [self._cut(row) for row in self._ids(texts)]
        encoded: dict[int, np.ndarray] = {}
        for part in _equal_lengths(ids):
            rows = torch.tensor([ids[i] for i in part], device=device)
            with torch.autocast(rows.device.type, enabled=False):     # what is kept is the same whoever asks first
                out = network(
                    input_ids=rows, attention_mask=torch.ones_like(rows), output_hidden_states=self.layer != -1
                )
            states = out.last_hidden_state if self.layer == -1 else out.hidden_states[self.layer]
            encoded |= dict(zip(part, states.float().cpu().numpy().astype(self.dtype), strict=True))
        network.to("cpu")                                             # it may be larger than the model that it tells
        return [encoded[i] for i in range(len(ids))]

    def _cut(self, ids: list[int]) -> list[int]:
        """At most ``length`` tokens, with the one that ends a text where it has such."""
        last = ids[-1:] if ids and ids[-1] in self.tokenizer.all_special_ids else []
        return ids if len(ids) <= self.length else [*ids[: self.length - len(last)], *last]

    def _key(self, text: str) -> str:
        identity = [text, self.digest, self.length, self.layer, self.dtype]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def _file(self, key: str) -> Path:
        return cache_folder() / "texts" / self.digest[:16] / key[:2] / f"{key}.npy"

    def _kept(self, text: str) -> np.ndarray | None:
        if (key := self._key(text)) in self._cache:
            return self._cache[key]
        try:
            states = np.load(self._file(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if states.ndim != 2 or states.shape[1] != self.width or not 0 < len(states) <= self.length:
            return None
        self._hold(key, states)
        return states

    def _keep(self, text: str, states: np.ndarray) -> None:
        self._hold(key := self._key(text), states)
        keep(self._file(key), lambda file: np.save(file, states, allow_pickle=False))

    def _hold(self, key: str, states: np.ndarray) -> None:
        while self._cache and self._size + states.nbytes > CACHE_BYTES:
            self._size -= self._cache.pop(next(iter(self._cache))).nbytes
        self._cache[key] = states
        self._size += states.nbytes


def complete(folder: Path, found: tuple[Any, Mapping[str, Any]]) -> Any:
    """The network that ``from_pretrained`` made of a folder, with what it says of its weights. Raises ``ValueError``
    where some are not there: in their place there are random ones. What pools states into one is not used here."""
    network, report = found
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        raise ValueError(f"{folder} lacks {len(missing)} of the weights of {type(network).__name__}, such as "
                         f"{missing[0]}: its download is not complete, or it is of another version")
    return network


def digest(folder: Path) -> str:
    """A hash of all that says what an encoder is."""
    sha = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in READ and p.is_file()):
        sha.update(f"{path.name} {_file_digest(path)}\n".encode())
    return sha.hexdigest()


def _file_digest(path: Path) -> str:
    """The hash of a file: of one that has its size and time of change still, it is known."""
    facts = path.stat()
    identity = json.dumps([str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns])
    known = cache_folder() / "digests" / hashlib.sha256(identity.encode()).hexdigest()
    with suppress(OSError, UnicodeDecodeError):
        if len(found := known.read_text(encoding="ascii")) == 64:
            return found
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    keep(known, lambda file: file.write(found.encode()))
    return found


def _equal_lengths(ids: Sequence[list[int]]) -> Iterator[list[int]]:
    """Positions of rows of one length, at most ``BATCH`` at once."""
    groups: dict[int, list[int]] = {}
    for i, row in enumerate(ids):
        groups.setdefault(len(row), []).append(i)
    for members in groups.values():
        yield from (members[k : k + BATCH] for k in range(0, len(members), BATCH))


def _folder(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is no folder of a text encoder: it has no config.json, as transformers' "
                         "save_pretrained writes it")
    return folder.absolute()


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the bars that transformers shows of each file."""
    shown = _transformers().utils.logging
    before = shown.is_progress_bar_enabled()
    shown.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            shown.enable_progress_bar()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ValueError("a pretrained text encoder needs transformers: pip install 'mmdiff[text]'") from None
    return transformers
