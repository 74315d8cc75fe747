"""``mmdiff check FILE ... [trust=ROOTS.pem audit=DIR model=RUN ledger=LOG|secret=env:NAME]``: where files come from, as
far as it can be told.

Reads the signature (C2PA) of any file, in it or in FILE.c2pa, and what mmdiff wrote beside and into it. ``trust`` has
the root certificates whose signers are believed, ``audit`` is a log to look for the file in. With ``model`` it is
searched for marks, as by ``mmdiff mark find``. Nothing is fetched. Exit codes: 0 signed by a trusted signer and
unchanged, 3 signed by a signer that is unknown, 4 unsigned, 5 changed since it was signed or made.
"""

from pathlib import Path

from ..config.build import ConfigError
from ..provenance.checks import LOG, RECORD, SIGNATURE
from .mark import MARK
from .paths import taken

CHECKS = (SIGNATURE, RECORD, LOG, MARK)
KEYS = tuple(dict.fromkeys(key for check in CHECKS for key in check.keys))


def main(arguments: list[str]) -> int:
    """Make every check; the exit code is the largest that one of them asks for."""
    paths, options = taken("check", arguments, KEYS)
    if not (files := [Path(path).expanduser() for path in paths]):
        raise ConfigError("say which file: mmdiff check FILE")
    if missing := [file for file in files if not file.is_file()]:
        raise ConfigError(f"there is no file {missing[0]}")
    codes = []
    for file in files:
        print(file)
        for check in CHECKS:
            for finding in check.look(file, {key: value for key, value in options.items() if key in check.keys}):
                print(f"  {check.name:<10} {finding.says}")
                codes.append(finding.code)
    return max(codes, default=0)
