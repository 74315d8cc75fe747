"""``mmdiff sample RUN [n=16 seed=0 cond.FIELD=VALUE control.MAP=FILE requests=TABLE out=DIR sampler=... key=value]``.

RUN is a run directory or a model file. ``mode=extend input=clip.mp4 seconds=8`` starts from a file (also interpolate,
inpaint and complete). Sizes (``seconds=2``) and options of saving are those of the run's modality. Sampler and guidance
are those that the model was trained with, unless named (``sampler=ddim``) or changed (``sampler.steps=20``).
``provenance=c2pa provenance.certificate=CERT.pem provenance.key=KEY.pem`` signs each file (docs/provenance.md).
``engine=openvino precision=bf16`` say what computes the network, and in how many bits (``engine=auto`` finds out).
``shard=2/8`` makes the second eighth of the job; under torchrun each process makes its share.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ..adapters.base import Amount, Codec
from ..config import kinds
from ..config.build import ConfigError, build, plain, target_class
from ..config.keys import TABLES
from ..config.lines import DERIVED, value
from ..config.overrides import composed, with_run
from ..config.words import Word, parted, pieces, text
from ..data.labels import Fields, Label, suggest
from ..provenance.signing import Signing
from .places import writable
from .requests import EDIT, controls_of, edit_of, labels_of, requests_of

if TYPE_CHECKING:
    from ..generation.pipeline import Pipeline

MAKING = ("sampler", "guidance", "engine", "precision")
"""Groups that say how samples are made, of which single values are changed."""
LATE = ("cond", "not", "control", *MAKING)
CHOICES = (*MAKING, "mark", "provenance")


def main(arguments: list[str]) -> int:
    """Generate files with sidecars and a picture of them."""
    words, flags = parted(arguments, "--cfg")
    config, late = parsed(words)
    if "--cfg" in flags:
        print(OmegaConf.to_yaml(config))
        return 0
    if OmegaConf.is_missing(config, "run"):
        raise ConfigError("say what to sample from: mmdiff sample RUN, a run directory or a model file")

    from ..generation.pipeline import Pipeline, load
    from .encode import job_part

    if config.requests is not None and any(word.startswith("n=") for word in words):
        raise ConfigError(f"n={config.n} and requests={config.requests}: the table has a row for each sample, so leave "
                          "n out")
    signing = None if config.get("provenance") is None else build(config.provenance, Signing)
    part, run = job_part(config.shard), Path(config.run)
    out = Path(config.out) if config.out else (run if run.is_dir() else run.parent) / "samples"
    edit = {name: plain(config[name]) for name in EDIT if config[name] is not None}
    if config.requests is None:
        edit_of(edit)                                                 # a mistake is told before the model is read
    pipeline = load(run, lora=scales(config.lora), base=config.base, encoder=config.encoder,
                    device=config.device)
    writable("out", out)
    settings = {name: setting(pipeline, config, late, name) for name in MAKING}
    pipeline = Pipeline(pipeline.model, pipeline.header, **settings, mark=node(config, "mark"), insist=insisted(late))
    fields = pipeline.model.conditioner.fields
    sizes, options = size_words(pipeline.model.codec, pipeline.size)
    requests = requests_of(
        config.requests, n=config.n, seed=config.seed, edit=edit, fields=fields,
        cond=_labels("cond", late, fields), negative=_labels("not", late, fields),
        size=_sizes(late, sizes, others=options), kinds=sizes, controls=controls_of(_files(late)),
    )
    options = _sizes(late, options, others=sizes)
    options |= {name: config[name] for name in ("batch_size", "suffix", "replace", "record", "audit", "policy")}
    paths = pipeline.save(requests, out, shard=part, provenance=signing, **options)
    if len(paths) < len(requests):
        print(f"{len(paths)} file(s) of {len(requests)} in {out}; the rest is the work of other shards")
        return 0
    pictures = pipeline.pictures(requests, paths, out, provenance=signing)
    print(f"{len(paths)} file(s) in {out}, to look at in {', '.join(path.name for path in pictures)}")
    return 0


def scales(said: str | Sequence[str] | None) -> dict[str, float]:
    """Changes of a model and their scales: ``runs/mine:0.8,runs/other``, or a list of such; one without a number counts
    once."""
    found: dict[str, float] = {}
    for word in map(text, pieces(said) if said else ()) if isinstance(said, str | None) else said:
        match = re.fullmatch(r"(.+):([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|-?inf)", word, re.DOTALL)
        name, scale = match.groups() if match else (word, "1")
        if name in found:
            raise ConfigError(f"lora={said} names {name} twice: give it one scale")
        found[name] = float(scale)
    return found


def parsed(arguments: Sequence[str]) -> tuple[DictConfig, list[Word]]:
    """The configuration, and what is said of things that only the model knows: ``cond.``, ``sampler.`` and so on."""
    words = with_run("sample", arguments, LATE)
    late = [w for w in words if w.startswith(tuple(f"{name}." for name in LATE)) or _of_model(w)]
    return composed("sample", [w for w in words if w not in late]), [_late(word) for word in late]


def _of_model(argument: str) -> bool:
    """Whether a word has a key that only the model may know: a size, or an option of saving."""
    key, equals, _ = argument.partition("=")
    return bool(equals) and key.isidentifier() and key not in (*TABLES["sample"], *CHOICES)


def size_words(codec: Codec, size: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a modality's sizes and options of saving take, by name: the annotations of ``latent_shape`` and ``save``."""
    taken, saving = kinds.annotations(codec.latent_shape), list(kinds.annotations(codec.save).items())
    sizes = {name: Amount if taken.get(name, Any) is Any else taken[name] for name in dict.fromkeys([*taken, *size])}
    return sizes, dict(saving[2:])                                    # without its arguments, sample and path


