"""Folders of numbered pictures, each one clip: frames as other programs write them.

    000000.png, 000001.png ...      walk_08.jpg, walk_09.jpg, walk_10.jpg ...      0.tif, 10.tif, 20.tif ...
"""

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image

from .orientation import PICTURES, Orientation, orientation_of

NUMBERED = re.compile(r"(.*?)(\d+)")


def joined(paths: Sequence[Path]) -> list[Path]:
    """The same files, those of a folder of numbered pictures (two at least) as that folder."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    found = []
    for folder, members in folders.items():
        pictures = [path for path in members if path.suffix.lower() in PICTURES]
        if len(pictures) > 1 and all(NUMBERED.fullmatch(path.stem) for path in pictures):
            found += [folder, *(path for path in members if path not in set(pictures))]
        else:
            found += members
    return sorted(found)


def frames_of(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers. Raises ``ValueError`` for what is no one sequence."""
    named: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for path in folder.iterdir():
        match = NUMBERED.fullmatch(path.stem) if path.suffix.lower() in PICTURES else None
        if match and not path.name.startswith("."):
            named.setdefault((match[1], path.suffix.lower()), []).append((int(match[2]), path))
    if not named:
        raise ValueError(f"{folder} holds no numbered pictures ({' '.join(PICTURES)})")
    if len(named) > 1:
        kinds = " and ".join(f"{start}NUMBER{suffix}" for start, suffix in sorted(named)[:3])
        raise ValueError(f"{folder} holds pictures of several names, {kinds}: a clip is a folder of its own")
    pictures = sorted(*named.values())
    steps = [after - before for (before, _), (after, _) in pairwise(pictures)]
    if (odd := next((i for i, step in enumerate(steps) if step != min(steps)), None)) is not None:
        before, after = pictures[odd][1].name, pictures[odd + 1][1].name
        raise ValueError(f"{folder} has a gap: between {before} and {after} pictures are missing")
    return [path for _, path in pictures]


def look(frames: Sequence[Path]) -> tuple[int, int, Orientation, str]:
    """Width and height as stored, how all are turned, a hash of all their bytes. ``ValueError`` where sizes differ."""
    digest, sizes = hashlib.sha256(), dict[tuple[int, int], str]()
    for path in frames:
        content = path.read_bytes()
        digest.update(hashlib.sha256(content).digest())
        try:
            with Image.open(path) as picture:
                sizes.setdefault(picture.size, path.name)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{path} cannot be read as a picture: {error}") from None
    if len(sizes) > 1:
        listed = " and ".join(f"{name} {width} x {height}" for (width, height), name in list(sizes.items())[:2])
        raise ValueError(f"{frames[0].parent} holds pictures of several sizes, such as {listed}")
    (width, height), *_ = sizes
    return width, height, orientation_of(frames[0]), digest.hexdigest()
