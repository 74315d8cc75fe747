"""Reading the signatures of C2PA (c2pa.org, specification 2.2) of any file of anybody, with c2pa-python.

Nothing is fetched: neither manifests that a file only refers to, nor lists of revoked certificates.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .certificates import CLAIM, MAIL, chain_of
from .signing import BESIDE, library

FORMATS = {
    ".wav": "audio/wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".m4a": "audio/mp4", ".mp4": "video/mp4",
    ".mov": "video/quicktime", ".avi": "video/avi", ".gif": "image/gif", ".png": "image/png",
}
"""Formats that hold their signature."""
READ = {**FORMATS, ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".tif": "image/tiff",
        ".tiff": "image/tiff", ".avif": "image/avif", ".heic": "image/heic", ".pdf": "application/pdf"}
ANY = "application/octet-stream"
STARTS = {
    b"RIFF....WAVE": "audio/wav", b"RIFF....AVI ": "video/avi", b"RIFF....WEBP": "image/webp", b"fLaC": "audio/flac",
    b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif", b"\xff\xd8\xff": "image/jpeg", b"%PDF-": "application/pdf",
    b"II\\*\x00": "image/tiff", b"MM\x00\\*": "image/tiff", b"....ftypqt  ": "video/quicktime",
    b"....ftypM4A ": "audio/mp4", b"....ftypavif": "image/avif", b"....ftyphei": "image/heic", b"....ftyp": "video/mp4",
    b"ID3": "audio/mpeg",
}
"""What files begin with, as regular expressions, the first that fits."""
ASSERTION = "org.mmdiff.generation"
"""What mmdiff says of how the file was made."""
State = Literal["unsigned", "unknown", "trusted", "changed"]


class Signature(NamedTuple):
    """What a file's signature says."""

    state: State
    signer: str = ""
    reason: str = ""
    """Why it is no valid signature of this file."""
    record: dict[str, Any] | None = None
    """What mmdiff says in it of how the file was made."""
    source: str = ""
    """The kind of source by IPTC's name, ``trainedAlgorithmicMedia`` of what a model made."""
    parents: tuple[str, ...] = ()
    stamped: str = ""
    """When, by the server of its time stamp, and whether a root vouches for that."""


def signature(path: Path, trust: Path | None = None) -> Signature:
    """The signature in a file or beside it; ``trust`` has the roots that are believed. Raises ``ConfigError``."""
    c2pa = library("c2pa")
    beside = next((p for p in (Path(f"{path}{BESIDE}"), path.with_suffix(BESIDE)) if p.is_file() and p != path), None)
    anchors = None if trust is None else "".join(_pem(one) for one in chain_of(trust))
    form = form_of(path)
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader.try_create(form, file, context=context(anchors)) if form != ANY else None
        if reader is None and beside is not None:
            with path.open("rb") as file:
                reader = c2pa.Reader(ANY, file, beside.read_bytes(), context=context(anchors))
        if reader is None:
            return Signature("unsigned")
        return _read(json.loads(reader.json()))
    except (c2pa.C2paError, LookupError, TypeError, AttributeError, ValueError) as error:
        if beside is None and b"c2pa" not in path.read_bytes():       # it is of another format than its ending says
            return Signature("unsigned")
        return Signature("changed", reason=f"the signature cannot be read ({type(error).__name__}: {error})")


def form_of(path: Path) -> str:
    """The format of a file by its ending, or by what it begins with; ``ANY`` where that holds no signature."""
    if (form := READ.get(path.suffix.lower())) is not None:
        return form
    with path.open("rb") as file:
        head = file.read(16)
    return next((form for start, form in STARTS.items() if re.match(start, head, re.DOTALL)), ANY)


def _read(store: dict[str, Any]) -> Signature:
    manifest = store["manifests"][store["active_manifest"]]
    info = manifest.get("signature_info", {})
    signer = f"{info.get('common_name') or 'nobody'} ({info.get('issuer') or 'of no organisation'})"
    data: dict[str, Any] = {one["label"]: one.get("data") for one in manifest.get("assertions", [])}
    actions: list[dict[str, Any]] = next((data[name]["actions"] for name in data if "c2pa.actions" in name), [])
    source = next((a["digitalSourceType"] for a in actions if a.get("digitalSourceType")), "").rpartition("/")[2]
    parents = tuple(str(one.get("title")) for one in manifest.get("ingredients", []))
    results = store.get("validation_results", {}).get("activeManifest", {})
    failures, codes = results.get("failure", []), {one["code"] for group in results.values() for one in group}
    real = [one for one in failures if one["code"] != "signingCredential.untrusted"]
    known: dict[str, State] = {} if real else {"Trusted": "trusted", "Valid": "unknown"}
    state = known.get(store.get("validation_state", ""), "changed")
    reason = "it is not valid" if state == "changed" else ""
    reason = f"{real[0]['code']}: {real[0].get('explanation', '')}" if real else reason
    record = data.get(ASSERTION)
    vouched = "trusted" if "timeStamp.trusted" in codes else "of an unknown server"
    stamped = f"{info['time']}, {vouched}" if info.get("time") else ""
    return Signature(state, signer, reason, record if isinstance(record, dict) else None, source, parents, stamped)


def context(anchors: str | None = None) -> Any:
    """The settings of everything that is signed and read; ``anchors`` are the roots that are believed, in PEM."""
    c2pa = library("c2pa")
    trust = {"trust_config": f"{MAIL}\n{CLAIM}\n", **({"user_anchors": anchors} if anchors else {})}
    return c2pa.Context(settings=c2pa.Settings.from_dict({
        "builder": {"thumbnail": {"enabled": False}}, "trust": trust,
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    }))


def _pem(certificate: Any) -> str:
    encoding = library("cryptography.hazmat.primitives.serialization").Encoding.PEM
    return certificate.public_bytes(encoding).decode()
