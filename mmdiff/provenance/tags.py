"""Texts under a key within media files, where a format has a place for such; what is seen and heard stays as it is.

    WAV   LIST INFO ICMT, under one key alone      FLAC, MP3   see ``comments``
    PNG   tEXt                                     MP4, MOV    see ``boxes``
    GLB   asset.extras                             NPZ         an array of one text

Texts are ASCII. The same texts in the same file give the same bytes. A file says by its first bytes what it is.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import boxes
from .comments import flac, flac_texts, mp3, mp3_texts

RECORD = "mmdiff"
"""The key of the record, the one that formats with a single comment hold."""
LABEL = "AIGC"
"""The key of the label that GB 45438-2025 asks for."""
SEVERAL = (".flac", ".mp3", ".m4a", ".mp4", ".mov", ".png", ".glb", ".npz")
"""Endings of formats that hold texts under any key."""
PNG = b"\x89PNG\r\n\x1a\n"
Tags = Mapping[str, str]


class Format(NamedTuple):
    """How the texts of one format are written and read. ``written`` raises ``KeyError`` for a key without a place."""

    is_of: Callable[[bytes, str], bool]
    """Of the first 16 bytes and the ending."""
    written: Callable[[bytes, Tags], bytes]
    read: Callable[[bytes], dict[str, str]]


def write(path: Path, tags: Tags) -> list[str]:
    """Put texts into a file; gives the keys for which it has no place. The file is written only if it has any."""
    if (form := format_of(path)) is None:
        return list(tags)
    data, kept = path.read_bytes(), {}
    for key in tags:
        with suppress(KeyError):
            form.written(data, {key: tags[key]})
            kept[key] = tags[key]
    if kept:
        path.write_bytes(form.written(data, kept))
    return [key for key in tags if key not in kept]


def read(path: Path) -> dict[str, str]:
    """The texts of a file by key; none where its format has no place for them, or it is damaged."""
    if (form := format_of(path)) is None:
        return {}
    try:
        return form.read(path.read_bytes())
    except (ValueError, KeyError, IndexError, TypeError, struct.error, zipfile.BadZipFile, zlib.error, OSError):
        return {}


def format_of(path: Path) -> Format | None:
    """The format of a file; None where it has no place for texts."""
    with path.open("rb") as file:
        head = file.read(16)
    return next((form for form in FORMATS if form.is_of(head, path.suffix.lower())), None)


def _wav(data: bytes, tags: Tags) -> bytes:
    if set(tags) != {RECORD}:
        raise KeyError("a WAV has one comment")
    text = tags[RECORD].encode("ascii") + b"\0"
    inner = b"INFOICMT" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    data += b"\0" * (len(data) % 2)
    body = data[8:] + b"LIST" + struct.pack("<I", len(inner)) + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _wav_texts(data: bytes) -> dict[str, str]:
    for name, body in _chunks(data[12:], "<"):
        if name == b"LIST" and body[:4] == b"INFO":
            for inner, text in _chunks(body[4:], "<"):
                if inner == b"ICMT":
                    return {RECORD: text.rstrip(b"\0").decode("ascii")}
    return {}


def _chunks(data: bytes, order: str) -> Iterator[tuple[bytes, bytes]]:
    """(name, body) of the chunks of a RIFF file, each of an even number of bytes."""
    at = 0
    while at + 8 <= len(data):
        size = struct.unpack_from(f"{order}I", data, at + 4)[0]
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _png(data: bytes, tags: Tags) -> bytes:
    chunks = b""
    for key, text in tags.items():
        body = key.encode("ascii") + b"\0" + text.encode("ascii")
        chunks += struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    end = data.rindex(b"IEND") - 4
    return data[:end] + chunks + data[end:]


def _png_texts(data: bytes) -> dict[str, str]:
    at, found = len(PNG), {}
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"tEXt":
            key, _, text = data[at + 8 : at + 8 + size].partition(b"\0")
            found[key.decode("latin-1")] = text.decode("latin-1")
        at += 12 + size
    return found


def _glb(data: bytes, tags: Tags) -> bytes:
    scene, rest = _scene(data)
    scene["asset"]["extras"] = {**(scene["asset"].get("extras") or {}), **tags}
    body = json.dumps(scene, separators=(",", ":")).encode()
    body += b" " * (-len(body) % 4)
    head = data[:8] + struct.pack("<I", 20 + len(body) + len(rest))
    return head + struct.pack("<I4s", len(body), b"JSON") + body + rest


def _glb_texts(data: bytes) -> dict[str, str]:
    extras = _scene(data)[0]["asset"].get("extras") or {}
    return {key: text for key, text in extras.items() if isinstance(text, str)}


def _scene(data: bytes) -> tuple[dict, bytes]:
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[20 + size :]


def _npz(data: bytes, tags: Tags) -> bytes:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        for key, text in tags.items():
            with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w") as entry:   # of 1980, as NumPy's own
                np.lib.format.write_array(entry, np.array(text.encode("ascii")))
    return file.getvalue()


def _npz_texts(data: bytes) -> dict[str, str]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {key: arrays[key].item().decode("ascii") for key in (RECORD, LABEL) if key in arrays.files}


FORMATS = (
    Format(lambda head, _: head[:4] == b"RIFF" and head[8:12] == b"WAVE", _wav, _wav_texts),
    Format(lambda head, _: head[:8] == PNG, _png, _png_texts),
    Format(lambda head, end: head[:4] == b"fLaC" or (head[:3] == b"ID3" and end == ".flac"), flac, flac_texts),
    Format(lambda head, end: end == ".mp3", mp3, mp3_texts),
    Format(lambda head, _: head[4:8] == b"ftyp", boxes.written, boxes.texts),
    Format(lambda head, _: head[:4] == b"glTF", _glb, _glb_texts),
    Format(lambda head, end: head[:2] == b"PK" and end == ".npz", _npz, _npz_texts),
)
