import torch

from mmdiff.data.batch import Batch, pad, unpad


def test_padding_and_its_inverse():
    samples = [torch.randn(2, 5, 3), torch.randn(2, 4, 7), torch.randn(2, 1, 1)]
    padded = pad(samples)
    assert padded.x.shape == (3, 2, 5, 7) and padded.mask.shape == (3, 1, 5, 7)
    assert padded.mask.sum().item() == 15 + 28 + 1
    assert (padded.x[~padded.mask.expand_as(padded.x)] == 0).all()
    assert all(torch.equal(a, b) for a, b in zip(samples, unpad(padded), strict=True))


def test_equal_sizes_need_no_mask():
    samples = [torch.randn(1, 4), torch.randn(1, 4)]
    assert pad(samples).mask is None
    assert all(torch.equal(a, b) for a, b in zip(samples, unpad(pad(samples)), strict=True))


def test_the_parts_of_a_batch_are_the_batch():
    batch = Batch(pad([torch.randn(2, n) for n in (3, 5, 4, 2)]), {"note": torch.arange(4)}, torch.arange(4) + 7, True)
    parts = batch.split(2)
    assert [len(part.draws) for part in parts] == [2, 2] and all(part.encoded for part in parts)
    for name in ("x", "mask"):
        assert torch.equal(torch.cat([getattr(p.samples, name) for p in parts]), getattr(batch.samples, name))
    assert torch.equal(torch.cat([p.labels["note"] for p in parts]), batch.labels["note"])
    assert torch.equal(torch.cat([p.draws for p in parts]), batch.draws)
