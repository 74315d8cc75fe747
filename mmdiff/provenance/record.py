"""The record of a file: what was asked for, and how it was made.

    NAME.json       the record, ``file``, ``payload_sha256`` (before it was signed) and ``sha256`` (as it lies there)
    in the file     the record alone, where its format has a place for one (``tags``)

The payload holds the record that stands in it and not its name, so the same making gives the same bytes anywhere.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from ..config.build import ConfigError
from ..config.kinds import KindError, check
from ..data.labels import Label
from . import signatures, tags

OUTER = ("file", "payload_sha256", "sha256", "provenance", "audit")
"""What the JSON beside a file says and the record in it does not: its name, hashes of the file itself, who signed it
and the log that has it."""
PRIVATE = ("labels", "negative")
"""What files say by its hash alone under ``provenance.facts=hash``."""
ASKED = ("model", "lora", "labels", "negative", "seed", "size", "edit", "controls", "sampler", "guidance", "mark")
NAMESPACE = uuid.UUID("6b0a5b3e-1c1b-5a52-9d6c-3d0c7c2f9b11")
KINDS: dict[str, Any] = {
    "model": str, "seed": int, "labels": dict[str, Label], "size": dict[str, float],
    "batch_size": Annotated[int, Ge(1), Le(4096)], "sampler": dict[str, Any], "guidance": dict[str, Any],
}
"""What every record has, by which a model and its request are found again."""
MAY: dict[str, Any] = {
    "id": str, "record": bool, "stack": dict[str, Any], "provenance": dict[str, Any], "controls": dict[str, Any],
    "edit": dict[str, Any], "lora": list[dict[str, Any]], "payload_sha256": str, "sha256": str,
}
"""What a record may have."""


class NoRecord(ValueError):
    """A file of which nothing says how it was made."""


def identity(record: Mapping[str, Any]) -> str:
    """The id of what was asked of a model: a UUID (version 5) of its hash, the seed and the request."""
    asked = {name: record[name] for name in ASKED if name in record}
    return str(uuid.uuid5(NAMESPACE, json.dumps(asked, sort_keys=True)))


def public_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its record."""
    found = {name: value for name, value in record.items() if name not in OUTER}
    if (record.get("provenance") or {}).get("facts") == "hash":
        private = {name: found.pop(name) for name in PRIVATE if name in found}
        found["labels_sha256"] = hashlib.sha256(json.dumps(private, sort_keys=True).encode()).hexdigest()
    return found


def text(record: Mapping[str, Any]) -> str:
    """A record as it stands in a file, in ASCII."""
    return json.dumps(public_facts(record), separators=(",", ":"))


def texts(record: Mapping[str, Any]) -> dict[str, str]:
    """What is written into the file itself, by key: its record, and the label of GB 45438-2025 if that is asked for."""
    found = {tags.RECORD: text(record)} if record.get("record") else {}
    if producer := (record.get("provenance") or {}).get("aigc"):
        label = {"Label": "1", "ContentProducer": producer, "ProduceID": record.get("id"), "ReservedCode1": "",
                 "ContentPropagator": "", "PropagateID": "", "ReservedCode2": ""}
        found[tags.LABEL] = json.dumps(label)
    return found


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beside(path: Path) -> dict[str, Any] | None:
    """What the JSON beside a file says; None where there is none that is of a file of this name."""
    found = _json(path)
    name = found.get("file")
    return found if isinstance(name, str) and Path(name).name == name and Path(name).stem == path.stem else None


def told(path: Path) -> dict[str, Any] | None:
    """What the JSON beside a file says of it, by its name, or by its bytes where both were renamed."""
    found = _json(path)
    of_it = found.get("file") == path.name or ("file" in found and found.get("sha256") == digest(path))
    return found if of_it else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def within(path: Path) -> dict[str, Any] | None:
    """The record in a file; None where it holds none."""
    try:
        found = json.loads(tags.read(path).get(tags.RECORD, "null"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def signed(path: Path) -> dict[str, Any] | None:
    """The record in the signature of a file; None where it holds none, or was changed."""
    try:
        found = signatures.signature(path)
    except ConfigError:                                               # without the extra nothing can be read
        return None
    return found.record if found.state in ("trusted", "unknown") else None


def read(path: Path) -> dict[str, Any]:
    """The record of a file, from the JSON beside it or, without one, from the file or its signature. It may come from
    anybody: its values are of the kinds that they should be. Raises ``NoRecord``."""
    if not path.is_file():
        raise NoRecord(f"there is no file {path}")
    if (found := told(path) or within(path) or signed(path)) is None:
        raise NoRecord(f"{path} has no record: neither {path.with_suffix('.json').name} beside it nor one in it says "
                       "how it was made")
    if "labels_sha256" in found and "labels" not in found:
        raise NoRecord(f"{path} tells its labels by their hash alone: the JSON that was beside it has them")
    for name, kind in (KINDS | {name: kind for name, kind in MAY.items() if name in found}).items():
        try:
            check(found.get(name), kind, key=name)
        except KindError as error:
            raise NoRecord(f"the record of {path} is not whole: {error}") from None
    return found
