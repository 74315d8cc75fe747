"""Generation jobs: requests in, files with sidecars out.

A file appears under its name only when complete; a job that was interrupted makes what is missing, and nothing twice.
Several processes may share one job: each makes its part, and whichever finds all parts made writes ``manifest.jsonl``,
a row an item.
"""

import inspect
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import __version__
from ..adapters.base import Codec
from ..data.writing import write_atomic
from ..provenance.audit import MANIFEST, Chain
from ..provenance.audit import chain as start
from ..provenance.policy import Policy
from ..provenance.signing import Signing
from .outputs import Output, clear
from .record import facts
from .request import Request
from .sampling import GeneratedSample, generate

if TYPE_CHECKING:
    from .pipeline import Pipeline

RESERVED = ("manifest", "preview")
"""Names of what a job writes besides its samples."""


class Terms(NamedTuple):
    """What goes with every file of a job, and what the job keeps to."""

    record: bool = True
    """Whether files hold their record."""
    signing: Signing | None = None
    audit: Path | None = None
    """The folder of the log."""
    who: str | None = None
    """Whom the samples are made for, as the log says."""
    policy: Policy | None = None

    def on(self, pipeline: "Pipeline") -> set[str]:
        """The names of what is in force, as rules name it."""
        layers = {"record": self.record, "provenance": self.signing, "audit": self.audit,
                  "mark": pipeline.settings.get("mark")}
        return {name for name, given in layers.items() if given}

    def allow(self, pipeline: "Pipeline", requests: Sequence[Request]) -> None:
        """Raise ``Refused`` for what is against the rules, and tell those that this model cannot break."""
        if self.policy is None:
            return
        self.policy.check(requests, self.on(pipeline))
        if foreign := self.policy.foreign(pipeline.model.conditioner.fields):
            print(f"{self.policy.path.name} has rules for {', '.join(foreign)}, which this model is not told")


def save_all(
    pipeline: "Pipeline", requests: Sequence[Request], out: Path, *, batch_size: int, loose: frozenset[str],
    suffix: str | None, shard: tuple[int, int], replace: bool, terms: Terms, chain: Chain | None,
    options: dict[str, Any],
) -> list[Path]:
    """As ``Pipeline.save``, its arguments checked; ``loose`` are facts in which files that are there may differ."""
    codec = pipeline.model.codec
    ending = _ending(codec, suffix, options)
    names = _names(requests)
    if terms.signing is not None:
        terms.signing.check(ending)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):                             # told now rather than after the work
        pass
    listed(out)
    more = {"record": terms.record, **options, **({"provenance": terms.signing.facts} if terms.signing else {})}
    outputs = [
        Output(path := out / (name + ending), {**facts(pipeline, request, path, batch_size), **more},
               loose | {"stack"}, request.parents, terms.signing, chain)
        for name, request in zip(names, requests, strict=True)
    ]
    mine = range(shard[0], len(requests), shard[1])
    todo = [i for i in mine if not outputs[i].done()]
    if not replace and (reasons := [reason for i in todo if (reason := outputs[i].obstacle())]):
        raise FileExistsError(f"{reasons[0]}: choose another folder by out=, or replace=true")
    if len(todo) < len(mine):
        print(f"{len(mine) - len(todo)} of {len(mine)} are there already")
    clear((outputs[i] for i in todo), out)

    def save(generated: GeneratedSample) -> None:
        outputs[todo[generated.position]].write(partial(codec.save, generated.sample, **options), generated.changes)

    with closing(generate(pipeline, [requests[i] for i in todo], batch_size, save=save)) as samples:
        for _ in samples:                                             # they are on the disk, and held by nobody
            pass
    if not all(output.there() for output in outputs):
        return [outputs[i].path for i in mine]
    rows = [row for row in listed(out) if row["file"] not in {output.path.name for output in outputs}]
    rows += [output.stored() or {} for output in outputs]
    write_atomic(out / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return [output.path for output in outputs]


def logged(
    pipeline: "Pipeline", requests: Sequence[Request], terms: Terms
) -> AbstractContextManager[Chain | None]:
    """The chain of the job in the log, if there is one."""
    if terms.audit is None:
        return nullcontext()
    return start(
        terms.audit, who=terms.who, signing=terms.signing, model=pipeline.header["sha256"], requests=len(requests),
        mmdiff=__version__, policy=terms.policy.sha256 if terms.policy else None,
    )


def _ending(codec: Codec, suffix: str | None, options: dict[str, Any]) -> str:
    """The ending of the files. Raises ``ValueError`` for what the codec does not save with."""
    known = list(inspect.signature(codec.save).parameters)[2:]
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"{unknown[0]}= does not go with this model's {codec.suffix} files")
    ending = suffix or codec.suffix
    if ending == ".json":
        raise ValueError("samples cannot be .json files: each has a .json of its name beside it, with its request")
    endings = codec.endings(**options)
    if endings and ending.lower() not in endings:
        raise ValueError(f"suffix={ending}: samples of this model are written as {' '.join(endings)}")
    return ending


def _names(requests: Sequence[Request]) -> list[str]:
    """The name of each file. Raises ``ValueError`` for one that the job needs itself, or that two would have."""
    names = [request.file_name(i) for i, request in enumerate(requests)]
    if taken := [name for name in names if name.lower() in RESERVED]:
        raise ValueError(f"no sample can have the name {taken[0]!r}: a file of the job itself has it")
    if twice := [name for name, count in Counter(name.casefold() for name in names).items() if count > 1]:
        colliding = dict.fromkeys(name for name in names if name.casefold() == twice[0])
        raise ValueError(f"two requests have the name {' and '.join(map(repr, colliding))}"
                         + (", which is one file where systems tell no capitals" if len(colliding) > 1 else ""))
    return names


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
