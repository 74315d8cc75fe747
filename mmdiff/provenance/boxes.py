"""Texts in MP4 and MOV: moov/meta with the handler ``mdta``, keys and their values (QuickTime File Format, "Metadata").

    box      size (4)  name (4)  body          moov may stand before the media: their places then move on with it
    keys     count, then of each: size  'mdta'  key             ilst     of each: its number, then a box 'data'
"""

import struct
from collections.abc import Iterator, Mapping

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
TABLES = {b"stco": "I", b"co64": "Q"}
"""Where the chunks of a track are in the file, in 4 or in 8 bytes."""


def written(data: bytes, tags: Mapping[str, str]) -> bytes:
    """``data`` with texts. Raises ``KeyError`` where it has a ``moov/meta`` of its own, or no ``moov``."""
    found = {name: (start, stop) for name, start, stop in _boxes(data, 0, len(data))}
    if b"moov" not in found or b"moof" in found:
        raise KeyError("moov")
    start, stop = found[b"moov"]
    if any(name == b"meta" for name, *_ in _boxes(data, start + 8, stop)):
        raise KeyError("meta")
    meta, moov = _meta(tags), bytearray(data[start:stop])
    struct.pack_into(">I", moov, 0, len(moov) + len(meta))
    for name, at, _ in _tables(moov, 8, len(moov)):
        kind, count = TABLES[name], struct.unpack_from(">I", moov, at + 12)[0]
        offsets = struct.unpack_from(f">{count}{kind}", moov, at + 16)
        moved = [offset + len(meta) if offset >= stop else offset for offset in offsets]
        struct.pack_into(f">{count}{kind}", moov, at + 16, *moved)
    return data[:start] + bytes(moov) + meta + data[stop:]


def texts(data: bytes) -> dict[str, str]:
    """The texts of a file by key."""
    for _, start, stop in (box for box in _boxes(data, 0, len(data)) if box[0] == b"moov"):
        for _, at, end in (box for box in _boxes(data, start + 8, stop) if box[0] == b"meta"):
            parts = {name: data[first:last] for name, first, last in _boxes(data, at + 12, end)}
            if b"mdta" in parts.get(b"hdlr", b""):
                return dict(zip(_keys(parts[b"keys"]), _values(parts[b"ilst"]), strict=True))
    return {}


def _meta(tags: Mapping[str, str]) -> bytes:
    keys = b"".join(_box(b"mdta", key.encode("ascii")) for key in tags)
    items = b"".join(
        _box(struct.pack(">I", i), _box(b"data", struct.pack(">II", 1, 0) + text.encode("ascii")))
        for i, text in enumerate(tags.values(), 1)
    )
    handler = _box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    return _box(b"meta", bytes(4) + handler + _box(b"keys", struct.pack(">II", 0, len(tags)) + keys)
                + _box(b"ilst", items))


def _keys(body: bytes) -> list[str]:
    return [body[start + 8 : stop].decode("ascii") for _, start, stop in _boxes(body, 16, len(body))]


def _values(body: bytes) -> list[str]:
    return [body[start + 24 : stop].decode("ascii") for _, start, stop in _boxes(body, 8, len(body))]


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def _tables(data: bytes | bytearray, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    for name, at, end in _boxes(data, start, stop):
        if name in TABLES:
            yield name, at, end
        elif name in PARENTS:
            yield from _tables(data, at + 8, end)


def _boxes(data: bytes | bytearray, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, stop) of the boxes between two places."""
    while start + 8 <= stop:
        size, name = struct.unpack_from(">I4s", data, start)
        size = struct.unpack_from(">Q", data, start + 8)[0] if size == 1 else size or stop - start
        if size < 8:
            raise ValueError(f"the box {name!r} has {size} bytes")
        yield bytes(name), start, start + size
        start += size
