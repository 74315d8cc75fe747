"""Generation jobs: requests in, files with sidecars out.

Requests of one size, whatever files they start from, run in micro-batches of exactly ``batch_size`` (the last one
filled up by repetition), so an item is the same file whatever else the job holds. A file appears under its name only
when complete; a job that was interrupted makes what is missing, and nothing twice. Several processes may share one job:
each makes its part, and whichever finds all parts made writes ``manifest.jsonl``, a row an item.
"""

import hashlib
import inspect
import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unicodedata import category, normalize

import torch
from annotated_types import Ge
from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..config.build import ConfigError, build
from ..config.kinds import check
from ..core.guidance import Guidance
from ..core.samplers import Sampler
from ..core.types import Masked
from ..data.dataset import spread
from ..data.labels import Label
from ..data.writing import write_atomic
from ..model import DiffusionModel
from ..store import chosen_device, load_model
from .edits import Edit, Placed, Way, carry_out
from .outputs import Output, clear, described
from .request import Request, plain_number

BATCH = 16
"""The largest micro-batch that is chosen for the user."""
MANIFEST = "manifest.jsonl"
RESERVED = ("manifest", "preview")
"""Names of what a job writes besides its samples."""
MicroBatch = Annotated[int, Ge(1)] | None
LONGEST = 200
"""Bytes of a sample's name: systems take 255, of which hidden names, process numbers and endings need some."""


