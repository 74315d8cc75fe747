"""``mmdiff encode out=DIR [adapter=... data=... key=value ...] [shard=2/8]``: write a cache of latents.

DIR is a folder or a URL such as s3://bucket/latents. The overrides are those of ``mmdiff train``, of which those of the
adapter and the data count. With ``shard=k/n``, or started by torchrun, this process does its part of n; the last one to
finish writes the index. ``mmdiff train data=latents data.root=DIR`` trains from it.
"""

import os
import shlex

from omegaconf import OmegaConf

from ..cache.encode import JobPart, encode
from ..config.build import ConfigError
from ..config.overrides import composed
from ..config.words import parted, written
from ..data.cached import cache_folder
from ..store import chosen_device
from .places import writable


def main(arguments: list[str]) -> int:
    """Encode what is not encoded yet; exit code 1 if this process can read none of its items."""
    words, flags = parted(arguments, "--cfg")
    config = composed("encode", words)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(config))
        return 0
    if OmegaConf.is_missing(config, "out"):
        raise ConfigError("say where the latents go: mmdiff encode out=DIR, a folder or a URL")

    part, out = job_part(config.shard), config.out
    if "://" not in out:
        writable("out", out)
    done = encode(
        config, out, dtype=config.dtype, copies=config.copies, part=part, shard_mb=config.shard_mb,
        device=chosen_device(config.device),
    )
    for name, reason in done.skipped[:10]:
        print(f"skipped {name}: {reason}")
    for name, found in done.without.items():
        print(f"{len(found)} of {done.items} items are told no map {name}; {': '.join(found[0])}")
    print(f"{out}: {done.items - len(done.skipped)} of {done.items} items are encoded, {len(done.skipped)} skipped; "
          f"{done.encoded} encoded now")
    if done.captions:
        print(f"{done.captions} captions are kept in {cache_folder() / 'texts'}: training from here reads none")
    if done.waiting:
        print(f"{done.waiting} of {part.count} processes have yet to finish before it can be used")
    else:
        print(f"train from it with the same adapter and: data=latents {shlex.quote(written('data.root', out))}")
    return 0


def job_part(shard: str | None) -> JobPart:
    """The share that ``k/n`` names; else this process's among those of torchrun."""
    if shard is None:
        return JobPart(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    index, _, count = str(shard).partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise ConfigError(f"shard is k/n, the k-th part of n, such as 2/8; got {shard!r}")
    return JobPart(int(index) - 1, int(count))
