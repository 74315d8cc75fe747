"""Attention behind one function.

    attention(q, k, v) = softmax(q k^T / sqrt(D) + bias) v,      bias = 0 where mask is True, -inf where it is False

Vaswani et al. 2017, eq. 1. PyTorch's ``scaled_dot_product_attention`` (SDPA) picks its own kernel and runs everywhere;
xformers' memory-efficient attention runs on CUDA, if it is installed and works with this build of torch; it packs the
real keys of a padded batch into one sequence. This is the only file that knows of either.
"""

import importlib.util
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS = ("auto", "sdpa", "xformers")


@cache
def available_backends() -> tuple[str, ...]:
    """The backends that compute on this machine, found by trying; ``"sdpa"`` is always among them."""
    return ("sdpa", "xformers") if _xformers_works() else ("sdpa",)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """``q`` ``(B, H, N, D)``, ``k`` and ``v`` ``(B, H, M, D)`` -> ``(B, H, N, D)``, in the dtype of ``v``.

    ``mask`` ``(B, M)`` bool is True for real keys. Keys and values at padding must be finite; an item without any real
    key gives 0. ``"auto"`` is SDPA. Raises ``ValueError`` for a backend that this machine or these tensors do not suit.
    """
    check_backend(backend)
    q, k = q.to(v.dtype), k.to(v.dtype)
    if mask is None:
        return _xformers(q, k, v) if backend == "xformers" else F.scaled_dot_product_attention(q, k, v)
    nonempty = mask.any(-1, keepdim=True)                             # (B, 1)
    seen = mask | ~nonempty                                           # a softmax over nothing would be NaN
    if backend == "xformers":
        out = _xformers(q, k, v, seen)
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
    return out * nonempty[:, None, None]


def check_backend(backend: str) -> str:
    """Return ``backend``, or raise ``ValueError`` with the remedy if it is unknown or does not work here."""
    if backend not in BACKENDS:
        raise ValueError(f"unknown attention backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if backend == "xformers" and "xformers" not in available_backends():
        raise ValueError(
            "attention backend 'xformers' does not work here: it needs a CUDA device and an xformers built for "
            f"torch {torch.__version__}. Choose 'auto' or 'sdpa', or install a matching xformers."
        )
    return backend


def _xformers(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    if not q.is_cuda:
        raise ValueError(f"attention backend 'xformers' needs CUDA tensors, got {q.device}: choose 'auto' or 'sdpa'")
    from xformers.ops import memory_efficient_attention

    q, k, v = (x.transpose(1, 2) for x in (q, k, v))                  # (B, N, H, D)
    out = memory_efficient_attention(q, k, v) if seen is None else packed(memory_efficient_attention, q, k, v, seen)
    return out.transpose(1, 2)


def packed(kernel: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """All items as one sequence of real keys, each query bound to the block of its item: nothing is spent on padding.

    ``q`` ``(B, N, H, D)``, ``k`` and ``v`` ``(B, M, H, D)``, ``seen`` ``(B, M)`` with one True at least in each row.
    """
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask

    batch, n = q.shape[:2]
    bias = BlockDiagonalMask.from_seqlens([n] * batch, seen.sum(1).tolist(), device=q.device)
    out = kernel(q.flatten(0, 1)[None], k[seen][None], v[seen][None], attn_bias=bias)      # (1, B N, H, D)
    return out.unflatten(1, (batch, n))[0]


def _xformers_works() -> bool:
    if not torch.cuda.is_available() or importlib.util.find_spec("xformers") is None:
        return False
    x, seen = torch.zeros(1, 1, 9, 16, device="cuda", dtype=torch.float16), torch.ones(1, 9, device="cuda").bool()
    try:
        _xformers(x, x, x, seen)
    except (ImportError, NotImplementedError, OSError, RuntimeError, AttributeError):
        return False                                                  # installed, but built for another torch or GPU
    return True
