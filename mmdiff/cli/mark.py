"""``mmdiff mark find FILE RUN ledger=LOG|secret=env:NAME [mark=...]`` says how likely it is that FILE only looks as if
RUN had made it; ``mmdiff mark test RUN mark=ledger|signs|latent [n=100]`` measures what a mark of its samples survives.

``ledger`` is a .jsonl file with a row for each sample that was made (the manifest of a job, an audit), or a folder of
some: the mark that costs nothing is looked for among its seeds. With a secret, marks that were embedded with it are
looked for, ``mark=signs`` among the seeds of the ledger, or those from 0 on.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ..config.build import ConfigError, build
from ..config.overrides import composed, with_run
from ..config.words import parted, written
from ..data.labels import suggest
from ..provenance.checks import Check, Finding
from .places import beside, writable
from .sample import node, scales

if TYPE_CHECKING:
    from ..marks.base import Mark

SEEDS = 1000
"""Seeds from 0 on that are looked for, where neither a ledger nor ``seeds`` names any."""
SHIFTS = 4
"""Positions of the latent by which a file may be shifted beyond its ends, where ``shifts`` names no others."""


def main(arguments: list[str]) -> int:
    """Run one of the two."""
    action, *rest = arguments or [""]
    if action not in {"find", "test"}:
        raise ConfigError(f"mark has no command {action!r}; {suggest(action, ['find', 'test'])}")
    words, flags = parted(rest, "--cfg")
    tested = with_run("mark_test", words, ("mark", "data"))
    config = looked_for(words) if action == "find" else composed("mark_test", tested)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(config))
        return 0
    return _find(config) if action == "find" else _test(config)


def looked_for(words: Sequence[str]) -> DictConfig:
    """The configuration of a search: first the file, then the run."""
    if len(words) < 2:
        raise ConfigError("say in what to look, and for what: mmdiff mark find FILE RUN ledger=LOG|secret=env:NAME")
    rest = with_run("mark_find", words[1:], ("mark",))
    file = words[0] if words[0].startswith("file=") else written("file", words[0])
    return composed("mark_find", [file, *rest])


def _find(config: DictConfig) -> int:
    if config.ledger is not None and config.seeds is not None:
        raise ConfigError(f"ledger={config.ledger} names the seeds that are looked for: leave seeds= out")
    marks = _sought(config.secret, config.ledger, node(config, "mark"))
    lines = _found(
        Path(config.file), config.run, marks, config.ledger, seeds=config.seeds or SEEDS, shifts=config.shifts,
        lora=scales(config.lora), base=config.base, encoder=config.encoder, device=config.device,
    )
    print(*lines, sep="\n")
    print("The rate is of files that were not made so: the chance, at most, that one of them gives as much.")
    return 0


def look(path: Path, options: Mapping[str, str]) -> Iterator[Finding]:
    """What ``mmdiff check`` finds of marks, where ``model`` names whose."""
    if options:
        if "model" not in options:
            raise ConfigError(f"{next(iter(options))}= looks for marks of a model: name its run or file, model=RUN")
        marks = _sought(options.get("secret"), options.get("ledger"), None)
        yield from map(Finding, _found(path, options["model"], marks, options.get("ledger")))


MARK = Check("mark", ("model", "ledger", "secret"), look)


def _sought(secret: str | None, ledger: str | None, chosen: dict[str, Any] | None) -> "list[Mark]":
    """The marks that are looked for."""
    from ..marks.base import Mark
    from ..marks.latent import LatentMark
    from ..marks.ledger import LedgerMark
    from ..marks.signs import SignsMark

    if chosen is not None:
        if secret is not None:
            raise ConfigError("secret= goes with no mark=: it looks for all that take one; or say mark.secret=")
        return [build(chosen, Mark)]
    if secret is not None:
        return [SignsMark(secret), LatentMark(secret)]
    if ledger is None:
        raise ConfigError("say what to look for: ledger=LOG, secret=env:NAME or mark=NAME")
    return [LedgerMark()]


def _found(
    file: Path, run: str, marks: "list[Mark]", ledger: str | None, *, seeds: int = SEEDS, shifts: int = SHIFTS,
    **options: Any,
) -> Iterator[str]:
    """A line for each mark."""
    from ..generation.finding import described, find
    from ..generation.pipeline import load
    from ..marks.ledger import read_ledger

    rows = [{"seed": seed} for seed in range(seeds)] if ledger is None else read_ledger(ledger)
    for name, found in find(file, load(run, **options), marks, rows, shifts=shifts).items():
        yield described(name, found)


def _test(config: DictConfig) -> int:
    if OmegaConf.is_missing(config, "run"):
        raise ConfigError("say whose marks to test: mmdiff mark test RUN, or a model file with data.root=FOLDER")
    from ..evaluation.evaluated import open_run
    from ..evaluation.marks import MarkTest
    from ..evaluation.real import DataSource
    from ..generation.pipeline import Pipeline, load
    from ..marks.base import Mark

    writable("out", out := Path(config.out or beside(config.run, "marks")))
    mark = node(config, "mark")
    build(mark, Mark)                                                 # a mistake is told before the model is read
    plain = load(config.run, lora=scales(config.lora), base=config.base, encoder=config.encoder, device=config.device)
    marked = Pipeline(plain.model, plain.header, mark=mark)
    evaluated = open_run(config.run, plain, DataSource.of(config))
    test = MarkTest(
        evaluated, marked, out, n=config.n, seed=config.seed, seeds=config.seeds, rate=config.rate, shifts=config.shifts
    )
    print(test.report(quality=config.quality))
    return 0
