"""``mmdiff adapter check NAME [key=value ...]`` tries the laws that every adapter keeps; ``mmdiff adapter new NAME
[FOLDER]`` writes a package to start from.

``check`` takes the overrides of ``mmdiff train``, such as ``data.root=FOLDER`` for samples of yours.
"""

from ..config.build import ConfigError
from ..config.words import Word
from ..data.labels import suggest


def main(arguments: list[str]) -> int:
    """Run one of the two."""
    if not arguments:
        raise ConfigError("say what to do: mmdiff adapter check NAME, or mmdiff adapter new NAME")
    action, *rest = arguments
    if action not in {"check", "new"}:
        raise ConfigError(f"adapter has no command {action!r}; {suggest(action, ['check', 'new'])}")
    if not rest or "=" in rest[0]:
        raise ConfigError(f"say which adapter: mmdiff adapter {action} NAME")
    return _check(*rest) if action == "check" else _new(*rest)


def _check(name: str, *overrides: str) -> int:
    from .list import options

    if name not in (known := options("adapter")):
        raise ConfigError(f"adapter has no option {name!r}; {suggest(name, list(known))}")

    for word in overrides:
        Word.of(word)
    from ..testing.report import check

    print(f"adapter {name}: {known[name]}")
    return 1 if check(name, overrides) else 0


def _new(name: str, folder: str = ".", *more: str) -> int:
    from ..skeleton import write
    from .list import options

    if more:
        raise ConfigError(f"adapter new takes a name and a folder, got {more[0]!r} besides")
    if name in options("adapter"):
        raise ConfigError(f"an adapter {name!r} is there already, and one would hide the other: choose another name")
    root = write(name, folder)
    where = root if root.is_absolute() else f"./{root}"
    print(f"{root} is written. Next: pip install -e {where}, then: mmdiff adapter check {name}")
    return 0
