"""A trained model that is asked for samples: what ``mmdiff.load`` gives. How they are made is in ``sampling``."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import Tensor

from ..config.build import build
from ..config.kinds import check
from ..config.options import chosen
from ..core.guidance import Guidance, Unguided
from ..core.samplers import Sampler
from ..data.dataset import spread
from ..data.labels import Label
from ..engines.base import Eager, Engines, node_of
from ..engines.precision import Float32, Precision
from ..marks.base import Mark
from ..marks.ledger import LedgerMark
from ..model import DiffusionModel
from ..provenance.policy import Policy
from ..provenance.signing import Signing
from ..store import Scales, chosen_device, load_model
from .computing import Computing, one_call, weights_key
from .edits import Edit
from .job import Terms, logged, save_all
from .outputs import seal
from .references import Reference, errors_named, known, referred
from .request import Request, plain_number
from .sampling import generate
from .trial import POWERS, Call, kept, quickest_batch, room

UNGUIDED = f"{Unguided.__module__}.{Unguided.__qualname__}"
BATCH, FULL = 16, 4
"""The largest micro-batch that is chosen for the user, and what one is a multiple of where there are several."""
BatchSize = Annotated[int, Ge(1)] | Literal["auto"] | None


class Pipeline:
    """A trained model with its sampler and guidance, as ``mmdiff.load`` gives it.

    Where no sample was hidden from the labels in training (``adapter.conditioner.drop=0``), nothing can be contrasted
    with them: the guidance scale is then 1, and that is told, unless ``guidance`` was given and ``insist`` says that
    its scale is what was asked for. ``mark`` is what generated samples can be told again by; none changes nothing.
    """

    def __init__(
        self, model: DiffusionModel, header: dict[str, Any], *, sampler: dict | str | None = None,
        guidance: dict | str | None = None, engine: dict | str | None = None, precision: dict | str | None = None,
        mark: dict | str | None = None, insist: bool = True,
    ):
        self.header = header
        said = {"sampler": sampler, "guidance": guidance, "engine": engine, "precision": precision}
        stored = {"engine": node_of(Eager()), "precision": node_of(Float32()), **header["config"]}
        stored |= {"precision": header["precision"]} if "precision" in header else {}
        self.settings: dict[str, Any] = {name: chosen(name, node) or dict(stored[name]) for name, node in said.items()}
        self.computing = Computing(
            model, build(self.settings["engine"], Engines), build(self.settings["precision"], Precision),
            key=weights_key(header),
        )
        mark = chosen("mark", mark) or None
        self.sampler = build(self.settings["sampler"], Sampler)
        self.guidance = build(self.settings["guidance"], Guidance)
        self.mark: Mark = LedgerMark() if mark is None else build(mark, Mark)
        self.settings |= {"mark": mark if self.mark.embeds else None, "mark_key": self.mark.key}
        self.notice = ""
        if model.lacks_null(self.guidance):
            self.notice = "0 % of the training samples were told nothing (adapter.conditioner.drop=0), so guidance "
            if guidance is not None and insist:
                self.notice += f"by scale {self.guidance.scale:g} contrasts with what the model never learned"
            else:
                self.notice += "has nothing to contrast with: its scale is 1 (guidance.scale=... insists on another)"
                self.settings["guidance"], self.guidance = {"_target_": UNGUIDED}, Unguided()

    @property
    def model(self) -> DiffusionModel:
        """The model, its network computed by the engine in the precision that were asked for."""
        return self.computing.model

    def choose_engine(self, requests: Sequence[Request], batch_size: int) -> None:
        """Choose the engine where there are several, by a trial of what the first request asks for, and say what was
        found; ``settings`` then name it."""
        if not requests or self.computing.chosen:
            return
        call, shape = self._trial(requests[0])
        self.computing.choose(lambda model: call(model, batch_size), batch_size, *shape)
        self.settings["engine"] = node_of(self.computing.engine)

    def batch_size(self, requests: Sequence[Request], asked: BatchSize = None, *, parts: int = 1) -> int:
        """The micro-batch of a job: the one ``asked`` for; else the usual one, whatever the machine.
        ``auto`` is the quickest of those that fit into the memory here, for one of ``parts`` of the job."""
        own = usual_batch(len(requests))
        if asked != "auto" or not requests:
            return own if asked is None or asked == "auto" else asked
        self.choose_engine(requests, own)
        sizes = Counter(str(self.size_of(request)) for request in requests)
        n = -(-sizes.most_common(1)[0][1] // parts)
        call, shape = self._trial(requests[0])

        def quickest() -> str:
            fits = room(call, self.computing.plain, self.size_of(requests[0]))
            return str(quickest_batch(call, self.model, n, room=fits, own=usual_batch(n)))

        identity = [*self.computing.identity, self.computing.engine.runtime, shape, n]
        found, before = kept(identity, [str(size) for size in (*POWERS, usual_batch(n))], quickest)
        if before:
            print(f"batch_size=auto takes {found}, as a trial of the same calls found")
        return int(found)

    def _trial(self, first: Request) -> tuple[Call, tuple[int, ...]]:
        """A network call of what a request asks for, and the shape of its latents."""
        shape = self.model.codec.latent_shape(**self.size_of(first))

        def call(model: DiffusionModel, count: int) -> Tensor:
            return model.latents(
                [first.labels] * count, range(count), shape, sampler=one_call(), guidance=self.guidance,
                negative=[first.negative] * count,
            )

        return call, shape

    @property
    def size(self) -> dict[str, float]:
        """The size of a sample where a request names none: that of the middle one of the training set."""
        return dict(self.header["config"]["size"])

    def sample(
        self, n: int = 1, seed: int = 0, *, cond: dict[str, Label] | None = None,
        negative: dict[str, Label] | None = None, edit: Edit | None = None,
        controls: Mapping[str, str | Path | Reference] | None = None, batch_size: BatchSize = None, **size: float,
    ) -> list[Tensor]:
        """``n`` samples ``(C, *S)`` with the seeds ``seed .. seed + n - 1``; ``size`` such as ``seconds=1.5``.

        ``cond`` is what they are to be, ``negative`` what guidance leads away from. ``edit`` (an ``mmdiff.Edit``)
        starts from a file, ``controls`` are files whose maps are followed: as long as the first, where no size is asked
        for. ``batch_size`` (default: ``n``, at most 16; ``"auto"``: the quickest here) fixes the arithmetic to the last
        bit, besides the seeds.
        """
        n, seed, batch_size = map(plain_number, (n, seed, batch_size))
        check(n, Annotated[int, Ge(0)], key="n")
        check(seed, int, key="seed")
        check(batch_size, BatchSize, key="batch_size")
        request = partial(
            Request, labels=cond or {}, negative=negative or {}, size=size, edit=edit, controls=referred(controls or {})
        )
        requests = [request(seed=seed + i) for i in range(n)]
        samples = dict(self.run(requests, self.batch_size(requests, batch_size)))
        return [samples[i] for i in range(n)]

    def save(
        self, requests: Sequence[Request], out: str | Path, *, batch_size: BatchSize = None,
        suffix: str | None = None, shard: tuple[int, int] = (0, 1), replace: bool = False, record: bool = True,
        provenance: Signing | None = None, audit: str | Path | None = None, who: str | None = None,
        policy: str | Path | None = None, **options: Any,
    ) -> list[Path]:
        """Write one file and one JSON sidecar a request into the folder ``out``; what is there already is kept.

        A file that is there and is not what is asked for is a ``FileExistsError`` before any work, unless ``replace``.
        ``shard=(k, n)`` makes every n-th request from the k-th on (k counts from 0); n processes do the whole job, in
        any order. Gives the paths of the whole job once all are there, and those of the part until then. ``record``
        puts the record of how it was made into each file too, where its format has a place for one; ``provenance``
        signs each, such as ``mmdiff.provenance.c2pa.C2pa``. ``audit`` is the folder of a log that gets a row a file,
        made for ``who``; ``policy`` is a file of rules that the job keeps to.
        ``options`` go to the codec's ``save``.
        """
        requests, size = _listed(requests), plain_number(batch_size)
        for name, value, kind in (("batch_size", size, BatchSize), ("suffix", suffix, str | None),
                                  ("replace", replace, bool), ("record", record, bool),
                                  ("shard", shard, tuple[int, int])):
            check(value, kind, key=name)
        if not isinstance(provenance, Signing | None):
            raise ValueError(f"provenance is a mmdiff.provenance.c2pa.C2pa, or None, got {provenance!r}")
        if not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard is (k, n) with 0 <= k < n, the k-th part of n from 0 on, got {shard}")
        terms = Terms(record, provenance, Path(audit) if audit else None, who, Policy(policy) if policy else None)
        with logged(self, requests, terms) as chain:
            terms.allow(self, requests)
            self._check(requests)
            count = self.batch_size(requests, size, parts=shard[1])
            self.choose_engine(requests, count)
            return save_all(
                self, requests, Path(out).expanduser(), batch_size=count, suffix=suffix, shard=shard, replace=replace,
                loose=frozenset({"batch_size"} if size in (None, "auto") else ()), options=options, terms=terms,
                chain=chain,
            )

    def pictures(
        self, requests: Sequence[Request], paths: Sequence[Path], folder: Path, *, provenance: Signing | None = None
    ) -> list[Path]:
        """What shows samples evenly over a job, ``preview.png`` first; ``provenance`` signs it too."""
        shown = [(requests[i], paths[i]) for i in spread(len(requests), BATCH)]
        samples = [self.model.codec.load(path, **self.size_of(request)) for request, path in shown]
        written = self.model.codec.pictures(samples, [request.title for request, _ in shown], folder)
        if provenance is not None:
            seal(provenance, written, [path for _, path in shown], model=self.header["sha256"])
        return written

    def run(
        self, requests: Sequence[Request], batch_size: int, *, show_progress: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """(position, sample) of every request, those of one size together, as they are made."""
        for position, sample, _ in generate(self, requests, batch_size, show_progress=show_progress):
            yield position, sample

    def prepare(self, requests: Sequence[Request], batch_size: int) -> None:
        """Refuse what the model does not know, say what it cannot do, and choose the engine: before any work."""
        self._check(requests)
        if self.notice and requests:
            warnings.warn(self.notice, stacklevel=2)
        told = {name for request in requests for name in request.told}
        if idle := [name for name in self.guidance.scaled if requests and name not in told]:
            warnings.warn(f"guidance.scales has {idle[0]}, of which nothing is told: say cond.{idle[0]}=, or for a map "
                          f"control.{idle[0]}=; its scale is of no effect", stacklevel=2)
        self.choose_engine(requests, batch_size)

    def _check(self, requests: Sequence[Request]) -> None:
        """Refuse labels that the model does not know before any work, naming the request where they differ."""
        identical = len({str((request.labels, request.negative, request.controls)) for request in requests}) == 1
        for i, request in enumerate(requests):
            try:
                self.model.conditioner.check(request.labels)
                self.model.conditioner.check(request.negative)
                known(request.controls, self.model)
            except ValueError as error:
                raise ValueError(str(error) if identical else f"request {request.name or i + 1}: {error}") from None

    def size_of(self, request: Request) -> dict[str, float]:
        """The whole size of a request: a length in seconds replaces the model's own in frames."""
        edit, size = request.edit, {**self.size, **request.size}
        default = self.size if edit is None else edit.size(self.model.codec, size)
        if request.references:
            default = self._size_of_files(request)
        default = {k: v for k, v in default.items() if not (k == "frames" and "seconds" in request.size)}
        return {**default, **request.size}

    def _size_of_files(self, request: Request) -> dict[str, float]:
        """The size of the files that a request follows. Raises ``ValueError`` where it is to be theirs, and they
        differ."""
        sizes: dict[str, dict[str, float]] = {}
        for name, file in request.references.items():
            with errors_named(name, file):
                sizes[name] = file.size(self.model.codec, {**self.size, **request.size})
        (first, found), *others = sizes.items()
        for name, other in others:
            if not request.size and (differ := [key for key in found if found[key] != other.get(key)]):
                key = differ[0]
                raise ValueError(f"control.{first} is of {key} {found[key]:g}, control.{name} of {other.get(key, 0):g}:"
                                 f" say {key}=, and both take their beginning")
        return found


