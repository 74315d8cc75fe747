"""Rows of a batch round alike wherever they stand."""

import pytest
import torch
from torch import nn

from mmdiff.nn.aligned import AlignedLinear


@pytest.mark.parametrize("out", [1, 3, 24])
@pytest.mark.parametrize("width", [1, 5, 9, 16, 17, 31, 33, 64])
def test_a_row_has_the_same_bits_at_any_place_of_a_batch(width, out):
    torch.manual_seed(0)
    layer = AlignedLinear(width, out, bias=out != 3)
    for size in range(1, 8):
        x = torch.randn(size, width)
        y = layer(x)
        for row in range(size):
            for place in range(size):
                moved = torch.randn(size, width)
                moved[place] = x[row]
                assert torch.equal(layer(moved)[place], y[row])


@pytest.mark.parametrize("out", [1, 8])
def test_it_is_the_linear_layer_of_its_weights(out):
    layer, plain, x = AlignedLinear(17, out), nn.Linear(17, out), torch.randn(5, 2, 17)
    layer.load_state_dict(plain.state_dict())
    torch.testing.assert_close(layer(x), plain(x))
    layer(x).sum().backward()
    plain(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
