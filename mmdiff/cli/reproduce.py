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
    paths, told = taken("reproduce", arguments, KEYS, open_ended="control.")
    if not 1 <= len(paths) <= 2:
        raise ConfigError("say what to make again, and where its model is: mmdiff reproduce FILE [RUN]")
    if "out" in told and Path(told["out"]).expanduser().exists():
        raise ConfigError(f"out={told['out']} is there already: choose another name")

    from ..generation.reproduce import reproduce

    files = {key.removeprefix("control."): file for key, file in told.items() if key.startswith(("input", "control."))}
    changes = pieces(told["lora"]) if "lora" in told else ()
    made = reproduce(
        paths[0], paths[1] if len(paths) > 1 else None, files=files, lora=changes,
        base=told.get("base"), encoder=told.get("encoder"), device=told.get("device"), out=told.get("out"),
    )
    if made.changed:
        print(f"{paths[0]} was changed after it was made: the JSON beside it is of another file")
    if made.equal:
        print(f"{paths[0]} is made again, the same in every bit (SHA-256 {made.payload})")
        return 1 if made.changed else 0
    print(f"{paths[0]} is not the same when it is made again: SHA-256 {made.recorded} then, {made.payload} now"
          + ("" if made.distance is None else f"; the samples differ by {made.distance:.3g} at most"))
    print("\n".join(made.differs) or "nothing that is recorded differs: was the file changed, or the machine another?")
    return 1