class Pipeline:
    """A trained model with its sampler and guidance, as ``mmdiff.load`` gives it.

    Where no sample was hidden from the labels in training (``adapter.conditioner.drop=0``), nothing can be contrasted
    with them: the guidance scale is then 1, and that is told, unless ``guidance`` was given and ``insist`` says that
    its scale is what was asked for.
    """

    def __init__(
        self, model: DiffusionModel, header: dict[str, Any], *, sampler: dict | None = None,
        guidance: dict | None = None, insist: bool = True,
    ):
        self.model, self.header = model, header
        for name, node in (("sampler", sampler), ("guidance", guidance)):
            if not isinstance(node, dict | None):
                raise ConfigError(f'{name} is a mapping such as {{"_target_": CLASS, ...}}, or None, got {node!r}')
        self.settings = {
            "sampler": dict(sampler or header["config"]["sampler"]),
            "guidance": dict(guidance or header["config"]["guidance"]),
        }
        self.sampler = build(self.settings["sampler"], Sampler)
        self.guidance = build(self.settings["guidance"], Guidance)
        self.notice = ""
        if self.guidance.uses_null and self.guidance.scale != 1 and model.conditioner.dropped == 0:
            self.notice = "0 % of the training samples were told nothing (adapter.conditioner.drop=0), so guidance "
            if guidance is not None and insist:
                self.notice += f"by scale {self.guidance.scale:g} contrasts with what the model never learned"
            else:
                self.notice += "has nothing to contrast with: its scale is 1 (guidance.scale=... insists on another)"
                self.settings["guidance"]["scale"] = 1.0
                self.guidance = build(self.settings["guidance"], Guidance)

    @property
    def size(self) -> dict[str, float]:
        """The size of a sample where a request names none: that of the middle one of the training set."""
        return dict(self.header["config"]["size"])

    def sample(
        self, n: int = 1, seed: int = 0, *, cond: dict[str, Label] | None = None, edit: Edit | None = None,
        batch_size: int | None = None, **size: float,
    ) -> list[Tensor]:
        """``n`` samples ``(C, *S)`` with the seeds ``seed .. seed + n - 1``; ``size`` such as ``seconds=1.5``.

        ``edit`` (an ``mmdiff.Edit``) starts from a file. ``batch_size`` (default: ``n``, at most 16) fixes the
        arithmetic to the last bit, besides the seeds.
        """
        n, seed, batch_size = map(plain_number, (n, seed, batch_size))
        check(n, Annotated[int, Ge(0)], key="n")
        check(seed, int, key="seed")
        check(batch_size, MicroBatch, key="batch_size")
        told = {} if cond is None else cond
        requests = [Request(seed=seed + i, labels=told, size=size, edit=edit) for i in range(n)]
        made = dict(self.run(requests, batch_size or min(n, BATCH)))
        return [made[i] for i in range(n)]

    def save(
        self, requests: Sequence[Request], out: str | Path, *, batch_size: int | None = None,
        suffix: str | None = None, shard: tuple[int, int] = (0, 1), replace: bool = False, **options: Any,
    ) -> list[Path]:
        """Write one file and one JSON sidecar a request into the folder ``out``; what is there already is kept.

        A file that is there and is not what is asked for is a ``FileExistsError`` before any work, unless ``replace``.
        ``shard=(k, n)`` makes every n-th request from the k-th on (k counts from 0); n processes do the whole job, in
        any order. Gives the paths of the whole job once all are there, and those of the part until then.
        ``options`` go to the codec's ``save``.
        """
        known = list(inspect.signature(self.model.codec.save).parameters)[2:]
        if unknown := [name for name in options if name not in known]:
            raise ValueError(f"{unknown[0]}= does not go with this model's {self.model.codec.suffix} files")
        requests, batch_size = _listed(requests), plain_number(batch_size)
        for name, value, kind in (("batch_size", batch_size, MicroBatch), ("suffix", suffix, str | None),
                                  ("replace", replace, bool), ("shard", shard, tuple[int, int])):
            check(value, kind, key=name)
        if not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard is (k, n) with 0 <= k < n, the k-th part of n from 0 on, got {shard}")
        self._check(requests)
        loose = frozenset() if batch_size else frozenset({"batch_size"})
        out, batch_size = Path(out).expanduser(), batch_size or min(len(requests), BATCH)
        suffix = suffix or self.model.codec.suffix
        if suffix == ".json":
            raise ValueError("samples cannot be .json files: each has a .json of its name beside it, with its request")
        endings = self.model.codec.endings(**options)
        if endings and suffix.lower() not in endings:
            raise ValueError(f"suffix={suffix}: samples of this model are written as {' '.join(endings)}")
        names = [self._name(i, request) for i, request in enumerate(requests)]
        if taken := [name for name in names if name.lower() in RESERVED]:
            raise ValueError(f"no sample can have the name {taken[0]!r}: a file of the job itself has it")
        if twice := [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]:
            alike = dict.fromkeys(name for name in names if name.casefold() == twice[0])
            raise ValueError(f"two requests have the name {' and '.join(map(repr, alike))}"
                             + (", which is one file where systems tell no capitals" if len(alike) > 1 else ""))
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):                         # told now rather than after the work
            pass
        listed(out)
        outputs = [
            Output(path := out / (name + suffix), {**self._facts(request, path, batch_size), **options}, loose)
            for name, request in zip(names, requests, strict=True)
        ]
        own = range(shard[0], len(requests), shard[1])
        todo = [i for i in own if not outputs[i].done()]
        if not replace and (reasons := [reason for i in todo if (reason := outputs[i].obstacle())]):
            raise FileExistsError(f"{reasons[0]}: choose another folder by out=, or replace=true")
        if len(todo) < len(own):
            print(f"{len(own) - len(todo)} of {len(own)} are there already")
        clear((outputs[i] for i in todo), out)
        for k, sample, changed in self._made([requests[i] for i in todo], batch_size):
            outputs[todo[k]].write(partial(self.model.codec.save, sample, **options), changed)
        if not all(output.done() for output in outputs):
            return [outputs[i].path for i in own]
        rows = [row for row in listed(out) if row["file"] not in {output.path.name for output in outputs}]
        rows += [{**(o.stored() or {}), "sha256": hashlib.sha256(o.path.read_bytes()).hexdigest()} for o in outputs]
        write_atomic(out / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows).encode())
        return [output.path for output in outputs]

    def pictures(self, requests: Sequence[Request], paths: Sequence[Path], folder: Path) -> list[Path]:
        """What shows samples evenly over a job, ``preview.png`` first."""
        shown = [(requests[i], paths[i]) for i in spread(len(requests), BATCH)]
        samples = [self.model.codec.load(path, **self._size(request)) for request, path in shown]
        return self.model.codec.pictures(samples, [request.title for request, _ in shown], folder)

    def run(
        self, requests: Sequence[Request], batch_size: int, *, show_progress: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """(position, sample) of every request, those of one size together, as they are made."""
        for position, sample, _ in self._made(requests, batch_size, show_progress=show_progress):
            yield position, sample

    def _made(
        self, requests: Sequence[Request], batch_size: int, *, show_progress: bool = True
    ) -> Iterator[tuple[int, Tensor, dict[str, float]]]:
        """As ``run``, with what the codec had to change of each sample; with progress, that is told at the end."""
        self._check(requests)
        if self.notice and requests:
            warnings.warn(self.notice, stacklevel=2)
        changes: list[dict[str, float]] = []
        sizes = [tuple(sorted(self._size(request).items())) for request in requests]
        for size in dict.fromkeys(sizes):
            if foreign := set(dict(size)) - set(inspect.signature(self.model.codec.latent_shape).parameters):
                raise ValueError(f"samples of this model have no {foreign.pop()}=; their size is {dict(self.size)}")
            self.model.codec.latent_shape(**dict(size))
        tasks = [(size, request.edit) for size, request in zip(sizes, requests, strict=True)]
        window = self.model.codec.latent_shape(**self.size)[0]
        placed = {
            (size, edit): edit and Placed.of(edit, self.model.codec, dict(size), window, device=self.model.device)
            for size, edit in dict.fromkeys(tasks)
        }
        groups: dict[tuple[Any, Way | None], list[int]] = {}
        for i, (size, edit) in enumerate(tasks):
            groups.setdefault((size, edit and placed[size, edit].way), []).append(i)
        with tqdm(total=len(requests), unit="item", disable=not requests or not show_progress) as bar:
            for (size, _), members in groups.items():
                for k in range(0, len(members), batch_size):
                    part = members[k : k + batch_size]
                    rows = [part[i % len(part)] for i in range(batch_size)]
                    samples = self._batch(
                        [requests[i] for i in rows], dict(size), [placed[tasks[i]] for i in rows], bar
                    )
                    for position, (sample, changed) in zip(part, samples, strict=False):
                        if not torch.isfinite(sample).all():
                            seed = requests[position].seed
                            raise FloatingPointError(f"the sample with seed {seed} holds NaN: is the model trained?")
                        changes.append(changed)
                        yield position, sample, changed
                    bar.update(len(part))
        if show_progress and (told := described(changes)):
            print(told)

    def _check(self, requests: Sequence[Request]) -> None:
        """Refuse labels that the model does not know before any work, naming the request where they differ."""
        alike = all(request.labels == requests[0].labels for request in requests)
        for i, request in enumerate(requests):
            try:
                self.model.conditioner.check(request.labels)
            except ValueError as error:
                raise ValueError(str(error) if alike else f"request {request.name or i + 1}: {error}") from None

    def _batch(
        self, rows: list[Request], size: dict[str, float], placed: Sequence[Placed | None], bar: tqdm
    ) -> list[tuple[Tensor, dict[str, float]]]:
        def progress(call: int) -> None:
            bar.set_postfix_str(f"network call {call + 1}/{self.sampler.calls}")

        make = partial(
            self.model.latents, [r.labels for r in rows], [r.seed for r in rows], sampler=self.sampler,
            guidance=self.guidance, progress=progress,
        )
        if placed[0] is None:
            return self.model.finished(make(self.model.codec.latent_shape(**size)))
        known = (torch.stack(parts).to(self.model.device) for parts in zip(*(p.known for p in placed), strict=True))
        return self.model.finished(carry_out(make, Masked(*known), placed[0].way, [p.start for p in placed]))

    def _size(self, request: Request) -> dict[str, float]:
        """The whole size of a request: a length in seconds replaces the model's own in frames."""
        own = self.size if request.edit is None else request.edit.size(self.model.codec, {**self.size, **request.size})
        own = {k: v for k, v in own.items() if not (k == "frames" and "seconds" in request.size)}
        return {**own, **request.size}

    def _name(self, index: int, request: Request) -> str:
        labels = "_".join(f"{k}-{v}" for k, v in request.labels.items() if v is not None)
        name = _plain(request.name or "_".join(filter(None, [f"{index:04d}", labels, f"seed{request.seed}"])))
        if (length := len(name.encode())) <= LONGEST:
            return name
        if request.name:
            raise ValueError(f"request {index + 1}: its name has {length} bytes, a file's at most {LONGEST}: {name!r}")
        kept = _plain(labels).encode()[: LONGEST // 2].decode(errors="ignore")
        return f"{index:04d}_{kept}-{hashlib.sha256(labels.encode()).hexdigest()[:8]}_seed{request.seed}"

    def _facts(self, request: Request, path: Path, batch_size: int) -> dict[str, Any]:
        return {
            "file": path.name, "labels": request.labels, "seed": request.seed, "size": self._size(request),
            **({"edit": request.edit.facts} if request.edit else {}), **self.settings, "batch_size": batch_size,
            "model": self.header["sha256"], "step": self.header.get("step"), "bases": self.header.get("bases", []),
            "lora": self.header.get("lora", []),
            "mmdiff": __version__, "torch": torch.__version__,
        }


def _listed(requests: Sequence[Request]) -> list[Request]:
    found = [] if isinstance(requests, str | Path) else list(requests)
    if isinstance(requests, str | Path) or not all(isinstance(request, Request) for request in found):
        raise ValueError(f"requests are a list of mmdiff.Request, got {requests!r:.200}")
    return found


def _plain(name: str) -> str:
    """Letters of any script with their marks, digits and ``-_.+``, not hidden; other signs become ``-``."""
    kept = "".join(c if category(c)[0] in "LNM" or c in "-_.+" else "-" for c in normalize("NFC", name))
    return kept if not kept.startswith(".") else f"-{kept[1:]}"


def listed(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder's manifest whose files are there; ``ValueError`` where it cannot be read."""
    try:
        rows = [json.loads(line) for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines()]
        if foreign := [row["file"] for row in rows if Path(row["file"]).name != row["file"]]:
            raise ValueError(f"{foreign[0]!r} is no file of its own folder")
        return [row for row in rows if (folder / row["file"]).exists()]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{folder / MANIFEST} is no list of generated files, so move it away: {error}") from None


def load(
    path: str | Path, *, lora: Mapping[str | Path, float] | None = None, base: str | Path | None = None,
    encoder: str | Path | None = None, device: str | None = None, **settings: Any,
) -> Pipeline:
    """The pipeline of a run directory (also while it trains) or a single model file.

    ``lora`` adds changes of the model, each a run or file with its scale: ``{"runs/mine": 0.8}``; ``base`` is where the
    model is that a change at ``path`` was made of, and ``encoder`` the folder of its text encoder, if they have moved.
    ``device`` defaults to the GPU where there is one; ``sampler`` and ``guidance`` replace the model's own settings.
    """
    model, header = load_model(path, lora=lora, base=base, encoder=encoder, device=chosen_device(device))
    return Pipeline(model, header, **settings)
