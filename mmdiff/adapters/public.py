"""A public model in a folder, as diffusers' ``save_pretrained`` wrote it: parts, each a folder of its own.

    model_index.json    transformer/    vae/    text_encoder/    tokenizer/    scheduler/    README.md

It is a reference, by path and digests. Nothing is fetched, no code of the folder is run, weights are read from
safetensors alone, and from a folder that is the one that is meant. Weights of a part are in memory once, whoever uses
them. No constructor opens weights where it is on the meta device.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch
import yaml
from safetensors import safe_open
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from ..core.types import Masked
from ..data.batch import pad, unpad
from ..nn.rows import quantize
from .pretrained import complete, digest

Precision = Literal["float32", "bfloat16", "float16", "int8"]
"""Of weights that do not learn; those in int8 (``mmdiff.nn.rows``) compute in bfloat16, and are so outside of blocks.
"""
UNKNOWN = "not said"
UNASKED = ("xformers", "diffusers.quantizers.torchao.torchao_quantizer")
"""Who warns, when diffusers is imported, of kernels and of formats that nobody asks for."""
_settings_alone: ContextVar[bool] = ContextVar("settings_alone", default=False)
_loaded: WeakValueDictionary[tuple[str, ...], nn.Module] = WeakValueDictionary()


class PublicModel:
    """The model in the folder ``path``, whose parts have these ``digests`` (None: whichever they have).

    ``name`` and ``licence`` are what its card says of it.
    """

    def __init__(
        self, path: Path, *, digests: Mapping[str, str] | None = None, name: str = "", licence: str = UNKNOWN
    ):
        self.path, self.digests, self.name, self.licence = Path(path).expanduser(), digests, name, licence
        self._modules_in_use: dict[str, nn.Module] = {}

    def __deepcopy__(self, memo: dict) -> "PublicModel":
        return self                                                   # a reference: averages of weights share it

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_modules_in_use": {}}

    @classmethod
    def described(cls, path: Path, parts: Iterable[str]) -> dict[str, Any]:
        """What the constructor takes besides the path: digests of ``parts``, name and licence.

        Raises ``ValueError`` where a part is not there.
        """
        model = cls(path)
        card = _card(model.path / "README.md")
        licence = card.get("license_name") or card.get("license") or UNKNOWN
        return {"digests": {part: digest(model.folder(part)) for part in dict.fromkeys(parts)},
                "name": _name(model.path), "licence": str(licence)}

    def folder(self, part: str) -> Path:
        """The folder of a part; that of the model itself where it is of one part alone."""
        folder = self.path / part
        alone = not (self.path / "model_index.json").exists() and (self.path / "config.json").exists()
        if not folder.is_dir() and not alone:
            raise ValueError(f"{self.path} has no folder {part}, as diffusers' save_pretrained writes it: name the "
                             "folder of the model by adapter.model=")
        return (self.path if alone else folder).absolute()

    def has(self, part: str) -> bool:
        """Whether the folder has a part of that name."""
        return (self.path / part).is_dir()

    def digest(self, part: str) -> str:
        """The digest that a part is to have."""
        return (self.digests or {}).get(part) or digest(self.folder(part))

    def checked(self, part: str) -> Path:
        """The folder of a part. Raises ``ValueError`` where it is not the one that is meant."""
        if (found := digest(folder := self.folder(part))) != self.digest(part):
            raise ValueError(f"{folder} is another {part} than this model learned with (hash {found[:8]}, not "
                             f"{self.digest(part)[:8]}): name the folder that it is in now, or bring it back")
        return folder

    def config(self, part: str, kind: str | None = None) -> dict[str, Any]:
        """The settings of a part, which is of the class ``kind`` of diffusers or transformers where that is said."""
        file = self.folder(part) / settings_file(part)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {file}: {error}") from None
        cls = (found.get("_class_name") or next(iter(found.get("architectures") or ()), None)
               if isinstance(found, dict) else "no class")
        if not isinstance(found, dict) or kind not in (None, cls):
            raise ValueError(f"{file} is of {cls}, and this adapter takes {kind}")
        return found

    def tensors(self, part: str, names: Iterable[str]) -> dict[str, Tensor]:
        """Some tensors of a part, without the rest; none ``by_settings``, or where tensors have a shape alone.

        Raises ``ValueError`` where one is not there.
        """
        if _settings_alone.get() or hollow():
            return {}
        found: dict[str, Tensor] = {}
        for path in sorted(self.checked(part).glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                found |= {name: file.get_tensor(name) for name in set(names) & set(file.keys())}
        if missing := set(names) - found.keys():
            raise ValueError(f"{self.folder(part)} holds no weights with {', '.join(sorted(missing))}, which this "
                             "adapter needs of it")
        return found

    def agree(self, part: str, config: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` where the ``config`` of a part is not what goes with it asks for."""
        for name, value in wanted.items():
            if config[name] != value:
                raise ValueError(f"{self.folder(part)} has {name} {config[name]}, and what goes with it here {value}: "
                                 "codec, text encoder and transformer are to be of one model")

    def load(self, part: str, kind: str, dtype: Precision = "float32") -> nn.Module:
        """A part that is of the class ``kind`` of diffusers or transformers, frozen, its weights in ``dtype``. All who
        ask share it."""
        settings, known = self.config(part, kind), library_class(kind)
        if hollow():
            of_diffusers = "model_type" not in settings
            built = known.from_config(settings) if of_diffusers else known(known.config_class.from_dict(settings))
            return _frozen(_cast(built, computing(dtype)), dtype)
        key = (self.digest(part), kind, dtype)
        if (module := _loaded.get(key)) is None:
            folder = self.checked(part)
            try:
                found = known.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, torch_dtype=computing(dtype),
                    output_loading_info=True,
                )
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(f"{folder} holds no weights that {kind} can load: "
                                 f"{str(error).strip().splitlines()[0]}") from None
            module = _loaded[key] = _frozen(complete(folder, found), dtype)
        self._modules_in_use[part] = module
        return module