def _late(argument: str) -> Word:
    """A field may have any name, so that what follows ``cond.`` is taken as it stands."""
    key, equals, said = argument.partition("=")
    if not equals:
        raise ConfigError(f"{argument!r} cannot be read as key=value")
    return Word("", key, said)


def _labels(group: str, late: Sequence[Word], fields: Fields) -> dict[str, Label]:
    """What the words of ``cond.`` or ``not.`` tell."""
    labels = _once(group, [_label(word, fields) for word in late if word.key.startswith(f"{group}.")])
    return labels_of(labels, fields, group=group)


def _once(group: str, said: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Values by name. Raises ``ConfigError`` where a name is said twice, of which one would be left out."""
    names = [name for name, _ in said]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{group}.{twice[0]}= is said {names.count(twice[0])} times: a sample is told one")
    return dict(said)


def _files(late: Sequence[Word]) -> dict[str, str]:
    """The files of the words of ``control.``. Raises ``ConfigError`` where one is not named."""
    words = [word for word in late if word.key.startswith("control.")]
    found = _once("control", [(word.key.partition(".")[2], text(word.value)) for word in words])
    if empty := [name for name, file in found.items() if not file]:
        raise ConfigError(f"control.{empty[0]}= names no file. Is a variable of the shell not set?")
    return found


def _label(word: Word, fields: Fields) -> tuple[str, str]:
    """(field, value) of ``cond.FIELD=VALUE``, or ``not.``: where a name holds ``=`` too, it is the longest that fits.
    """
    said = f"{word.key.partition('.')[2]}={word.value}"
    name = max((name for name in fields if said.startswith(f"{name}=")), key=len, default=said.partition("=")[0])
    return name, said[len(name) + 1 :]


def insisted(late: Sequence[Word]) -> bool:
    """Whether ``guidance.scale`` was asked for by name."""
    return any(word.key == "guidance.scale" for word in late)


def node(config: DictConfig, name: str) -> dict[str, Any] | None:
    """A chosen option of a group, or None."""
    return None if config.get(name) is None else plain(config[name])


def setting(pipeline: "Pipeline", config: DictConfig, late: Sequence[Word], name: str) -> dict[str, Any]:
    """The chosen option or the one of the model itself, with single values changed.

    ``ConfigError`` for a value that the option asks for and no word gives.
    """
    chosen = config.get(name) or {}
    asked = [str(key) for key in chosen if OmegaConf.is_missing(chosen, key)]
    found = plain({key: chosen[key] for key in chosen if key not in asked})
    found = found or dict(pipeline.header["config"].get(name) or pipeline.settings[name])
    words = [word for word in late if word.key.startswith(f"{name}.")]
    for word in sorted(words, key=lambda word: not word.key.endswith("._target_")):        # first what a part is
        found = _changed(found, word, word.key.split(".")[1:])
    if without := [key for key in asked if key not in found]:
        raise ConfigError(f"{name}.{without[0]} is not set: add {name}.{without[0]}=VALUE")
    return found


def _changed(node: dict[str, Any], word: Word, path: Sequence[str]) -> dict[str, Any]:
    """A node with the value of a word at ``path`` below it."""
    name, *below = path
    known = {"_target_": str, **kinds.annotations(target_class(node["_target_"]))} if "_target_" in node else {}
    known = {key: taken for key, taken in known.items() if key not in DERIVED}
    if name not in known and "_target_" in node:
        raise ConfigError(f"no key {word.key!r}; {suggest(word.key, _under(word.key, list(known), len(path)))}")
    if not below:
        return {**node, name: value(word, known.get(name, Any))}
    inner = node.get(name)
    return {**node, name: _changed(inner if isinstance(inner, dict) else {}, word, below)}


def _under(key: str, names: list[str], depth: int) -> list[str]:
    start = ".".join(key.split(".")[:-depth])
    return [f"{start}.{name}" for name in names if name != "_target_"]


def _sizes(late: Sequence[Word], known: Mapping[str, Any], *, others: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the model's own words that are in ``known``. ``ConfigError`` for those that nobody knows."""
    words = [word for word in late if "." not in word.key and word.key not in others]
    for word in words:
        if word.key not in known:
            every = [*TABLES["sample"], *CHOICES, *known, *others]
            raise ConfigError(f"no key {word.key!r} for samples of this model; {suggest(word.key, every)}")
    found = {word.key: value(word, known[word.key]) for word in words}
    return {name: said for name, said in found.items() if said is not None}
