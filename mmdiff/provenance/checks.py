"""What can be found out about a file: a list of checks, each of which says what it found and how that ends.

    0  signed by a trusted signer       3  signed by an unknown one       4  unsigned       5  changed since
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import signatures
from .record import digest, told, within
from .verify import find

CODES = {"trusted": 0, "unknown": 3, "unsigned": 4, "changed": 5}
"""Exit codes; 1 and 2 are those of every command."""


class Finding(NamedTuple):
    """What a check found."""

    says: str
    code: int = 0
    """The exit code that it asks for; the largest of all findings counts."""


class Check(NamedTuple):
    """One way of looking at a file."""

    name: str
    keys: tuple[str, ...]
    """The words of the command that it takes."""
    look: Callable[[Path, Mapping[str, str]], Iterator[Finding]]
    """Gives what it finds in a file, told by the values of those words. Raises ``ValueError`` for mistaken ones."""


def signature(path: Path, options: Mapping[str, str]) -> Iterator[Finding]:
    """Who signed the file, and whether it is still what was signed."""
    found = signatures.signature(path, _trust(options))
    code = CODES[found.state]
    if found.state == "unsigned":
        yield Finding("unsigned", code)
        return
    if found.state == "changed":
        yield Finding(f"changed since it was signed by {found.signer or 'nobody who is named'}: {found.reason}", code)
        return
    unknown = "no root of trust= vouches for the name" if "trust" in options else "trust=ROOTS.pem says who is believed"
    yield Finding(f"signed by {found.signer}, {f'unknown here: {unknown}' if code else 'trusted'}", code)
    if found.stamped:
        yield Finding(f"time stamp {found.stamped}")
    if found.source:
        yield Finding(f"source {found.source}" + (f", from {', '.join(found.parents)}" if found.parents else ""))
    if found.record is not None:
        yield Finding(f"it says: {_said(found.record)}")


def record(path: Path, options: Mapping[str, str]) -> Iterator[Finding]:
    """What mmdiff wrote beside and into the file; nobody vouches for that by itself."""
    if (found := told(path)) is not None:
        same = found.get("sha256") == digest(path)
        yield Finding(f"{path.with_suffix('.json').name} beside it is of {'these' if same else 'other'} bytes: "
                      f"{_said(found)}", 0 if same else CODES["changed"])
    elif (found := within(path)) is not None:
        yield Finding(f"it says of itself: {_said(found)}")
    else:
        yield Finding("none of mmdiff's")


def log(path: Path, options: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a log has a row of it."""
    if "audit" not in options:
        return
    rows, missing = find(Path(options["audit"]), path, _trust(options))
    for one in rows:
        yield Finding(f"{one.chain.name}, row {one.row['n']}, {one.by}: made {one.row.get('time')} for "
                      f"{one.row.get('who')}")
    for fault in missing:
        yield Finding(fault, CODES["changed"])
    if not rows and not missing:
        yield Finding("it has no row of the file")


def _trust(options: Mapping[str, str]) -> Path | None:
    return Path(options["trust"]).expanduser() if "trust" in options else None


def _said(facts: Mapping[str, Any]) -> str:
    words = {"id": "id", "model": "model", "step": "step", "seed": "seed"}
    return ", ".join(f"{word} {str(facts[name])[:36]}" for name, word in words.items() if facts.get(name) is not None)


SIGNATURE = Check("signature", ("trust",), signature)
RECORD = Check("record", (), record)
LOG = Check("log", ("audit", "trust"), log)
