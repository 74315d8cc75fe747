"""mmdiff COMMAND [RUN] [key=value ...]

    train        train a model, or continue a run
    sample       generate from a run or a model file
    reproduce    make a generated file again
    check        say where a file comes from, and whether it was changed
    audit        say whether a log was changed, and what it has of a file
    certificate  make one to try signatures with
    eval         say what a model is worth
    embedder     train what samples are judged with
    card         write the model card of a run
    mark         look in a file for marks of a model, and measure what they survive
    lora         merge a small change into its model; take it to and from other programs
    adopt        make a model file of a public model in a folder
    export       write a network as a file that other engines compute
    encode       write a cache of latents to train from
    plan         try every part of a run, and say what it will take
    list         what can be chosen
    doctor       what this machine has
    adapter      check a modality, or begin a new one

Exit codes: 0 done, 1 failed, 2 a mistake in the command or configuration, 130 interrupted (what was made is saved).
"""

import sys
from importlib import import_module
from importlib.resources import files

from .streams import settle

COMMANDS = (
    "train", "sample", "reproduce", "check", "audit", "certificate", "eval", "embedder", "card", "mark", "lora",
    "adopt", "export", "encode", "plan", "list", "doctor", "adapter",
)
SAME_KEYS = {"plan": "train"}
"""Commands that take the configuration of another."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    from .. import __version__

    settle()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(__doc__)
        print("mmdiff COMMAND --help shows what a command takes; README.md shows the whole way.")
        sys.exit(0)
    if arguments[0] == "--version":
        print(__version__)
        sys.exit(0)
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        from ..data.labels import suggest

        print(f"mmdiff: no command {command!r}; {suggest(command, list(COMMANDS))}", file=sys.stderr)
        sys.exit(2)
    if {"-h", "--help"} & set(rest):
        sys.exit(_help(command))
    try:
        code = import_module(f".{command}", __name__).main(rest) or 0
    except KeyboardInterrupt as stop:
        if type(stop) is KeyboardInterrupt:                           # others have told more
            print("interrupted", file=sys.stderr)
        code = 130
    except Exception as error:
        from .errors import report

        if (known := report(command, error)) is None:
            raise
        code = known
    sys.exit(code)


def _help(command: str) -> int:
    """What a command does, and the keys that it takes with their comments."""
    print((import_module(f".{command}", __name__).__doc__ or "").replace("``", ""))
    name = SAME_KEYS.get(command, command)
    for keys in sorted(files("mmdiff.configs").iterdir(), key=lambda path: path.name):
        if keys.is_file() and keys.name.removesuffix(".yaml").partition("_")[0] == name:
            print(keys.read_text(encoding="utf-8"))
    return 0
