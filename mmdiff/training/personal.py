"""A model of somebody or something: a new class that is learned from few files, beside what the model knows already.

    a step of B samples  =  B (1 - share) of the subject's files  +  B share of the prior

Fine-tuning alone forgets: soon all that the model makes is the subject. Prior preservation (Ruiz et al. 2023,
DreamBooth, eq. 2) has the model learn its own samples of all old classes beside, or the data that it learned from.
"""

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from omegaconf import DictConfig

from ..adapters.base import Codec, Reader
from ..cache.features import Featured
from ..cache.generated import generated, labels_within, sample_specs
from ..config.adapter import build_dataset
from ..config.build import ConfigError, build, plain
from ..config.files import CONFIG_FILE, load_yaml
from ..data.dataset import Dataset, Subset, spread
from ..data.joined import Joined, SubjectDataset, with_subject
from ..data.labels import Fields, class_names, grown, is_scalar, is_text
from ..data.loaders import Loading
from ..store import generating
from .base import Base

Share = Annotated[float, Gt(0), Lt(1)]
Number = Annotated[int, Ge(1)]


class Prior(ABC):
    """What a run learns beside its own data, so that its base's classes stay what they are."""

    share: float
    """Of every training step."""

    @abstractmethod
    def __call__(self, subject_data: Dataset, base: Base, config: DictConfig, reader: Reader) -> Dataset:
        """Its samples (or features), labelled within the base's fields; ``subject_data`` are those of the run
        ``config``."""


class OfBase(Prior):
    """``n`` samples that the base makes of its own classes, kept as latents below its hash."""

    def __init__(self, *, share: Share = 0.5, n: Number = 200):
        self.share, self.n = share, n

    def __call__(self, subject_data: Dataset, base: Base, config: DictConfig, reader: Reader) -> Dataset:
        numbers, size = [i % len(subject_data) for i in range(self.n)], base.header["config"]["size"]
        labels = labels_within(base.fields, subject_data, self.n)
        asked = sample_specs(labels, subject_data, numbers, base.model.codec, size)
        try:
            return generated(generating(base.model, base.path), base.header, asked)
        except OSError as error:
            raise ConfigError(f"prior=base keeps samples of the base, and cannot: {error}. MMDIFF_CACHE names a folder "
                              "for them") from error


class OfData(Prior):
    """What is in the folder ``root``, read and labelled as the run's own data, without files of maps; or the training
    samples of a run. ``n`` are taken, evenly spread; all by default."""

    def __init__(self, root: Path, *, share: Share = 0.5, n: Number | None = None):
        self.root, self.share, self.n = Path(root).expanduser(), share, n

    def __call__(self, subject_data: Dataset, base: Base, config: DictConfig, reader: Reader) -> Dataset:
        if not self.root.is_dir():
            raise ConfigError(f"prior.root={self.root} is no folder of files and no run")
        if (self.root / CONFIG_FILE).is_file():
            of = load_yaml(self.root / CONFIG_FILE)
            dataset = build(of.loader, Loading).split(build(of.data, Dataset, reader=reader))[0]
            dataset = of_subject(dataset, of.get("subject"), base.fields)
        else:
            own = {key: value for key, value in plain(config.data).items() if key != "maps"}    # they are of its files
            dataset = build_dataset({**own, "root": str(self.root)}, reader, base.fields)
        try:
            fields = grown(base.fields, dataset.fields)
        except ValueError as error:
            raise ConfigError(f"prior.root={self.root}: {error}") from None
        if new := [f"{name} {value!r}" for name, field in fields.items() if not (is_scalar(field) or is_text(field))
                   for value in field if value not in base.fields.get(name, ())]:
            raise ConfigError(f"prior.root={self.root} are to be data that the base learned from, and {new[0]} is new "
                              "to it: data.pattern, data.table and data.labels say how they are labelled")
        if base.fields and not set(dataset.fields) & set(base.fields):
            warnings.warn(f"prior.root={self.root} tells nothing of {', '.join(base.fields)}, so that only what the "
                          "base makes where nothing is asked for is kept: data.pattern, data.table and data.labels say "
                          "how the files are labelled", stacklevel=2)
        return Subset(dataset, spread(len(dataset), self.n))


def of_subject(dataset: Dataset, subject: str | None, known: Fields) -> Dataset:
    """As ``told_as``. Raises ``ConfigError``."""
    try:
        return with_subject(dataset, subject, known)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def with_prior(subject_data: Dataset, plain: Dataset, base: Base | None, config: DictConfig, codec: Codec,
               reader: Reader) -> Dataset:
    """The training samples of a run with its prior, where it has one; ``plain`` are the same without the subject."""
    if config.get("prior") is None:
        return subject_data
    prior = build(config.prior, Prior)
    assert base is not None
    kept = prior(plain, base, config, reader)
    both = [part if part.encoded == (subject_data.encoded or kept.encoded) else Featured(part, codec)
            for part in (subject_data, kept)]
    return Joined(*both, share=prior.share)


def check(config: DictConfig, dataset: Dataset) -> None:
    """Refuse ``subject=`` and ``prior=`` without ``init=`` and beside ``few=``, and warn of a subject that nobody is
    known to agree to."""
    for key in ("subject", "prior"):
        if config.get(key) is not None and config.init is None:
            raise ConfigError(f"{key}= is of a model that learns something new: name that by init=")
        if config.get(key) is not None and config.get("few") is not None:
            raise ConfigError(f"few= learns jumps, and {key}= something new: one after the other")
    if config.subject is not None and dataset.consent is None:
        warnings.warn(f"subject={config.subject} without data.consent=: the model file is to say what those who are "
                      "heard or seen have agreed to, such as data.consent='Anna, 2 November 2026'", stacklevel=2)


def check_named(config: DictConfig, found: Fields, known: Fields) -> None:
    """Refuse a prior beside files of which the data have ``found`` nothing that is new, nor whom they are of: they
    would be learned as what is made where that is not told."""
    untold = [name for name, field in known.items() if name not in found and not is_scalar(field)]
    new = [name for name, field in found.items()
           if name not in known or set(class_names(field)) - set(class_names(known[name]))]
    if config.get("prior") is not None and config.subject is None and untold and not new:
        raise ConfigError("prior= keeps what the model of init= can do beside something new, and these files do not "
                          f"tell their {untold[0]}: say whom or what they are of by subject=NAME, or prior=null")


def check_subject(train: Dataset, base: Base | None, loading: Loading) -> None:
    """Warn of a subject that the base knows by its name, and refuse tags that would leave a subject out."""
    if not isinstance(train, SubjectDataset):
        return
    if train.texts and loading.tags is not None and loading.tags.drop and not loading.tags.keep:
        raise ConfigError(f"loader.tags.drop={loading.tags.drop:g} would leave subject={train.subject} out of its own "
                          "captions at times: loader.tags.keep=1 keeps the first tag")
    if not train.texts and base is not None and train.subject in base.fields[train.field]:
        warnings.warn(f"subject={train.subject}: the model of init= knows {train.field} {train.subject!r} already, "
                      "which is learned further beside its own samples of it; for somebody new take another name",
                      stacklevel=2)
