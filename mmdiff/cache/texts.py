"""States of the captions of a data set, kept before training asks for them, so that it loads no frozen text encoder."""

import torch
from omegaconf import DictConfig

from ..adapters.pretrained import BATCH, Pretrained
from ..config.adapter import build_text
from ..data.dataset import Dataset
from ..data.progress import progress_bar


def keep_texts(adapter: DictConfig, dataset: Dataset, items: range, device: str, *, progress: bool = True) -> int:
    """Read all captions of ``items``, and the text that stands for none, with the encoder that ``adapter`` names; gives
    how many. What is kept is not read again; an encoder that learns keeps nothing."""
    encoder = build_text(adapter)
    if not isinstance(encoder, Pretrained):
        return 0
    captions = dict.fromkeys(text for i in items for several in dataset.captions(i).values() for text in several)
    texts = [*captions, *([""] if captions and encoder.empty else [])]
    starts = range(0, len(texts), BATCH)
    for start in progress_bar(starts, "reading captions", unit="batch", disable=not progress):
        encoder(texts[start : start + BATCH], torch.device(device))
    return len(texts)
