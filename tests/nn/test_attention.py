import importlib.util

import pytest
import torch

from mmdiff.nn.attention import BACKENDS, attention, available_backends, packed

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MASK = torch.tensor([[True] * 7, [True] * 3 + [False] * 4, [False] * 7])


def draw(dtype=torch.float32, n=5, m=7, dim=16):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, 2, size, dim, generator=generator).to(DEVICE, dtype).requires_grad_() for size in (n, m, m)
    ]


def by_hand(q, k, v, mask):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is None:
        return scores.softmax(-1) @ v
    weights = scores.exp() * mask[:, None, None]
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-30) @ v


@pytest.mark.parametrize("backend", ["auto", *available_backends()])
@pytest.mark.parametrize("mask", [None, MASK], ids=["dense", "masked"])
def test_every_backend_has_the_value_and_the_gradients_of_the_formula(backend, mask):
    inputs, mask = draw(), None if mask is None else mask.to(DEVICE)
    out, expected = attention(*inputs, mask, backend=backend), by_hand(*inputs, mask)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    weight = torch.randn_like(out)
    got = torch.autograd.grad((out * weight).sum(), inputs)
    for a, b in zip(got, torch.autograd.grad((expected * weight).sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", available_backends())
def test_keys_at_padding_change_nothing(backend):
    q, k, v = draw()
    mask = MASK.to(DEVICE)
    hidden = ~mask[:, None, :, None]
    out = attention(q, k, v, mask, backend=backend)
    torch.testing.assert_close(out, attention(q, k + 9 * hidden, v - 99 * hidden, mask, backend=backend))


@pytest.mark.skipif(importlib.util.find_spec("xformers") is None, reason="xformers is not installed")
def test_packing_keeps_items_apart_and_is_the_masked_attention():
    inputs, seen = draw(), MASK.to(DEVICE) | torch.tensor([[False], [False], [True]], device=DEVICE)
    lengths = []

    def kernel(q, k, v, attn_bias):
        lengths.append(k.shape[1])
        bias = attn_bias.materialize((1, 1, q.shape[1], k.shape[1]), device=q.device)
        heads = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=bias).transpose(1, 2)

    out = packed(kernel, *(x.transpose(1, 2) for x in inputs), seen).transpose(1, 2)
    expected = by_hand(*inputs, seen)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    assert lengths == [int(seen.sum())]
    got = torch.autograd.grad(out.square().sum(), inputs)
    for a, b in zip(got, torch.autograd.grad(expected.square().sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_an_item_without_keys_gives_zero_and_finite_gradients():
    inputs = draw()
    out = attention(*inputs, MASK.to(DEVICE))
    assert (out[2] == 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), inputs))


def test_the_output_has_the_dtype_of_the_values():
    q, k, v = draw()
    assert attention(q, k, v.to(torch.bfloat16)).dtype == torch.bfloat16


def test_a_backend_that_is_not_here_is_refused_with_the_remedy():
    assert "sdpa" in available_backends()
    for backend in {*BACKENDS, "flash"} - {"auto", *available_backends()}:
        with pytest.raises(ValueError, match="sdpa"):
            attention(*draw(), backend=backend)
