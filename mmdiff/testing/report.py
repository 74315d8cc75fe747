"""The laws of an adapter tried one after the other, with a line about each."""

import inspect
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from .contract import AdapterContract
from .trial import Trial


def laws() -> dict[str, Callable[[Trial], None]]:
    """Name, as read, and test of every law, in order."""
    contract = AdapterContract()
    return {
        name.removeprefix("test_").replace("_", " "): getattr(contract, name)
        for name in vars(AdapterContract) if name.startswith("test_")
    }


def check(adapter: str, overrides: Sequence[str] = (), *, say: Callable[[str], None] = print) -> list[str]:
    """Try every law and say how it went; gives the names of those that are broken. Where nothing composes or builds,
    nothing else is tried."""
    broken, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mmdiff-check-") as folder:
        trial = Trial(adapter, overrides, Path(folder))
        for name, law in laws().items():
            fault = failure(law, trial)
            notes = f"  ({', '.join(trial.notes)})" if trial.notes and not fault else ""
            say(f"  kept    {name}{notes}" if fault is None else f"  BROKEN  {name}\n          {fault}")
            trial.notes.clear()
            if fault is not None:
                broken.append(name)
                if "model" not in vars(trial):
                    say("          nothing else can be tried before that")
                    break
    tried = f"{len(laws()) - len(broken)} of {len(laws())} laws kept" if "model" in vars(trial) else "not built"
    say(f"{adapter}: {tried}, {time.perf_counter() - start:.0f} s")
    return broken


def failure(law: Callable[[Trial], None], trial: Trial) -> str | None:
    """What breaks a law, with the line of the package's own code that raised it; None if it is kept."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            law(trial)
    except Exception as error:                                        # whatever foreign code raises is its author's
        text = str(error).strip().splitlines() or [""]
        if isinstance(error, AssertionError):
            return text[0]
        frame = inspect.trace()[-1]
        return f"{type(error).__name__}: {text[0]} ({Path(frame.filename).name}, line {frame.lineno})"
    return None
