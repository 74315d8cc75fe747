"""``mmdiff eval RUN [evaluation=PROTOCOL evaluation.n=200 sampler=... sampler.steps=... -m]``.

Judges a trained model and writes RUN/eval/report.json, .md and .html. ``against=FILE`` says besides whether it is
better than another model of the same codec. A personal run is judged by the data of the run that it began with, beside
that, and by its own files. With ``-m`` and several values
(``-m sampler.steps=5,10,20 guidance.scale=1,2``, ``-m precision=fp32,bf16,int8``) it measures every combination and
writes sweep.json, .md and .png.
``mmdiff eval FILE data.root=FOLDER [data.KEY=... loader.val=0.2]`` judges a model file, such as an adopted one, by data
that are named as for ``mmdiff train``, and writes FILE-eval/ beside it.
``mmdiff eval --compare A.json B.json`` puts two reports side by side, if they were made by one protocol.
"""

import itertools
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..config.build import ConfigError, build, part
from ..config.header import model_file, read_header
from ..config.keys import TABLES
from ..config.lines import several
from ..config.overrides import composed, with_run
from ..config.words import Word, parted, text
from .list import options
from .places import beside, writable
from .sample import MAKING, insisted, node, scales, setting


def main(arguments: list[str]) -> int:
    """Judge, sweep or compare."""
    if "--compare" in arguments:
        return _compare([Path(a).expanduser() for a in parted(arguments, "--compare")[0]])
    words, flags = parted(arguments, "-m", "--cfg")
    words = with_run("eval", words, (*MAKING, "evaluation", "data"))
    if not any(w.startswith("run=") for w in words):
        raise ConfigError("say what to judge: mmdiff eval RUN, or a model file with data.root=FOLDER")
    combinations = _combinations(words) if "-m" in flags else [words]
    config, _ = _composed(combinations[0])
    if "-m" in flags and config.against is not None:
        raise ConfigError("against= is of one judgement, and -m makes several: leave one of them out")
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(config))
        return 0

    if read_header(path := model_file(config.run)).get("holds") == "codec":
        return _codec(config, path, words)
    from ..evaluation.bench import Evaluator
    from ..evaluation.evaluated import open_run
    from ..evaluation.protocol import Protocol
    from ..evaluation.real import DataSource
    from ..evaluation.report.page import heading, predictions, summary, turned, write_report
    from ..evaluation.report.sweep import write_sweep
    from ..evaluation.subject import base_of, subject
    from ..generation.pipeline import load
    from ..metrics.rows import markdown

    stored = load(config.run, lora=scales(config.lora), base=config.base, device=config.device, encoder=config.encoder)
    protocol = build(config.evaluation, Protocol)
    writable("out", out := Path(config.out or beside(config.run, "eval")))
    embedder = None if protocol.embedder is None else Path(protocol.embedder)
    evaluated = open_run(config.run, stored, DataSource.of(config))
    _refuse_other(stored.model.codec, protocol, config.run)
    pipelines = [_pipeline(stored, *_composed(part)) for part in combinations]
    base = base_of(config.run, config.base) if "-m" not in flags else None
    config.against = config.against or (None if base is None else str(base))
    others = _others(config, stored, words) if config.against is not None else {}
    bench = Evaluator(evaluated, protocol, out, embedder=embedder)
    if "-m" not in flags:
        report = bench.report(pipelines[0], against=others)
        if rows := subject(config.run, bench, pipelines[0], others.get(str(base))):
            report["subject"] = rows
        write_report(report, out)
        shown = {name: row for name, row in report["rows"].items() if not name.startswith("control")}
        foretold = predictions(report) if report.get("prediction") else ()
        print(heading(report), markdown(turned(shown)), *foretold, *summary(report), sep="\n\n")
        print(f"\nControls, groups and pictures: {out / 'report.html'}, report.md and report.json")
        return 0
    swept = []
    for words, pipeline in zip(combinations, pipelines, strict=True):
        swept.append((_choice(words, combinations), bench.report(pipeline, controls=False)))
    print(write_sweep(swept, out))
    return 0


def _others(config: DictConfig, stored: Any, words: list[str]) -> dict[str, Any]:
    """The model that is compared with, by its name. Raises ``ConfigError`` where it makes other samples."""
    from ..generation.pipeline import load

    other = load(config.against, device=config.device, encoder=config.encoder)
    kinds = [(type(one.model.codec), one.model.codec.channels) for one in (stored, other)]
    if kinds[0] != kinds[1]:
        (first, channels), (its, others) = kinds
        raise ConfigError(f"against={config.against} has {others} channels of {its.__name__}, and {config.run} "
                          f"{channels} of {first.__name__}: name a model of the same codec")
    other.header["config"]["size"] = stored.size                      # both make samples of one size
    return {str(config.against): _pipeline(other, *_composed(words))}