def settings_file(part: str) -> str:
    """What the settings of a part are called in its folder."""
    return "scheduler_config.json" if part == "scheduler" else "config.json"


@contextmanager
def by_settings() -> Iterator[None]:
    """What is built within is planned, by settings alone: no weights are there to be read."""
    token = _settings_alone.set(True)
    try:
        yield
    finally:
        _settings_alone.reset(token)


def hollow() -> bool:
    """Whether tensors that are made now have a shape alone: on the meta device, or where a network is traced."""
    probe = torch.empty(0)
    return probe.is_meta or isinstance(probe, FakeTensor)


def computing(dtype: Precision) -> torch.dtype:
    """What weights in a precision compute in."""
    return torch.bfloat16 if dtype == "int8" else getattr(torch, dtype)


def _frozen(module: nn.Module, dtype: Precision) -> nn.Module:
    module = module.eval().requires_grad_(False)
    return quantize(module) if dtype == "int8" else module


def weight_bytes(module: nn.Module) -> int:
    """Bytes of the weights of a module."""
    return sum(tensor.numel() * tensor.element_size() for tensor in chain(module.parameters(), module.buffers()))


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module in a precision, but for what its class keeps in float32, as ``from_pretrained`` casts it."""
    kept = set(getattr(module, "_keep_in_fp32_modules", None) or ())
    for name, parameter in module.named_parameters():
        if not kept & set(name.split(".")):
            parameter.data = parameter.data.to(dtype)
    return module


def each(batch: Masked, function: Callable[[Tensor], Tensor]) -> Masked:
    """``function`` of samples ``(B, C, *S)``, in its own precision: of all at once, or where there is a mask of each by
    itself, without its padding."""
    with torch.autocast(batch.x.device.type, enabled=False):
        if batch.mask is None:
            return Masked(function(batch.x).float())
        x, mask = pad([function(sample[None])[0].float() for sample in unpad(batch)])
    return Masked(x, torch.ones_like(x[:, :1], dtype=torch.bool) if mask is None else mask)


def pipeline_of(path: Path) -> str:
    """The class of diffusers' pipeline that a folder was written by, with what sets models of one class apart. Raises
    ``ValueError`` where it was by none."""
    file = path.expanduser() / "model_index.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return f"{found['_class_name']}{' with expand_timesteps' if found.get('expand_timesteps') else ''}"
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no folder of a public model: it has no model_index.json that names its pipeline, "
                         "as diffusers' save_pretrained writes it") from None


def _name(path: Path) -> str:
    """What a folder is called: in the cache of the hub it is a revision, below the name."""
    path = path.resolve()
    hub = next((p.name for p in path.parents if p.name.startswith("models--")), None)
    return hub.removeprefix("models--").replace("--", "/") if hub else path.name


def _card(path: Path) -> dict[str, Any]:
    """The metadata at the head of a model card; nothing where there is none."""
    try:
        _, head, _ = path.read_text(encoding="utf-8").split("---", 2)
        found = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def library_class(kind: str) -> Any:
    """A class of diffusers, or of transformers where that one has none of this name."""
    loggers = [logging.getLogger(name) for name in UNASKED]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        import diffusers
        import transformers

        return getattr(diffusers if hasattr(diffusers, kind) else transformers, kind)
    except ImportError:
        raise ValueError("public models need diffusers: pip install 'mmdiff[diffusers]'") from None
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
