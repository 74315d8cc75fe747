"""``mmdiff audit verify DIR [trust=ROOTS.pem]`` says whether a log of ``audit=DIR`` is as it was written;
``mmdiff audit find DIR FILE [trust=ROOTS.pem]`` which of its rows is of a file, and by what that is known.

Exit codes of verify: 0 every chain is whole (with ``trust``: and signed by a signer who is believed), 3 one has no end
(its job was stopped or goes on) or no such signer, 5 one was changed. Of find: 0 found, 3 found by the word of somebody
unknown alone, 4 not found, 5 the file names a row that the log lacks.
"""

from pathlib import Path

from ..config.build import ConfigError
from ..data.labels import suggest
from .paths import taken

KEYS = ("trust",)


def main(arguments: list[str]) -> int:
    """Run one of the two."""
    action, *rest = arguments or [""]
    if action not in ("verify", "find"):
        raise ConfigError(f"audit has no command {action!r}; {suggest(action, ['verify', 'find'])}")
    paths, options = taken(f"audit {action}", rest, KEYS)
    if len(paths) != (1 if action == "verify" else 2):
        raise ConfigError("say what to look at: mmdiff audit verify DIR, or mmdiff audit find DIR FILE")
    trust = Path(options["trust"]).expanduser() if "trust" in options else None
    return _verify(paths[0], trust) if action == "verify" else _find(paths[0], paths[1], trust)


def _verify(folder: str, trust: Path | None) -> int:
    from ..provenance.audit import chains
    from ..provenance.verify import verified

    codes = {"whole": 0, "open": 3, "changed": 5}
    found = [verified(path, trust) for path in chains(Path(folder))]
    for one in found:
        signed = "unsigned" if one.signer is None else f"signed by {one.signer.signer}, {one.signer.state}"
        print(f"{one.path.name}: {one.state}, {len(one.rows)} rows, {signed}")
        print("".join(f"  {fault}\n" for fault in one.faults), end="")
    believed = trust is None or all(one.signer is not None and one.signer.state == "trusted" for one in found)
    return max(0 if believed else codes["open"], *(codes[one.state] for one in found))


def _find(folder: str, file: str, trust: Path | None) -> int:
    from ..provenance.verify import find

    if not (path := Path(file).expanduser()).is_file():
        raise ConfigError(f"there is no file {path}")
    rows, missing = find(Path(folder), path, trust)
    for one in rows:
        print(f"{one.chain.name}, row {one.row['n']}, {one.by}: {one.row.get('time')}, seed {one.row.get('seed')}, for "
              f"{one.row.get('who')}, id {one.row.get('id')}")
    for fault in missing or ([] if rows else [f"{folder} has no row of {path}"]):
        print(fault)
    return 5 if missing else 4 if not rows else 0 if any(one.sure for one in rows) else 3
