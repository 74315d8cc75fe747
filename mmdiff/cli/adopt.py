"""``mmdiff adopt FOLDER out=FILE [adapter=NAME] [key=value ...]``: a model file of a public model, of a few kB.

FOLDER is what diffusers' ``save_pretrained`` wrote, or ``hf download`` fetched. The file names it by digests, with the
model's name and licence; ``mmdiff sample``, ``eval``, ``plan`` and ``train init=`` take it as any other. The adapter is
the one that reads the folder's pipeline. Nothing is fetched.
"""

from pathlib import Path

from omegaconf import OmegaConf

from ..config.adapter import resolve_files
from ..config.build import TARGET, ConfigError, target_class
from ..config.files import resolved
from ..config.overrides import composed
from ..config.plugins import roots
from ..config.words import Word, text
from .lora import model_file_to_write


def main(arguments: list[str]) -> int:
    """Write the file."""
    folder, options, words = taken(arguments)
    out = model_file_to_write(options["out"])
    name = options.get("adapter") or adapter_of(Path(folder))
    config = composed("train", ["run=adopted", f"adapter={name}", f"adapter.model={folder}", *words])
    config = resolve_files(resolved(config))
    from ..training.adopting import adopt  # after mistakes in the words: it takes seconds

    public = config.adapter.public
    adopt(config, out)
    print(f"{out} is {public.name} in {folder}, licence: {public.licence}; generate with: mmdiff sample {out} "
          "cond.caption='...'")
    return 0


def taken(arguments: list[str]) -> tuple[str, dict[str, str], list[str]]:
    """The folder, ``out`` and perhaps ``adapter``, and the other words of a command."""
    folders = [argument for argument in arguments if "=" not in argument]
    words = {argument: Word.of(argument) for argument in arguments if "=" in argument}
    options = {word.key: text(word.value) for word in words.values() if word.key in ("out", "adapter")}
    if len(folders) != 1 or "out" not in options:
        raise ConfigError("say which folder, and where to: mmdiff adopt FOLDER out=FILE.safetensors")
    return folders[0], options, [argument for argument, word in words.items() if word.key not in options]


def adapter_of(folder: Path) -> str:
    """The adapter whose network reads the pipeline of a folder. Raises ``ConfigError`` where there is none."""
    from ..adapters.public import pipeline_of

    try:
        pipeline = pipeline_of(folder)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    known: dict[str, str] = {}
    for root in roots().values():
        for path in (p for p in root.joinpath("adapter").iterdir() if p.name.endswith(".yaml")):
            node = OmegaConf.select(OmegaConf.create(path.read_text(encoding="utf-8")), f"adapter.network.{TARGET}")
            if node is not None:
                known |= dict.fromkeys(getattr(target_class(node), "pipelines", ()), path.name.removesuffix(".yaml"))
    if pipeline not in known:
        raise ConfigError(f"{folder} is a {pipeline}, and the adapters here read {', '.join(known)}")
    return known[pipeline]
