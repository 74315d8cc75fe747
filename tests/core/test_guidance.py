import pytest
import torch
from torch import nn

from mmdiff.core.denoiser import Denoiser
from mmdiff.core.editing import Inpaint, Windowed
from mmdiff.core.guidance import APG, Autoguidance, CFGZeroStar, ClassifierFree, Guidance, Unguided
from mmdiff.core.parameterizations import Data, Velocity
from mmdiff.core.samplers import DDIM
from mmdiff.core.schedules import Cosine, Linear, Shifted, VarianceExploding, VariancePreserving
from mmdiff.core.types import Condition


class Shift(nn.Module):
    """x0 = x + condition; records how it is called."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain, self.batches = gain, []

    def forward(self, x, level, cond, mask):
        self.batches.append(len(x))
        return self.gain * x + cond.vector[:, :, None]


B, C, T = 3, 2, 8
COND = Condition(vector=torch.randn(B, C))
NULL = Condition(vector=torch.zeros(B, C))
X = torch.randn(B, C, T)
HALF = torch.full((B,), 0.5)


def make():
    return Denoiser(Shift(), Linear(), Data())


def run(guidance, t=HALF, mask=None):
    denoiser = make()
    result = guidance(denoiser, COND, null=NULL, mask=mask)(X, t)
    return result, denoiser.network.batches


CONDITIONAL, UNCONDITIONAL = make()(X, HALF, COND), make()(X, HALF, NULL)
CONTRASTS = [ClassifierFree, APG, CFGZeroStar]


@pytest.mark.parametrize("kind", CONTRASTS)
def test_scale_one_is_the_conditional(kind):
    result, batches = run(kind(1.0))
    assert torch.equal(result, CONDITIONAL) and batches == [B]


@pytest.mark.parametrize("kind", [ClassifierFree])
def test_scale_zero_is_the_unconditional(kind):
    result, batches = run(kind(0.0))
    assert torch.equal(result, UNCONDITIONAL) and batches == [B]


@pytest.mark.parametrize("kind", CONTRASTS)
def test_outside_the_interval_is_the_conditional_at_one_call(kind):
    result, batches = run(kind(3.0, interval=(0.6, 0.9)))
    assert torch.equal(result, CONDITIONAL) and batches == [B]


@pytest.mark.parametrize("kind", CONTRASTS)
def test_both_branches_run_in_one_batch(kind):
    assert run(kind(3.0))[1] == [2 * B]


def test_conditions_of_unequal_numbers_of_tokens_are_joined_and_what_is_added_is_masked():
    long, short = torch.randn(2, 5, C), torch.randn(1, 2, C)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    both = Condition.cat([Condition(tokens=long, tokens_mask=mask), Condition(tokens=short)])
    assert torch.equal(both.tokens_mask, torch.cat([mask, torch.tensor([[True, True, False, False, False]])]))
    assert torch.equal(both.tokens[both.tokens_mask], torch.cat([long[mask], short[0]]))
    assert Condition.cat([Condition(tokens=long), Condition(tokens=long)]).tokens_mask is None


def test_guidance_contrasts_a_long_caption_with_a_null_of_one_token():
    class Sum(nn.Module):
        def forward(self, x, level, cond, mask):
            real = cond.tokens_mask[..., None] if cond.tokens_mask is not None else torch.ones(())
            return x + (cond.tokens * real).sum(1)[:, :, None]

    denoiser, cond, null = Denoiser(Sum(), Linear(), Data()), torch.randn(B, 5, C), torch.zeros(B, 1, C)
    x0 = ClassifierFree(3.0)(denoiser, Condition(tokens=cond), null=Condition(tokens=null))(X, HALF)
    untold = denoiser(X, HALF, Condition(tokens=null))
    torch.testing.assert_close(x0 - untold, 3 * cond.sum(1)[:, :, None].expand(X.shape))


def test_classifier_free_guidance_is_its_formula():
    torch.testing.assert_close(run(ClassifierFree(3.0))[0], UNCONDITIONAL + 3 * (CONDITIONAL - UNCONDITIONAL))


def test_an_interval_is_applied_to_each_sample():
    t = torch.tensor([0.2, 0.7, 0.95])
    result, _ = run(ClassifierFree(3.0, interval=(0.6, 0.9)), t)
    guided, _ = run(ClassifierFree(3.0), t)
    plain, _ = run(Unguided(), t)
    torch.testing.assert_close(result, torch.stack([plain[0], guided[1], plain[2]]))


def test_full_rescaling_keeps_the_deviation_of_the_conditional_also_under_a_mask():
    mask = torch.arange(T)[None, None] < torch.tensor([3, 5, 8])[:, None, None]
    result, _ = run(ClassifierFree(5.0, rescale=1.0), mask=mask)
    for i, length in enumerate([3, 5, 8]):
        torch.testing.assert_close(
            result[i, :, :length].std(correction=0), CONDITIONAL[i, :, :length].std(correction=0)
        )


def test_apg_without_its_changes_is_classifier_free_guidance():
    plain = APG(3.0, eta=1.0, momentum=0.0)
    torch.testing.assert_close(run(plain)[0], run(ClassifierFree(3.0))[0])


def test_apg_moves_at_right_angles_to_the_prediction_and_no_further_than_its_bound():
    step = run(APG(3.0, eta=0.0, momentum=0.0, norm=0.5))[0] - CONDITIONAL
    torch.testing.assert_close((step * CONDITIONAL).flatten(1).sum(1), torch.zeros(B), atol=1e-4, rtol=0)
    assert (step.flatten(1).norm(dim=1) <= 2 * 0.5 + 1e-5).all()


def test_apg_momentum_belongs_to_one_trajectory():
    guidance, denoiser = APG(3.0, momentum=-0.5), make()
    first = guidance(denoiser, COND, null=NULL)
    one, two = first(X, HALF), first(X, HALF)
    assert not torch.equal(one, two)
    assert torch.equal(one, guidance(denoiser, COND, null=NULL)(X, HALF))


def test_cfg_zero_star_is_its_formula():
    v_c, v_u = ((X - x0) / 0.5 for x0 in (CONDITIONAL, UNCONDITIONAL))
    scale = (v_c * v_u).sum((1, 2), keepdim=True) / (v_u * v_u).sum((1, 2), keepdim=True)
    expected = X - 0.5 * (scale * v_u + 3 * (v_c - scale * v_u))
    torch.testing.assert_close(run(CFGZeroStar(3.0))[0], expected)


def test_cfg_zero_star_stands_still_at_first():
    result, _ = run(CFGZeroStar(3.0, zero=0.1), torch.full((B,), 0.95))
    torch.testing.assert_close(result, X)


def test_autoguidance_extrapolates_from_the_weak_model():
    weak = Denoiser(Shift(0.5), Linear(), Data())
    strong = make()
    result = Autoguidance(weak, scale=2.0)(strong, COND, null=NULL)(X, HALF)
    torch.testing.assert_close(result, 2 * CONDITIONAL - weak(X, HALF, COND))
    assert torch.equal(Autoguidance(weak, scale=1.0)(strong, COND, null=NULL)(X, HALF), CONDITIONAL)


@pytest.mark.parametrize(("kind", "arguments", "text"), [
    (ClassifierFree, {"scale": -1.0}, "negative"), (ClassifierFree, {"interval": (0.9, 0.1)}, "interval"),
    (ClassifierFree, {"rescale": 2.0}, "rescale"), (APG, {"momentum": 1.0}, "momentum"),
    (CFGZeroStar, {"zero": 1.0}, "zero"),
])
def test_impossible_settings_are_refused(kind, arguments, text):
    with pytest.raises(ValueError, match=text):
        kind(**arguments)


class Drifting(Guidance):
    """A guidance of somebody else, which counts its calls."""

    def __call__(self, denoiser, cond, *, null, mask=None):
        calls = 0

        def denoise(x_t, t):
            nonlocal calls
            calls += 1
            return denoiser(x_t, t, cond, mask) * (1 + calls / 10)

        return denoise


EVERY = [
    Unguided(), ClassifierFree(3.0), ClassifierFree(3.0, rescale=0.7), ClassifierFree(3.0, interval=(0.3, 0.7)),
    APG(3.0), APG(5.0, norm=0.5, momentum=0.7, interval=(0.2, 0.8)), CFGZeroStar(3.0, zero=0.1),
    Autoguidance(Denoiser(Shift(0.5), Linear(), Data()), scale=2.0), Drifting(),
]


@pytest.mark.parametrize("guidance", EVERY, ids=lambda g: type(g).__name__)
def test_windows_that_do_not_overlap_are_runs_of_their_own(guidance):
    denoiser, size, sampler = make(), 4, DDIM(6)
    x1 = torch.randn(B, C, 3 * size, generator=torch.Generator().manual_seed(0))

    def bind():
        return guidance(denoiser, COND, null=NULL)

    long = sampler(Windowed(bind, size=size, overlap=0), x1, Linear())
    alone = [sampler(bind(), part, Linear()) for part in x1.split(size, 2)]
    assert torch.equal(long, torch.cat(alone, 2))
    assert torch.equal(sampler(Windowed(bind, size=size, overlap=0), x1[..., :size], Linear()), alone[0])


@pytest.mark.parametrize("guidance", EVERY, ids=lambda g: type(g).__name__)
@pytest.mark.parametrize(
    "schedule", [VariancePreserving(), Shifted(VariancePreserving(), 2.0), Cosine(), Linear(), VarianceExploding()],
    ids=lambda s: type(s).__name__,
)
def test_frames_that_are_given_clean_leave_every_prediction_finite(guidance, schedule):
    class Blend(nn.Module):
        def forward(self, x, level, cond, mask):
            return x.cumsum(2) / 4 + cond.vector[:, :, None]

    denoiser = Denoiser(Blend(), schedule, Velocity())
    known = torch.arange(T)[None, None].expand(B, 1, T) < 3
    seen = Inpaint(guidance(denoiser, COND, null=NULL), X, known, clean=True)(X, HALF)
    assert seen.isfinite().all()
    assert denoiser(X, torch.where(known[:, 0], 0, HALF[:, None]), COND).isfinite().all()
