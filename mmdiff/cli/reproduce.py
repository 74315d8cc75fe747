"""``mmdiff reproduce FILE [RUN] [out=NEW input=FILE control.MAP=FILE lora=RUN,... base=RUN encoder=DIR device=cpu]``.

Makes a generated file again from its record and the model alone, and says whether every bit is the same; where not,
what differs. The record is the JSON beside the file or, without one, in the file. RUN, a run directory or a model file,
is left out where the file is still below its run; the other keys are for what has moved.
"""

from pathlib import Path

from ..config.build import ConfigError
from ..config.words import pieces
from .paths import taken

KEYS = ("out", "input", "lora", "base", "encoder", "device")


def main(arguments: list[str]) -> int:
    """Make it again; exit code 1 if it is another file then."""
    paths, options = taken("reproduce", arguments, KEYS, open_ended="control.")
    if not 1 <= len(paths) <= 2:
        raise ConfigError("say what to make again, and where its model is: mmdiff reproduce FILE [RUN]")
    if "out" in options and Path(options["out"]).expanduser().exists():
        raise ConfigError(f"out={options['out']} is there already: choose another name")

    from ..generation.reproduce import reproduce

    files = {key.removeprefix("control."): file for key, file in options.items()
             if key.startswith(("input", "control."))}
    changes = pieces(options["lora"]) if "lora" in options else ()
    again = reproduce(
        paths[0], paths[1] if len(paths) > 1 else None, files=files, lora=changes,
        base=options.get("base"), encoder=options.get("encoder"), device=options.get("device"), out=options.get("out"),
    )
    if again.changed:
        print(f"{paths[0]} was changed after it was made: the JSON beside it is of another file")
    if again.equal:
        print(f"{paths[0]} is made again, the same in every bit (SHA-256 {again.payload})")
        return 1 if again.changed else 0
    print(f"{paths[0]} is not the same when it is made again: SHA-256 {again.recorded} then, {again.payload} now"
          + ("" if again.distance is None else f"; the samples differ by {again.distance:.3g} at most"))
    print("\n".join(again.differs) or "nothing that is recorded differs: was the file changed, or the machine another?")
    return 1
