"""``mmdiff eval RUN [evaluation=audio_v1 evaluation.n=200 sampler=... sampler.steps=... -m]``.

Judges a trained model and writes RUN/eval/report.json, .md and .html. With ``-m`` and several values
(``-m sampler.steps=5,10,20 guidance.scale=1,2``) it measures every combination and writes sweep.json, .md and .png.
``mmdiff eval --compare A.json B.json`` puts two reports side by side, if they were made by one protocol.
"""

import itertools
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ..config import CONFIG_FILE, ConfigError, build, load_yaml
from .list import options
from .overrides import composed, home
from .sample import setting

LATE = ("sampler", "guidance")


def main(arguments: list[str]) -> int:
    """Judge, sweep or compare."""
    if "--compare" in arguments:
        return _compare([Path(a) for a in arguments if a != "--compare"])
    words = [f"run={a}" if i == 0 and "=" not in a else a for i, a in enumerate(a for a in arguments if a != "-m")]
    words = [home(w) for w in words if not w.startswith("-")]
    if not any(w.startswith("run=") for w in words):
        raise ConfigError("say what to judge: mmdiff eval RUN, a run directory")
    combinations = _combinations(words) if "-m" in arguments else [words]
    config, _ = _composed(combinations[0])

    from ..evaluate import Bench
    from ..evaluation.page import heading, summary, turned, write_report, write_sweep
    from ..evaluation.protocol import Protocol
    from ..evaluation.report import markdown
    from ..generate import load
    from ..subject import MODALITIES, open_run

    stored = load(config.run, device=config.device)
    protocol = build(config.evaluation, Protocol)
    out = Path(config.out or Path(config.run) / "eval").expanduser()
    embedder = None if protocol.embedder is None else Path(protocol.embedder)
    subject = open_run(config.run, stored, root=config.root)
    kinds = {subject.kind, protocol.modality.name}
    if len(kinds) > 1 and kinds & set(MODALITIES):
        known = subject.kind if subject.kind in MODALITIES else "series"
        raise ConfigError(f"{config.run} makes {subject.kind}: judge it with evaluation={known}_v1")
    pipelines = [_pipeline(stored, *_composed(part)) for part in combinations]
    bench = Bench(subject, protocol, out, embedder=embedder)
    if "-m" not in arguments:
        report = bench.report(pipelines[0])
        write_report(report, out)
        shown = {name: row for name, row in report["rows"].items() if not name.startswith("control")}
        print(heading(report), markdown(turned(shown)), *summary(report), sep="\n\n")
        print(f"\nControls, groups and pictures: {out / 'report.html'}, report.md and report.json")
        return 0
    swept = []
    for words, pipeline in zip(combinations, pipelines, strict=True):
        swept.append((_choice(words, combinations), bench.report(pipeline, controls=False)))
    print(write_sweep(swept, out))
    return 0


def _composed(words: list[str]) -> tuple[DictConfig, DictConfig]:
    """The configuration, and the single values of sampler and guidance that are changed."""
    late = [w for w in words if w.startswith(tuple(f"{name}." for name in LATE))]
    rest = [w for w in words if w not in late]
    if not any(w.startswith("evaluation=") for w in rest):
        run = Path(next(w for w in rest if w.startswith("run=")).partition("=")[2]).expanduser()
        if not (run / CONFIG_FILE).is_file():
            raise ConfigError(f"{run} is no run directory: it has no {CONFIG_FILE}, which says what data are real")
        from ..subject import kind_of

        own = f"{kind_of(load_yaml(run / CONFIG_FILE))}_v1"
        rest.append(f"evaluation={own if own in options('evaluation') else 'series_v1'}")
    return composed("eval", rest), OmegaConf.from_dotlist(late)


def _pipeline(stored: Any, config: DictConfig, changes: DictConfig) -> Any:
    from ..generate import Pipeline

    settings = {name: setting(stored.settings[name], config, changes, name) for name in LATE}
    return Pipeline(stored.model, stored.header, **settings)


def _combinations(words: list[str]) -> list[list[str]]:
    """Every combination of the values of swept keys: of sampler and guidance, as one bench judges all."""
    parsed, choices = OverridesParser.create().parse_overrides(words), []
    for override, word in zip(parsed, words, strict=True):
        if not override.is_sweep_override():
            choices.append([word])
            continue
        if override.key_or_group.partition(".")[0] not in LATE:
            raise ConfigError(f"a sweep is over sampler and guidance, not over {override.key_or_group}")
        choices.append([f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()])
    return [list(combination) for combination in itertools.product(*choices)]


def _choice(words: list[str], combinations: list[list[str]]) -> dict[str, str]:
    """What sets one combination apart from the others."""
    changing = [i for i in range(len(words)) if len({c[i] for c in combinations}) > 1]
    return dict(words[i].partition("=")[::2] for i in changing)


def _compare(paths: list[Path]) -> int:
    if len(paths) != 2:
        raise ConfigError("mmdiff eval --compare takes two reports: A.json B.json")
    from ..evaluation.page import compared, read_report

    print(compared(*(read_report(path) for path in paths), names=[str(path) for path in paths]))
    return 0
