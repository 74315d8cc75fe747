"""``mmdiff doctor``: versions, devices, attention backends and codecs, and what is wrong with them."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from ..config.build import ConfigError

PACKAGES = ("torch", "torchaudio", "lightning", "hydra-core", "av", "soundfile", "einops", "xformers", "trimesh")
ENCODERS = ("libx264", "libvpx-vp9", "aac", "libopus", "libmp3lame", "flac")


def main(arguments: list[str]) -> int:
    """Print the report; exit code 1 if something that training needs does not work."""
    if arguments:
        raise ConfigError(f"doctor takes nothing, got {arguments[0]!r}")
    from .. import __version__

    print(f"mmdiff {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        try:
            print(f"  {package:<12} {version(package)}")
        except PackageNotFoundError:
            print(f"  {package:<12} not installed")
    checks = [_devices, _attention, _torchaudio, _encoders]
    return 0 if sum(check() for check in checks) == len(checks) else 1


def _devices() -> bool:
    import torch

    print(f"cores          {os.cpu_count()}, {torch.get_num_threads()} threads for torch")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"devices        {', '.join(names) or 'no GPU: training runs on the CPU'}")
    return True


def _attention() -> bool:
    from ..nn.attention import available_backends

    print(f"attention      {', '.join(available_backends())}")
    return True


def _torchaudio() -> bool:
    try:
        import torchaudio.transforms  # noqa: F401
    except (ImportError, OSError) as error:                           # built for another torch, say
        print(f"torchaudio     does not work: {error}")
        return False
    print("torchaudio     works")
    return True


def _encoders() -> bool:
    import av

    missing = [name for name in ENCODERS if name not in av.codecs_available]
    print(f"encoders       {', '.join(n for n in ENCODERS if n not in missing)}"
          + (f"; missing: {', '.join(missing)}" if missing else ""))
    return True
