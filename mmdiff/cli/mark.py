"""``mmdiff mark find FILE RUN ledger=LOG|secret=env:NAME [mark=...]`` says how likely it is that FILE only looks as if
RUN had made it; ``mmdiff mark test RUN mark=ledger|signs|latent [n=100]`` measures what a mark of its samples survives.

``ledger`` is a .jsonl file with a row for each sample that was made (the manifest of a job, an audit), or a folder of
some: the mark that costs nothing is looked for among its seeds. With a secret, marks that were embedded with it are
looked for, ``mark=signs`` among the seeds of the ledger, or those from 0 on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..config.build import ConfigError, build
from ..config.overrides import composed, with_run
from ..config.words import parted, written
from ..data.labels import suggest
from .places import writable
from .sample import node, scales

SEEDS = 1000
"""Seeds from 0 on that are looked for, where neither a ledger nor ``seeds`` names any."""


def main(arguments: list[str]) -> int:
    """Run one of the two."""
    action, *rest = arguments or [""]
    if action not in {"find", "test"}:
        raise ConfigError(f"mark has no command {action!r}; {suggest(action, ['find', 'test'])}")
    words, flags = parted(rest, "--cfg")
    config = looked_for(words) if action == "find" else composed("mark_test", with_run("mark_test", words, ("mark",)))
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
    from ..generation.finding import described, find
    from ..generation.pipeline import load
    from ..marks.base import Mark
    from ..marks.latent import LatentMark
    from ..marks.ledger import LedgerMark, read_ledger
    from ..marks.signs import SignsMark

    marks: dict[str, Mark] = {}
    if (chosen := node(config, "mark")) is not None:
        if config.secret is not None:
            raise ConfigError("secret= goes with no mark=: it looks for all that take one; or say mark.secret=")
        marks[chosen["_target_"].rpartition(".")[2]] = build(chosen, Mark)
    if config.secret is not None:
        marks |= {"signs": SignsMark(config.secret), "latent": LatentMark(config.secret)}
    if not marks:
        if config.ledger is None:
            raise ConfigError("say what to look for: ledger=LOG, secret=env:NAME or mark=NAME")
        marks["ledger"] = LedgerMark()
    if config.ledger is not None and config.seeds is not None:
        raise ConfigError(f"ledger={config.ledger} names the seeds that are looked for: leave seeds= out")
    rows: list[dict[str, Any]] = [{"seed": seed} for seed in range(config.seeds or SEEDS)]
    if config.ledger is not None:
        rows = read_ledger(config.ledger)
    pipeline = load(config.run, lora=scales(config.lora), base=config.base, encoder=config.encoder,
                    device=config.device)
    for name, found in find(config.file, pipeline, marks, rows, shifts=config.shifts).items():
        print(described(name, found))
    print("The rate is of files that were not made so: the chance, at most, that one of them gives as much.")
    return 0


def _test(config: DictConfig) -> int:
    if OmegaConf.is_missing(config, "run"):
        raise ConfigError("say whose marks to test: mmdiff mark test RUN, a run directory")
    from ..evaluation.marks import MarkTest
    from ..evaluation.subject import open_run
    from ..generation.pipeline import Pipeline, load
    from ..marks.base import Mark

    writable("out", out := Path(config.out or Path(config.run) / "marks"))
    mark = node(config, "mark")
    build(mark, Mark)                                                 # a mistake is told before the model is read
    plain = load(config.run, lora=scales(config.lora), base=config.base, encoder=config.encoder, device=config.device)
    marked = Pipeline(plain.model, plain.header, mark=mark)
    subject = open_run(config.run, plain, root=config.root)
    test = MarkTest(
        subject, marked, out, n=config.n, seed=config.seed, seeds=config.seeds, rate=config.rate, shifts=config.shifts
    )
    print(test.report(quality=config.quality))
    return 0
