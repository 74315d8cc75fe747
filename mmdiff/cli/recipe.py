"""A recipe for a folder: what the reader of a modality advises for its files, as overrides with reasons.

What a user has said already stands; a run that exists, an experiment and a base have a recipe of their own.
"""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from ..config.adapter import build_codec
from ..config.build import ConfigError
from ..config.overrides import composed
from ..config.words import Word
from ..data.dataset import spread
from ..data.reader import Advice
from ..data.walk import files_below

READING = ("adapter.reader.", "adapter.codec.")
"""Keys that say how files are read."""
LOOKED = 32
"""Files that are looked at, evenly over the folder."""


def recipe(words: Sequence[str], *, small: bool = False) -> list[Advice]:
    """What the words of ``mmdiff train`` leave open and the files of ``data.root`` tell; none without such files, or
    where it does not fit to what the words ask for."""
    keys = {Word.of(word).key for word in words if "=" in word}
    if keys & {"experiment", "init"} or not keys & {"data", "data.root"}:
        return []
    config = composed("train", words)
    root = config.data.get("root")
    if root is None or (Path(config.run) / "config.yaml").exists() or not Path(root).expanduser().is_dir():
        return []
    _, reader = build_codec(config.adapter)
    paths = reader.samples(files_below(Path(root).expanduser(), reader.suffixes, [], Counter()))
    chosen = [paths[i] for i in spread(len(paths), LOOKED)]
    found = [advice for advice in reader.advice(chosen, count=len(paths), small=small) if advice.key not in keys]
    try:
        composed("train", [*words, *(advice.word for advice in found)])
    except ConfigError:
        return []                                                     # it is for another codec than the one asked for
    return found


def hint(words: Sequence[str]) -> str | None:
    """A sentence where files are read otherwise than a recipe for them would; None where they are not."""
    if not (advice := [one for one in recipe(words) if one.key.startswith(READING)]):
        return None
    said, better = (composed("train", [*words, *more]) for more in ((), (one.word for one in advice)))
    other = [one.word for one in advice if OmegaConf.select(said, one.key) != OmegaConf.select(better, one.key)]
    return f"for these files mmdiff plan proposes {', '.join(other)} and more, with reasons and the time it takes: " \
           f"{shlex.join(['mmdiff', 'plan', *words])}" if other else None


def block(words: Sequence[str], advice: Sequence[Advice]) -> list[str]:
    """A recipe as it is printed: an override a line with its reason, and the command to copy."""
    width = max(len(one.word) for one in advice)
    command = shlex.join(["mmdiff", "train", *words, *(one.word for one in advice)])
    return ["recipe", *(f"  {one.word:<{width}}  {one.reason}" for one in advice), "", command]
