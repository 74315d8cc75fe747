"""Whether a log is as it was written, and which of its rows is of a file."""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from . import signatures
from .audit import NONE, chains, hash_of
from .record import digest, told
from .signing import BESIDE

ENDS = ("end", "failed", "refused")


class Verified(NamedTuple):
    """What is known of a chain."""

    path: Path
    rows: list[dict[str, Any]]
    state: Literal["whole", "open", "changed"]
    """``open``: what is there holds together, but nothing says that it is all."""
    faults: list[str]
    signer: signatures.Signature | None = None


class Entry(NamedTuple):
    """Where a file stands in a log."""

    chain: Path
    row: dict[str, Any]
    by: str
    """By what the row is known to be of the file."""
    sure: bool
    """Whether that is more than the word of somebody unknown."""


def verified(path: Path, trust: Path | None = None) -> Verified:
    """Read a chain and its signature, if it has one."""
    rows, faults, torn = _read(path)
    ended = bool(rows) and rows[-1].get("kind") in ENDS and not torn
    if not ended:
        faults.append("its last line is half written" if torn else "it has no end: the job was stopped, or goes on, or "
                      "rows were cut off")
    signer = signatures.signature(path, trust) if Path(f"{path}{BESIDE}").exists() else None
    broken = faults[: -1 if not ended else None]
    if signer is not None and signer.state == "changed":
        broken.append(f"it is not what was signed: {signer.reason}")
        faults.append(broken[-1])
    return Verified(path, rows, "changed" if broken else "whole" if ended else "open", faults, signer)


def find(folder: Path, path: Path, trust: Path | None = None) -> tuple[list[Entry], list[str]]:
    """The rows of a file in a log, by the hash of its payload; and what its own words of the log do not agree with.

    The payload of a file that holds its signature is told by that, or by the JSON beside it; ``trust`` has the roots
    whose signers are believed.
    """
    own, stored = digest(path), _stored(path)
    rows = [(chain, row) for chain in chains(folder) for row in _read(chain)[0]]
    known = any(row.get("payload_sha256") == own for _, row in rows)
    signed, signer, vouched = ({}, "", False) if known and find_spec("c2pa") is None else _signed(path, trust)
    words = {
        str(stored.get("payload_sha256")): ("by the JSON beside it, for which nobody vouches", False),
        str(signed.get("payload_sha256")): (f"by its signature, of {signer}", vouched), own: ("by its bytes", True),
    }
    found = [Entry(chain, row, *words[payload]) for chain, row in rows
             if row.get("kind") == "file" and (payload := str(row.get("payload_sha256"))) in words]
    return found, list(_missing(signed or stored, rows))


def _stored(path: Path) -> dict[str, Any]:
    """What the JSON beside a file says, where it was written for these bytes."""
    found = told(path) or {}
    return found if found.get("sha256") == digest(path) else {}


def _signed(path: Path, trust: Path | None) -> tuple[dict[str, Any], str, bool]:
    """What the signature of a file says of it, whose it is, and whether that signer is believed."""
    found = signatures.signature(path, trust)
    if found.state not in ("trusted", "unknown"):
        return {}, "", False
    believed = found.state == "trusted"
    return found.record or {}, found.signer if believed else f"{found.signer}, who is unknown here", believed


def _missing(facts: Mapping[str, Any], rows: list[tuple[Path, dict[str, Any]]]) -> Iterator[str]:
    logged = facts.get("audit")
    if not isinstance(logged, dict):
        return
    chain = [row for path, row in rows if path.name == logged.get("chain")]
    if not any(row.get("hash") == logged.get("hash") == hash_of(row) for row in chain):
        what = f"has no row {logged.get('row')} of that hash: it was changed, or cut off" if chain else "is not there"
        yield f"the file names the log {logged.get('chain')}, which {what}"


def _read(path: Path) -> tuple[list[dict[str, Any]], list[str], bool]:
    """The rows of a chain, what is wrong with them, and whether the last line is cut off."""
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    *lines, rest = path.read_bytes().split(b"\n")
    for i, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row["n"], int) or not isinstance(row["hash"], str):
                raise ValueError(row)
            if json.dumps(row).encode() != line:                      # a key twice, of which readers see one, or spaces
                faults.append(f"row {row['n']} was changed: its line is not as it was written")
        except (ValueError, KeyError, TypeError, RecursionError):
            faults.append(f"line {i} is no row")
            continue
        rows.append(row)
    numbers, expected, last = {row["n"] for row in rows}, 0, NONE
    for row in rows:
        n = row["n"]
        if hash_of(row) != row["hash"]:
            faults.append(f"row {n} was changed")
        if n != expected:
            gone = n > expected and not any(expected <= m < n for m in numbers)
            which = f"row {expected} was" if n == expected + 1 else f"rows {expected} to {n - 1} were"
            faults.append(f"{which} deleted" if gone else f"row {n} is out of order, or inserted")
        elif row.get("previous") != last:
            faults.append(f"row {n} does not follow the row before it: one of them was put there later")
        expected, last = n + 1, row["hash"]
    return rows, faults, bool(rest)