def usual_batch(n: int) -> int:
    """The micro-batch of ``n`` samples where none is asked for: all, or such as makes the fewest of at most 16, filled
    up by the least."""
    return n if n <= BATCH else FULL * ceil(n / (FULL * ceil(n / BATCH)))


def _listed(requests: Sequence[Request]) -> list[Request]:
    found = [] if isinstance(requests, str | Path) else list(requests)
    if isinstance(requests, str | Path) or not all(isinstance(request, Request) for request in found):
        raise ValueError(f"requests are a list of mmdiff.Request, got {requests!r:.200}")
    return found


def load(
    path: str | Path, *, lora: Scales | None = None, base: str | Path | None = None,
    encoder: str | Path | None = None, device: str | None = None, **settings: Any,
) -> Pipeline:
    """The pipeline of a run directory (also while it trains) or a single model file.

    ``lora`` adds changes of the model, each a run or file with its scale: ``{"runs/mine": 0.8}``; ``base`` is where the
    model is that a change at ``path`` was made of, and ``encoder`` the folder of its text encoder, if they have moved.
    ``device`` defaults to the GPU where there is one; ``sampler`` and ``guidance`` replace the model's own settings,
    ``engine`` and ``precision`` say how its network is computed, ``mark`` what its samples carry. Each is the name of
    an option or a mapping ``{"_target_": CLASS, ...}``.
    """
    model, header = load_model(path, lora=lora, base=base, encoder=encoder, device=chosen_device(device))
    return Pipeline(model, header, **settings)
