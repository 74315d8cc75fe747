"""``mmdiff card RUN [licence=CC-BY-4.0 use=TEXT out=FILE replace=true]``: write the model card of a run.

RUN/README.md (or ``out``) says what the model is, what it learned from, what ``mmdiff eval RUN`` found and which groups
are served worst, under the header that Hugging Face reads. ``licence`` is an SPDX name, ``use`` what it is meant for.
"""

from pathlib import Path

from ..config.build import ConfigError
from ..data.writing import write_atomic
from .paths import taken
from .places import writable

KEYS = ("licence", "use", "out", "replace")


def main(arguments: list[str]) -> int:
    """Write the card."""
    paths, options = taken("card", arguments, KEYS)
    if len(paths) != 1 or not (run := Path(paths[0]).expanduser()).is_dir():
        raise ConfigError("say of which run: mmdiff card RUN, a run directory")
    if options.get("replace", "false") not in ("true", "false"):
        raise ConfigError(f"replace is true or false, got {options['replace']!r}")
    out = Path(options.get("out", run / "README.md"))
    if out.exists() and options.get("replace") != "true":
        raise ConfigError(f"{out} is there already: choose another by out=, or replace=true")
    from ..evaluation.report.card import card

    text = card(run, licence=options.get("licence"), use=options.get("use"))
    writable("out", out.parent)
    write_atomic(out, text.encode())
    print(f"{out} is written")
    return 0
