"""A predictor and its corrector in one step give the points that they give in two."""

import torch

from mmdiff.core.samplers.correcting import merged


def test_a_merged_step_is_prediction_and_correction_in_turn():
    draw = torch.Generator().manual_seed(0)
    predict = [tuple(torch.rand(1 + n, generator=draw).tolist()) for n in (1, 2, 3, 3, 3)]
    correct = [(p[0], *torch.rand(min(k + 2, 4), generator=draw).tolist()) for k, p in enumerate(predict[:-1])]

    def value(x):                                                     # what a network says there
        return x.sin()

    start = torch.rand((), generator=draw, dtype=torch.float64)
    base, x, said, points = start, start, [], []
    for k, (a, *b) in enumerate(predict):
        said = [value(x), *said]
        if k:
            base = correct[k - 1][0] * base + sum(c * f for c, f in zip(correct[k - 1][1:], said, strict=False))
        x = a * base + sum(w * f for w, f in zip(b, said, strict=False))
        points.append(x)
    x, said = start, []
    for (a, *b), point in zip(merged(predict, correct), points, strict=True):
        said = [value(x), *said]
        assert len(b) <= len(said)
        x = a * x + sum(w * f for w, f in zip(b, said, strict=False))
        torch.testing.assert_close(x, point, rtol=1e-12, atol=1e-12)
