"""The data that say what is real: those of a run directory, or those that are named for a model without one.

    run directory       what it learned from               what it held out
    model file          what is not held out of ``data``   what ``loader.val`` holds out of it

A model file knows no data. It is judged by any that its reader opens, of which it may have seen all or none.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..adapters.base import Reader
from ..cache.latents import Latents
from ..cache.originals import moved, uncached
from ..config.adapter import build_dataset
from ..config.build import TARGET, ConfigError, build, part, target_class
from ..config.files import CONFIG_FILE, MODEL_FILE
from ..config.record import Record, read_record
from ..data.dataset import Dataset, Subset
from ..data.joined import with_subject
from ..data.labels import Fields
from ..data.loaders import Loading
from ..learner import Learner


class DataSource(NamedTuple):
    """What a command says of the data: where a run's own are now, or which are a model file's, and how they are split.
    """

    root: str | None = None
    data: Any = None
    """The node of a data set."""
    loader: Mapping[str, Any] = {}
    """What of ``val``, ``group`` and ``by_time`` is said; the others are None."""
    base: str | None = None
    """Where the run is now that a personal run began with, if it has moved."""

    @classmethod
    def of(cls, config: Any) -> "DataSource":
        """That of the configuration of a command."""
        return cls(config.root, config.get("data"), config.loader, config.get("base"))


def data_of(run: str | Path, model: Learner, config: Any, source: DataSource) -> tuple[Dataset, Dataset]:
    """Reference and held-out samples for a ``model`` and the ``config`` in its file, as samples also where a run
    learned from a cache of latents.

    Raises ``ConfigError`` where a run's data are named again, or nobody names those of a file.
    """
    run = Path(run).expanduser()
    split = {name: value for name, value in source.loader.items() if value is not None}
    reader = build(part(part(config, "adapter"), "reader"), Reader, **model.codec.reading)
    if (record := read_record(run) if (run / CONFIG_FILE).is_file() else None) is not None:
        if source.data is not None or split:
            raise ConfigError(f"{run} is judged by its own data (root= says where they are now): leave "
                              f"data and loader out; its model is judged by others as {run / MODEL_FILE} data.root=...")
        return _of_run(record, reader, source.root, source.base)
    if source.data is None:
        raise ConfigError(f"{run} is no run directory (it has no {CONFIG_FILE}) and knows no data: say what is real by "
                          "data.root=FOLDER, or data=NAME, with the words of mmdiff train (data.captions=true, "
                          "loader.val=0.2 ...)")
    return Loading(**split).split(_named(source, reader, model.fields))


def _of_run(record: Record, reader: Reader, root: str | None, base: str | None = None) -> tuple[Dataset, Dataset]:
    """What a run learned from and what it held out. What is new since is left out, and told."""
    config = record.config
    if config.get("subject") is not None:
        if (began := base_record(record, base)) is not None:
            return _of_run(began, reader, root)
        print(f"{record.run} is judged by its own files alone, and not beside its base: {base or config.init} is no "
              "run directory; base=RUN says where that is now")
    dataset = _opened(config.data, reader, record.fields, root)
    dataset = with_subject(dataset, config.get("subject"), record.fields)
    parts = build(config.loader, Loading).split(dataset)
    train, held_out = (_kept(*pair) for pair in zip(parts, (record.training, record.held_out), strict=True))
    count = sum(map(len, parts))
    if left := count - len(train) - len(held_out):
        print(f"{left} of {count} samples are left out: they are new since {record.run} learned, or on the other side "
              "of what was held out (loader.val, loader.limit)")
    if not train:
        raise ConfigError(f"none of the samples that {record.run} learned from is there, such as "
                          f"{record.training[0]!r}")
    return train, held_out


def subject_files(record: Record, reader: Reader) -> Dataset:
    """The files of the subject of a personal run."""
    dataset = _opened(record.config.data, reader, record.fields, None)
    return with_subject(dataset, record.config.subject, record.fields)


def base_record(record: Record, base: str | None = None) -> Record | None:
    """The run that a personal run began with, at ``base`` now if it has moved, whose data say what else it is to know;
    None where it is not there, or is a model file alone."""
    run = Path(base or record.config.init).expanduser()
    run = run.parent if run.name == MODEL_FILE else run
    return read_record(run) if (run / CONFIG_FILE).is_file() else None


def _named(source: DataSource, reader: Reader, fields: Fields) -> Dataset:
    """The data that are named. What a model can be told and they do not tell is told nobody: that is said."""
    dataset = _opened(source.data, reader, fields, source.root)
    if untold := [name for name in fields if name not in dataset.fields]:
        print(f"these data do not tell {', '.join(untold)}, and samples are made without (data.captions=true reads "
              "NAME.txt beside each file; data.labels, data.texts and data.table name columns)")
    return dataset


def _opened(node: Any, reader: Reader, fields: Fields, root: str | None) -> Dataset:
    """A data set, of which ``root`` is the place now; of a cache of latents, the samples that it was made of."""
    cached = issubclass(target_class(str(part(node, TARGET)), Dataset), Latents)
    dataset = build_dataset(node if root is None or cached else moved(node, root), reader, fields)
    return uncached(dataset, reader, root=root) if isinstance(dataset, Latents) else dataset


def _kept(part: Dataset, names: Sequence[str]) -> Dataset:
    """The samples of a part that were in it when the run learned: no other is surely learned from, or surely not."""
    known = set(names)
    return Subset(part, [i for i in range(len(part)) if part.name(i) in known])
