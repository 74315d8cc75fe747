"""Texts under a key within media files, where a format has a place for such; what is seen and heard stays as it is.

    WAV   LIST INFO ICMT, under one key alone      FLAC  Vorbis comment KEY=text      MP3       ID3v2 TXXX
    PNG   tEXt                                     GLB   asset.extras                 MP4, MOV  moov/meta (``boxes``)
    NPZ   an array of one text

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
    made = b""
    for key, text in tags.items():
        body = key.encode("ascii") + b"\0" + text.encode("ascii")
        made += struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    end = data.rindex(b"IEND") - 4
    return data[:end] + made + data[end:]


def _png_texts(data: bytes) -> dict[str, str]:
    at, found = len(PNG), {}
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"tEXt":
            key, _, text = data[at + 8 : at + 8 + size].partition(b"\0")
            found[key.decode("latin-1")] = text.decode("latin-1")
        at += 12 + size
    return found


def _flac(data: bytes, tags: Tags) -> bytes:
    made, at = [], 4
    while True:
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4])
        made.append((kind & 0x7F, data[at + 4 : at + 4 + size]))
        at += 4 + size
        if kind & 0x80:
            break
    vendor, comments = _comments(next((body for kind, body in made if kind == 4), struct.pack("<II", 0, 0)))
    comments += [f"{key}={text}".encode("ascii") for key, text in tags.items()]
    body = struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(comments))
    body += b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    made = [made[0], (4, body), *((kind, body) for kind, body in made[1:] if kind != 4)]
    heads = [bytes([kind | 0x80 * (i == len(made) - 1)]) + len(body).to_bytes(3) for i, (kind, body) in enumerate(made)]
    return b"fLaC" + b"".join(head + body for head, (_, body) in zip(heads, made, strict=True)) + data[at:]


def _flac_texts(data: bytes) -> dict[str, str]:
    at = data.index(b"fLaC") + 4                                      # a signature may stand before, in an ID3 tag
    while True:
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4])
        if kind & 0x7F == 4:
            pairs = (comment.decode().partition("=") for comment in _comments(data[at + 4 : at + 4 + size])[1])
            return {key: text for key, _, text in pairs}
        if kind & 0x80:
            return {}
        at += 4 + size


def _comments(body: bytes) -> tuple[bytes, list[bytes]]:
    """The vendor and the comments of a Vorbis comment."""
    at, texts = 0, []
    for i in range(2):
        size = struct.unpack_from("<I", body, at)[0]
        if i == 0:
            vendor, at = body[at + 4 : at + 4 + size], at + 4 + size
    at += 4
    for _ in range(size):
        length = struct.unpack_from("<I", body, at)[0]
        texts.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return vendor, texts


def _mp3(data: bytes, tags: Tags) -> bytes:
    version, frames, sound = _id3(data)
    for key, text in tags.items():
        body = b"\0" + key.encode("ascii") + b"\0" + text.encode("ascii")
        frames += b"TXXX" + (_syncsafe(len(body)) if version == 4 else struct.pack(">I", len(body))) + b"\0\0" + body
    return b"ID3" + bytes([version, 0, 0]) + _syncsafe(len(frames)) + frames + sound


def _mp3_texts(data: bytes) -> dict[str, str]:
    version, frames, _ = _id3(data)
    at, found = 0, {}
    while at + 10 <= len(frames):
        size = _number(frames[at + 4 : at + 8]) if version == 4 else struct.unpack_from(">I", frames, at + 4)[0]
        body = frames[at + 11 : at + 10 + size]
        if frames[at : at + 4] == b"TXXX":
            encoding = ("latin-1", "utf-16", "utf-16-be", "utf-8")[frames[at + 10]]
            key, _, text = body.decode(encoding).partition("\0")
            found[key] = text.rstrip("\0")
        at += 10 + size
    return found


def _id3(data: bytes) -> tuple[int, bytes, bytes]:
    """(version, frames without the padding, what follows) of a file that may begin with an ID3v2 tag."""
    if data[:3] != b"ID3":
        return 4, b"", data
    version, end, at = data[3], 10 + _number(data[6:10]), 10
    while at + 10 <= end and data[at] != 0:
        size = _number(data[at + 4 : at + 8]) if version == 4 else struct.unpack_from(">I", data, at + 4)[0]
        at += 10 + size
    return version, data[10:at], data[end:]


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _number(syncsafe: bytes) -> int:
    return sum(byte << shift for byte, shift in zip(syncsafe, (21, 14, 7, 0), strict=True))


def _glb(data: bytes, tags: Tags) -> bytes:
    told, rest = _scene(data)
    told["asset"]["extras"] = {**(told["asset"].get("extras") or {}), **tags}
    body = json.dumps(told, separators=(",", ":")).encode()
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
    Format(lambda head, ending: head[:4] == b"fLaC" or (head[:3] == b"ID3" and ending == ".flac"), _flac, _flac_texts),
    Format(lambda head, ending: ending == ".mp3", _mp3, _mp3_texts),
    Format(lambda head, _: head[4:8] == b"ftyp", boxes.written, boxes.texts),
    Format(lambda head, _: head[:4] == b"glTF", _glb, _glb_texts),
    Format(lambda head, ending: head[:2] == b"PK" and ending == ".npz", _npz, _npz_texts),
)
