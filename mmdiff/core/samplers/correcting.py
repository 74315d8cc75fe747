"""A predictor with a corrector, as the recurrence of the predicted points that it is.

    x_k     = a z_{k-1} + sum_j p_j f_{k-1-j}              predicted, where the network is called
    z_k     = a z_{k-1} + sum_j c_j f_{k-j}                corrected, once f_k is known; it costs no call
    x_{k+1} = a' z_k + sum_j b_j f_{k-j}                   predicted from there
            = a' x_k + sum_j (b_j + a' (c_j - p_{j-1})) f_{k-j}

So nothing but the newest point and the values need be kept, and a step has as many operations as values.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

Factors = tuple[float, ...]


def merged(predict: Sequence[Factors], correct: Sequence[Factors]) -> Iterator[Factors]:
    """Factors of x_k and of f, newest first, for each step: those of ``predict``, which from the second on begin at a
    point that ``correct`` has corrected. Both have the factor of the base first, alike over the same step."""
    yield predict[0]
    for (_, *before), (_, *corrected), (base, *after) in zip(predict, correct, predict[1:], strict=False):
        terms = zip_longest(after, corrected, (0.0, *before), fillvalue=0.0)
        yield base, *(b + base * (c - p) for b, c, p in terms)
