"""The files that a generation job leaves: each whole under its name, with a JSON beside it that says what it is.

    NAME.json       its record: what was asked for and how it was made, with the hash of the file; written first
    NAME.wav        the sample, written under a hidden name, signed if that is asked for, then moved into place
    NAME.ply.c2pa   its signature, where the format holds none

So a sample without its JSON was not made here, and a JSON without its sample is of a job that was stopped.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ..data.writing import write_atomic
from ..provenance import tags
from ..provenance.audit import Chain
from ..provenance.record import beside, digest, texts
from ..provenance.signing import BESIDE, Signing

LOGGED = ("file", "payload_sha256", "id", "model", "seed", "size")
"""What a row of a log says of a file."""


class Output(NamedTuple):
    """One file of a job; ``loose`` are facts that may differ where it is there already."""

    path: Path
    facts: dict[str, Any]
    loose: frozenset[str] = frozenset()
    parents: Mapping[str, Path] = MappingProxyType({})
    """What it is made from, by ``input`` or the name of a control."""
    signing: Signing | None = None
    chain: Chain | None = None
    """The log that gets a row of it."""

    @property
    def sidecar(self) -> Path:
        """The JSON beside the file."""
        return self.path.with_suffix(".json")

    @property
    def signature(self) -> Path:
        """Its signature, where that is not in the file."""
        return Path(f"{self.path}{BESIDE}")

    def stored(self) -> dict[str, Any] | None:
        """What the JSON says; None where there is none, or one that is not of a sample of this name."""
        return beside(self.path)

    def there(self) -> bool:
        """Whether the file is there as it is asked for, its bytes not looked at."""
        return self.path.exists() and (stored := self.stored()) is not None and not self._changed(stored)

    def done(self) -> bool:
        """Whether the file is there as it is asked for, with the bytes that its JSON was written for."""
        stored = self.stored() or {}
        return self.there() and stored.get("sha256") == digest(self.path) and self._signed()

    def obstacle(self) -> str | None:
        """Why the file must not be written: it would replace one that is not of this job."""
        if (stored := self.stored()) is None:
            if self.sidecar.exists():
                return f"{self.sidecar} is there already, and is not of a sample of that name"
            return f"{self.path} is there already, and has no {self.sidecar.name}" if self.path.exists() else None
        there = self.path.with_name(stored["file"])
        if not there.exists():
            return None
        changed = ["suffix" if name == "file" else name for name in self._changed(stored) if name != "id"]
        if not changed:
            return f"{there} is there already, and was changed since it was made, or has lost its signature"
        return f"{there} is there already, made with another {' and '.join(changed)}"

    def write(self, save: Callable[[Path], Any], found: Mapping[str, Any]) -> None:
        """``save(path)`` writes the sample; it gets its name once it is whole. What was there before is gone then. The
        JSON has ``found`` besides, which is known of the sample once it is made."""
        unfinished = self.path.with_name(f".{self.path.stem}.{os.getpid()}.partial{self.path.suffix}")
        try:
            save(unfinished)
            record, signature = {**self.facts, **found}, None
            tags.write(unfinished, texts(record))
            record |= {"payload_sha256": digest(unfinished)}
            if self.chain is not None:
                record |= {"audit": self.chain.row("file", **{name: record[name] for name in LOGGED})}
            if self.signing is not None:
                signature = self.signing.sign(unfinished, self.path.name, record, self.parents)
            record |= {"sha256": digest(unfinished)}
            if stored := self.stored():
                self.path.with_name(stored["file"]).unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            self.signature.unlink(missing_ok=True)
            if signature is not None:
                write_atomic(self.signature, signature)
            write_atomic(self.sidecar, json.dumps(record, indent=1).encode())
            os.replace(unfinished, self.path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _signed(self) -> bool:
        return self.signing is None or self.signing.within(self.path) or self.signature.exists()

    def _changed(self, stored: dict[str, Any]) -> list[str]:
        facts = json.loads(json.dumps(self.facts))
        return [name for name in facts if name not in self.loose and stored.get(name) != facts[name]]


def clear(outputs: Iterable[Output], folder: Path) -> None:
    """Remove what processes of this machine that are no more left half written of these files."""
    stems = {output.path.stem for output in outputs}
    for path in folder.glob(".*.partial.*"):
        stem, _, process = path.name[1:].rpartition(".partial.")[0].rpartition(".")
        if stem in stems and process.isdecimal() and not _alive(int(process)):
            path.unlink(missing_ok=True)


def seal(signing: Signing, pictures: Sequence[Path], shown: Sequence[Path], *, model: str) -> None:
    """Sign the pictures of a job, each with the ids of the samples that it shows."""
    record = {"model": model, "shows": [(beside(path) or {}).get("id") for path in shown]}
    for path in pictures:
        if (signature := signing.sign(path, path.name, record, {})) is not None:
            write_atomic(Path(f"{path}{BESIDE}"), signature)


def described(changes: Sequence[dict[str, float]]) -> str:
    """What the codec had to change of the samples of a job, in a line; empty where that is nothing."""
    names = dict.fromkeys(name for changed in changes for name in changed)
    most = ", ".join(f"{name} up to {max(changed.get(name, 0) for changed in changes):.3g}" for name in names)
    count = f"{sum(map(bool, changes))} of {len(changes)}"
    return f"{count} samples were changed to fit their files: {most}" if most else ""


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
