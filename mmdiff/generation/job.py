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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..adapters.base import Codec
from ..data.writing import write_atomic
from ..provenance.signing import Signing
from .outputs import Output, clear
from .record import facts
from .request import Request

if TYPE_CHECKING:
    from .pipeline import Pipeline

MANIFEST = "manifest.jsonl"
RESERVED = ("manifest", "preview")
"""Names of what a job writes besides its samples."""


def save_all(
    pipeline: "Pipeline", requests: Sequence[Request], out: Path, *, batch_size: int, loose: frozenset[str],
    suffix: str | None, shard: tuple[int, int], replace: bool, record: bool, signing: Signing | None,
    options: dict[str, Any],
) -> list[Path]:
    """As ``Pipeline.save``, its arguments checked; ``loose`` are facts in which files that are there may differ."""
    codec = pipeline.model.codec
    ending = _ending(codec, suffix, options)
    names = _names(requests)
    if signing is not None:
        signing.check(ending)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):                             # told now rather than after the work
        pass
    listed(out)
    outputs = [
        Output(
            path := out / (name + ending),
            {**facts(pipeline, request, path, batch_size), "record": record, **options,
             **({"provenance": signing.facts} if signing else {})},
            loose | {"stack"}, request.parents, signing,
        )
        for name, request in zip(names, requests, strict=True)
    ]
    own = range(shard[0], len(requests), shard[1])
    todo = [i for i in own if not outputs[i].done()]
    if not replace and (reasons := [reason for i in todo if (reason := outputs[i].obstacle())]):
        raise FileExistsError(f"{reasons[0]}: choose another folder by out=, or replace=true")
    if len(todo) < len(own):
        print(f"{len(own) - len(todo)} of {len(own)} are there already")
    clear((outputs[i] for i in todo), out)
    for k, sample, changed in pipeline.made([requests[i] for i in todo], batch_size):
        outputs[todo[k]].write(partial(codec.save, sample, **options), changed)
    if not all(output.there() for output in outputs):
        return [outputs[i].path for i in own]
    rows = [row for row in listed(out) if row["file"] not in {output.path.name for output in outputs}]
    rows += [output.stored() or {} for output in outputs]
    write_atomic(out / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return [output.path for output in outputs]


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
        alike = dict.fromkeys(name for name in names if name.casefold() == twice[0])
        raise ValueError(f"two requests have the name {' and '.join(map(repr, alike))}"
                         + (", which is one file where systems tell no capitals" if len(alike) > 1 else ""))
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
