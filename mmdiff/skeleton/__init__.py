"""A package that adds a modality, to start from: ``package`` with its name replaced.

It works and passes the check as it is: every part can be replaced by one's own, one at a time.
"""

import re
from pathlib import Path

from ..config.build import ConfigError

TEMPLATE = Path(__file__).parent / "package"


def write(name: str, folder: str | Path = ".") -> Path:
    """Write the package ``mmdiff-NAME`` into ``folder``; gives its root.

    Raises ``ConfigError`` for a name that is none, or where something is in the way.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"a name is of small letters, digits and _, and begins with a letter; got {name!r}")
    root = Path(folder).expanduser() / f"mmdiff-{name.replace('_', '-')}"
    if root.exists():
        raise ConfigError(f"{root} exists already")
    for source in sorted(TEMPLATE.rglob("*")):
        if source.is_file() and "__pycache__" not in source.parts:
            path = root / _named(str(source.relative_to(TEMPLATE)), name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_named(source.read_text(encoding="utf-8"), name))
    return root


def _named(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("skeleton", name).replace("Skeleton", camel)
