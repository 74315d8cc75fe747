"""The laws of a network; the test file of each network inherits them and says how to make one.

    network(x (B, C, *S), level (B,), cond, mask (B, 1, *S)) -> (B, C, *S)
"""

import pytest
import torch

from mmdiff.core.types import Condition

CHANNELS, COND_DIM = 6, 5


def draw(batch=3, frames=13, *, dtype=torch.float32, tokens=False, seed=0):
    """A random ``(x, level, cond)``."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    cond = Condition(normal(batch, COND_DIM), normal(batch, 4, COND_DIM) if tokens else None)
    return normal(batch, CHANNELS, frames), torch.rand(batch, generator=generator).to(dtype), cond


def first(lengths, frames):
    """A mask ``(B, 1, T)`` that is True at the first ``lengths`` frames."""
    return (torch.arange(frames) < torch.tensor(lengths)[:, None])[:, None]


class NetworkContract:
    """Subclasses define ``make(**options)``: a small network of CHANNELS and COND_DIM."""

    def awake(self, **options):
        """A network with no parameter left at zero, as training leaves it."""
        torch.manual_seed(0)
        network = self.make(**options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return network.eval()

    def test_it_is_zero_at_initialisation(self):
        x, level, cond = draw()
        assert (self.make()(x, level, cond) == 0).all()

    def test_its_bits_do_not_hang_on_whether_it_learns(self):
        network = self.awake()
        for frames in (4, 7, 13):
            x, level, cond = draw(2, frames)
            with torch.no_grad():
                learning, frozen = (network.requires_grad_(learns)(x, level, cond) for learns in (True, False))
            assert torch.equal(learning, frozen)

    def test_every_length_is_accepted_and_kept(self):
        network = self.awake()
        for frames in range(1, 51):
            x, level, cond = draw(2, frames)
            assert network(x, level, cond).shape == x.shape
            assert network(x, level, cond, first([frames, 1], frames)).isfinite().all()

    @pytest.mark.parametrize("frames", [1, 7, 12, 13])
    def test_an_all_true_mask_is_no_mask(self, frames):
        network, (x, level, cond) = self.awake(), draw(3, frames)
        torch.testing.assert_close(
            network(x, level, cond, first([frames] * 3, frames)), network(x, level, cond), atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize("extra", [1, 2, 3, 8, 37])
    def test_appended_padding_changes_no_real_output(self, extra):
        network, (x, level, cond) = self.awake(), draw()
        padded = torch.cat([x, torch.full((3, CHANNELS, extra), 7.0)], -1)
        out = network(padded, level, cond, first([13] * 3, 13 + extra))
        assert (out[..., :13] - network(x, level, cond)).abs().max() < 1e-5
        assert (out[..., 13:] == 0).all()

    def test_nan_in_padding_reaches_neither_outputs_nor_gradients(self):
        network, (x, level, cond), mask = self.awake(), draw(), first([13, 5, 1], 13)
        poisoned = torch.where(mask, x, torch.nan).requires_grad_()
        out = network(poisoned, level, cond, mask)
        torch.testing.assert_close(out, network(x, level, cond, mask), atol=0, rtol=0)
        out.square().sum().backward()
        assert poisoned.grad.isfinite().all()
        assert (poisoned.grad[~mask.expand_as(x)] == 0).all()
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)

    def test_items_of_a_batch_are_independent(self):
        network, (x, level, cond), mask = self.awake(), draw(), first([13, 5, 9], 13)
        together = network(x, level, cond, mask)
        for i in range(3):
            own = network(x[i : i + 1], level[i : i + 1], Condition(cond.vector[i : i + 1]), mask[i : i + 1])
            assert (together[i] - own[0]).abs().max() < 1e-5

    def test_level_and_vector_matter_and_no_condition_is_an_empty_one(self):
        network, (x, level, cond) = self.awake(), draw()
        none = network(x, level)
        assert (network(x, level, Condition()) == none).all()
        assert (network(x, level, cond) - none).abs().max() > 1e-3
        assert (network(x, 1 - level, cond) - network(x, level, cond)).abs().max() > 1e-3

    def test_tokens_matter_except_at_their_padding(self):
        network, (x, level, cond) = self.awake(tokens=True), draw(tokens=True)
        cond = cond._replace(tokens_mask=torch.tensor([[True] * 4, [True, False, False, False], [False] * 4]))
        out = network(x, level, cond)
        poisoned = cond.tokens.masked_fill(~cond.tokens_mask[..., None], torch.nan)
        assert (network(x, level, cond._replace(tokens=poisoned)) == out).all()
        change = (network(x, level, cond._replace(tokens=-cond.tokens)) - out).abs().amax((1, 2))
        assert (change[:2] > 1e-4).all()
        assert change[2] == 0

    def test_concat_joins_the_input(self):
        network, (x, level, cond) = self.awake(concat_channels=2), draw()
        concat = torch.randn(3, 2, 13)
        out = network(x, level, cond._replace(concat=concat))
        assert out.shape == x.shape
        assert (network(x, level, cond._replace(concat=-concat)) - out).abs().max() > 1e-3

    def test_what_it_cannot_use_is_refused_with_the_remedy(self):
        network, (x, level, cond) = self.make(), draw(tokens=True)
        with pytest.raises(ValueError, match="tokens=True"):
            network(x, level, cond)
        with pytest.raises(ValueError, match="concat_channels"):
            network(x, level, Condition(concat=x))
        with pytest.raises(ValueError, match="codec.channels"):
            network(x[:, 1:], level)
        with pytest.raises(ValueError, match="mask"):
            network(x, level, None, torch.ones(3, 13, dtype=torch.bool))
        with pytest.raises(ValueError, match="cond_dim is 0"):
            type(network)(CHANNELS, 0, tokens=True)
        with pytest.raises(ValueError, match="was given none"):
            self.make(tokens=True)(x, level, cond._replace(tokens=None))

    def test_gradients_reach_every_parameter_once_training_has_left_zero(self):
        torch.manual_seed(0)
        network, (x, level, cond) = self.make(tokens=True), draw(tokens=True)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(4):                                            # out, then gates, then what they gate
            optimizer.zero_grad()
            (network(x, level, cond) - x).square().mean().backward()
            optimizer.step()
        assert [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0] == []

    def test_its_state_says_all(self):
        torch.manual_seed(1)
        network, other, (x, level, cond) = self.awake(), self.make(), draw()
        other.load_state_dict(network.state_dict())
        assert (other.eval()(x, level, cond) == network(x, level, cond)).all()

    def test_it_works_in_float64_and_agrees_with_float32(self):
        network, (x, level, cond), mask = self.awake(), draw(), first([13, 5, 1], 13)
        single = network(x, level, cond, mask)
        double = network.double()(x.double(), level.double(), Condition(cond.vector.double()), mask)
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-4)

    def test_it_runs_under_bfloat16_autocast(self):
        network, (x, level, cond), mask = self.awake(), draw(), first([13, 5, 1], 13)
        with torch.autocast("cpu", torch.bfloat16):
            out = network(x, level, cond, mask)
        exact = network(x, level, cond, mask)
        assert (out.float() - exact).norm() < 0.1 * exact.norm()

    def test_it_overfits_one_batch_within_a_thousand_steps(self):
        torch.manual_seed(0)
        network, (x, level, cond) = self.make(), draw(8, 16)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        for _ in range(1000):
            loss = (network(x, level, cond) - x.flip(-1)).square().mean()
            if loss < 0.1 * x.square().mean():
                return
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pytest.fail(f"loss {loss:.3f} after 1000 steps, at the start {x.square().mean():.3f}")
