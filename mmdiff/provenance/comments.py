"""Texts in sounds that are compressed.

    FLAC   block 4, a Vorbis comment: vendor, then KEY=text ...      MP3   ID3v2.3 or 2.4: frames TXXX, KEY 0 text

Of FLAC the other blocks stay as they are, of MP3 the other frames; padding of a tag is left out.
"""

import struct
from collections.abc import Mapping


def flac(data: bytes, tags: Mapping[str, str]) -> bytes:
    """A FLAC file with texts."""
    blocks, at = [], 4
    while True:
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4])
        blocks.append((kind & 0x7F, data[at + 4 : at + 4 + size]))
        at += 4 + size
        if kind & 0x80:
            break
    vendor, comments = _vorbis(next((body for kind, body in blocks if kind == 4), struct.pack("<II", 0, 0)))
    comments += [f"{key}={text}".encode("ascii") for key, text in tags.items()]
    body = struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(comments))
    body += b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    blocks = [blocks[0], (4, body), *((kind, body) for kind, body in blocks[1:] if kind != 4)]
    last = len(blocks) - 1
    heads = [bytes([kind | 0x80 * (i == last)]) + len(body).to_bytes(3) for i, (kind, body) in enumerate(blocks)]
    return b"fLaC" + b"".join(head + body for head, (_, body) in zip(heads, blocks, strict=True)) + data[at:]


def flac_texts(data: bytes) -> dict[str, str]:
    """The texts of a FLAC file by key."""
    at = data.index(b"fLaC") + 4                                      # a signature may stand before, in an ID3 tag
    while True:
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4])
        if kind & 0x7F == 4:
            pairs = (comment.decode().partition("=") for comment in _vorbis(data[at + 4 : at + 4 + size])[1])
            return {key: text for key, _, text in pairs}
        if kind & 0x80:
            return {}
        at += 4 + size


def _vorbis(body: bytes) -> tuple[bytes, list[bytes]]:
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


def mp3(data: bytes, tags: Mapping[str, str]) -> bytes:
    """An MP3 file with texts."""
    version, frames, sound = _id3(data)
    for key, text in tags.items():
        body = b"\0" + key.encode("ascii") + b"\0" + text.encode("ascii")
        frames += b"TXXX" + (_syncsafe(len(body)) if version == 4 else struct.pack(">I", len(body))) + b"\0\0" + body
    return b"ID3" + bytes([version, 0, 0]) + _syncsafe(len(frames)) + frames + sound


def mp3_texts(data: bytes) -> dict[str, str]:
    """The texts of an MP3 file by key."""
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