def _codec(config: DictConfig, path: Path, words: list[str]) -> int:
    """Judge a codec: what it loses, and what its latents are like."""
    from ..codec import CodecModel
    from ..evaluation.embedders.embedder import load_embedder
    from ..evaluation.protocol import Protocol
    from ..evaluation.real import DataSource, data_of
    from ..evaluation.reconstruction import codec_report, described
    from ..store import chosen_device, load_learner

    taken = ("run", "data", "loader", "out", "root", "device", "evaluation", "evaluation.n", "evaluation.embedder")
    keys = {Word.of(word).key: word for word in words}
    if other := [key for key in keys if key not in taken and not key.startswith(("data.", "loader."))]:
        raise ConfigError(f"{keys[other[0]]}: {config.run} holds a codec, and its judgement takes {', '.join(taken)}")
    writable("out", out := Path(config.out or beside(config.run, "eval")))
    model, header = load_learner(path)
    assert isinstance(model, CodecModel)
    _, held_out = data_of(config.run, model, header["config"], DataSource.of(config))
    model = model.to(chosen_device(config.device)).eval().requires_grad_(False)
    protocol = build(config.evaluation, Protocol)
    _refuse_other(model.codec, protocol, config.run)
    judge, embedder = model.codec.judge(), None
    if protocol.embedder is not None:
        settings = judge.settings(model.codec.modality)
        embedder = load_embedder(protocol.embedder, judge=judge, settings=settings)
    print(described(codec_report(model, header, held_out, n=protocol.n, out=out, embedder=embedder)))
    print(f"Pictures: {out / 'codec.png'}; the same in codec.md and codec.json")
    return 0


def _composed(words: list[str]) -> tuple[DictConfig, list[Word]]:
    """The configuration, and the single values of sampler and guidance that are changed."""
    late = [w for w in words if w.startswith(tuple(f"{name}." for name in MAKING))]
    rest = [w for w in words if w not in late]
    if not any(w.startswith("evaluation=") for w in rest):
        default = f"{_judge(text(_value(rest, 'run') or ''), _value(rest, 'encoder'))}_v1"
        if default not in options("evaluation"):
            raise ConfigError(f"there is no protocol {default}: name one, "
                              f"evaluation={' or '.join(options('evaluation'))}")
        rest.append(f"evaluation={default}")
    return composed("eval", rest), [Word.of(word) for word in late]


def _judge(run: str, encoder: str | None) -> str:
    """The name of what judges the samples of a model; ``encoder`` is where the folder that it refers to is now."""
    from ..config.adapter import build_codec
    from ..store import placed

    adapter = part(read_header(model_file(run)).get("config"), "adapter")
    if encoder is not None:
        placed(adapter, text(encoder))
    return build_codec(adapter)[0].judge().name


def _value(words: list[str], key: str) -> str | None:
    """What the last word of a key says, as it is written."""
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith(f"{key}=")), None)


def _refuse_other(codec: Any, protocol: Any, run: str) -> None:
    """Refuse a protocol whose judge is not of the kind that the codec names, where it names one."""
    try:
        judge = codec.judge()
    except ValueError:
        return
    if not isinstance(protocol.judge, type(judge)):
        raise ConfigError(f"{run} makes {judge.name}: judge it with evaluation={judge.name}_v1")


def _pipeline(stored: Any, config: DictConfig, changes: list[Word]) -> Any:
    from ..generation.pipeline import Pipeline

    settings = {name: setting(stored, config, changes, name) for name in MAKING}
    return Pipeline(stored.model, stored.header, **settings, mark=node(config, "mark"), insist=insisted(changes))


def _combinations(words: list[str]) -> list[list[str]]:
    """Every combination of the values of swept keys: of how samples are made, as one bench judges all."""
    choices = []
    for word in map(Word.of, words):
        values = [word.value] if word.key in TABLES["eval"] else _values(word)
        if len(values) > 1 and word.key.partition(".")[0] not in MAKING:
            raise ConfigError(f"a sweep is over {', '.join(MAKING)}, not over {word.key}")
        choices.append([f"{word.sign}{word.key}={value}" for value in values])
    return [list(combination) for combination in itertools.product(*choices)]


def _values(word: Word) -> list[str]:
    """What stands between commas; what Hydra cannot read is a text, as what is at its place tells once it is known."""
    try:
        return several(word)
    except ConfigError:
        return several(word, str)


def _choice(words: list[str], combinations: list[list[str]]) -> dict[str, str]:
    """What sets one combination apart from the others."""
    changing = [i for i in range(len(words)) if len({c[i] for c in combinations}) > 1]
    return dict(words[i].partition("=")[::2] for i in changing)


def _compare(paths: list[Path]) -> int:
    if len(paths) != 2:
        raise ConfigError("mmdiff eval --compare takes two reports: A.json B.json")
    from ..evaluation.report.page import compared, read_report

    print(compared(*(read_report(path) for path in paths), names=[str(path) for path in paths]))
    return 0
