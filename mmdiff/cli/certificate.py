"""``mmdiff certificate new out=DIR [name=NAME]``: a chain of certificates to try signatures with.

DIR gets certificate.pem and key.pem, which sign (``provenance.certificate``, ``provenance.key``), and root.pem, which
``mmdiff check FILE trust=DIR/root.pem`` believes. It says of itself that it is for development: for files that others
are to believe, bring a certificate that is vouched for.
"""

from pathlib import Path

from ..config.build import ConfigError
from .paths import taken
from .places import writable

KEYS = ("out", "name")


def main(arguments: list[str]) -> int:
    """Write a chain."""
    paths, options = taken("certificate", arguments, KEYS, needed=("out",))
    if paths != ["new"]:
        raise ConfigError("say what to do: mmdiff certificate new out=DIR")
    from ..provenance.certificates import DAYS, new

    writable("out", out := Path(options["out"]))
    certificate, key, root = new(out, options.get("name", "mmdiff user"))
    print(f"sign with: provenance=c2pa provenance.certificate={certificate} provenance.key={key}")
    print(f"check with: mmdiff check FILE trust={root}")
    print(f"for development alone, and for {DAYS} days; keep {key.name} to yourself")
    return 0
