"""What a run says of its captions before it begins: how many there are, how long, and what of them is not read."""

from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median

from ..adapters.texts import TextEncoder
from ..config.build import ConfigError
from ..data.dataset import Dataset
from ..data.labels import is_text
from ..learner import Learner

AT_ONCE = 1000
"""Samples whose captions are split at once."""


def caption_report(parts: Sequence[Dataset], model: Learner) -> list[str]:
    """A sentence for each text field of the samples of ``parts``.

    Raises ``ConfigError`` naming the sample of a caption that is too long.
    """
    encoder = model.encoder()
    if encoder is None:
        return []
    found = []
    for name in (name for name, field in model.fields.items() if is_text(field)):
        lengths = list(_lengths(parts, name, encoder))
        every = [length for several in lengths for length in several]
        cut, count = sum(length > encoder.length for length in every), sum(map(bool, lengths))
        found.append(
            f"{count} of {len(lengths)} have a {name}"
            + (f", median {median(every):g} tokens, longest {max(every)} of {encoder.length}" if every else "")
            + (f", {cut} cut (adapter.text.truncate)" if cut else "")
        )
    return found


def _lengths(parts: Sequence[Dataset], name: str, encoder: TextEncoder) -> Iterator[list[int]]:
    """The numbers of tokens of each sample's captions."""
    samples = ((part.name(i), part.captions(i).get(name, ())) for part in parts for i in range(len(part)))
    while rows := list(islice(samples, AT_ONCE)):
        split = iter(encoder.split([text for _, texts in rows for text in texts]))
        for sample, texts in rows:
            counts = [len(next(split)) for _ in texts]
            for text, count in zip(texts, counts, strict=True):
                if count > encoder.length:
                    try:
                        encoder.check(text)
                    except ValueError as error:
                        raise ConfigError(f"{sample}: its {name} has {error}") from None
            yield counts
