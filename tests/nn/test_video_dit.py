"""The networks of films: the transformer with its groups of tokens, and the U-ViT."""

import pytest
import torch

from mmdiff.core.types import Condition
from mmdiff.nn.grid import Full, Space, Time, Window, axial_angles
from mmdiff.nn.video_dit import PATTERNS, VideoDiT, last_cleaner
from mmdiff.nn.video_uvit import VideoUViT

C, D = 3, 5
SIZES = [(8, 16, 16), (7, 9, 13), (1, 8, 8), (3, 20, 4)]


def make(**options):
    if options.get("pattern") == "uvit":
        return VideoUViT(C, D, widths=(8, 12), dim=32, depth=1, heads=2, tokens=options.get("tokens", False))
    if options.get("pattern") == "head":
        options |= {"pattern": "full", "head": 6}
    settings = {"dim": 32, "depth": 2, "heads": 2, "patch": (2, 4, 4), "window": (2, 2, 2), **options}
    return VideoDiT(C, D, **settings)


def awake(**options):
    torch.manual_seed(0)
    network = make(**options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def draw(size=(8, 16, 16), batch=2, tokens=False):
    torch.manual_seed(1)
    cond = Condition(torch.randn(batch, D), torch.randn(batch, 4, D) if tokens else None)
    return torch.randn(batch, C, *size), torch.rand(batch), cond


@pytest.mark.parametrize("grouping", [Full(), Space(), Time(), Window((2, 3, 2)), Window((2, 3, 2), shifted=True)])
@pytest.mark.parametrize("grid", [(4, 6, 4), (3, 5, 1), (1, 1, 1)])
def test_groups_are_a_partition(grouping, grid):
    x = torch.randn(2, *grid, 3, 5)
    assert torch.equal(grouping.join(grouping.split(x), grid), x)
    inside = grouping.split(torch.ones(2, *grid, dtype=torch.bool))
    assert int(inside.sum()) == 2 * x[0, ..., 0, 0].numel()
    assert grouping.even(grid) == bool(inside.all())


def test_shifted_windows_join_what_windows_part():
    grid = (1, 1, 8)
    ids = torch.arange(8).reshape(1, *grid)
    plain, shifted = Window((1, 1, 4)), Window((1, 1, 4), shifted=True)
    assert plain.split(ids).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [2, 3, 4, 5] in shifted.split(ids).tolist()


@pytest.mark.parametrize("pattern", [*PATTERNS, "head", "uvit"])
class TestNetworksOfFilms:
    def test_zero_at_initialisation(self, pattern):
        x, level, cond = draw()
        assert (make(pattern=pattern)(x, level, cond) == 0).all()

    @pytest.mark.parametrize("size", SIZES)
    def test_every_size_is_accepted_and_kept(self, pattern, size):
        x, level, cond = draw(size)
        out = awake(pattern=pattern)(x, level, cond)
        assert out.shape == x.shape and out.isfinite().all()

    @pytest.mark.parametrize("size", SIZES)
    def test_padding_changes_no_real_output_and_nan_in_it_no_gradient(self, pattern, size):
        network, (x, level, cond) = awake(pattern=pattern), draw(size)
        bigger = torch.full((2, C, size[0] + 3, size[1] + 5, size[2] + 2), torch.nan)
        bigger[:, :, : size[0], : size[1], : size[2]] = x
        mask = ~bigger[:, :1].isnan()
        bigger.requires_grad_()
        out = network(bigger, level, cond, mask)
        alone = network(x, level, cond)
        torch.testing.assert_close(out[:, :, : size[0], : size[1], : size[2]], alone, atol=2e-5, rtol=1e-4)
        assert (out[~mask.expand_as(out)] == 0).all()
        out.square().sum().backward()
        assert bigger.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)

    def test_one_level_a_sample_is_the_same_level_for_each_frame(self, pattern):
        network, (x, level, cond) = awake(pattern=pattern), draw((7, 8, 8))
        torch.testing.assert_close(network(x, level[:, None].expand(-1, 7), cond), network(x, level, cond))

    def test_the_level_of_one_frame_matters(self, pattern):
        network, (x, level, cond) = awake(pattern=pattern), draw((8, 8, 8))
        levels = level[:, None].repeat(1, 8)
        levels[:, 5] = 0
        assert (network(x, levels, cond) - network(x, level, cond)).abs().max() > 1e-3

    def test_items_are_independent_and_tokens_and_vector_matter(self, pattern):
        network, (x, level, cond) = awake(pattern=pattern, tokens=True), draw(tokens=True)
        out = network(x, level, cond)
        own = network(x[1:], level[1:], Condition(cond.vector[1:], cond.tokens[1:]))
        torch.testing.assert_close(out[1:], own, atol=1e-5, rtol=1e-4)
        assert (network(x, level, cond._replace(tokens=-cond.tokens)) - out).abs().max() > 1e-4
        assert (network(x, level, cond._replace(vector=-cond.vector)) - out).abs().max() > 1e-4

    def test_gradients_reach_every_parameter_once_training_has_left_zero(self, pattern):
        torch.manual_seed(0)
        network, (x, level, cond) = make(pattern=pattern, tokens=True), draw(tokens=True)
        level = level[:, None] * torch.linspace(0.5, 1, 8)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(4):
            optimizer.zero_grad()
            (network(x, level, cond) - x).square().mean().backward()
            optimizer.step()
        assert [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_full_attention_and_one_window_that_holds_all_are_the_same():
    full, window = awake(pattern="full"), awake(pattern="window", window=(9, 9, 9))
    window.load_state_dict(full.state_dict())
    x, level, cond = draw()
    torch.testing.assert_close(window(x, level, cond), full(x, level, cond))


def test_without_waves_a_shift_of_all_positions_changes_nothing():
    """RoPE sees differences of positions only, which is what lets it extrapolate."""
    network, (x, level, cond) = awake(waves=False, patch=(1, 4, 4)), draw((4, 8, 8))
    fill = torch.zeros(2, C, 3, 8, 8)
    mask = torch.cat([torch.zeros(2, 1, 3, 8, 8), torch.ones(2, 1, 4, 8, 8)], 2).bool()
    late = network(torch.cat([fill, x], 2), level, cond, mask)[:, :, 3:]
    torch.testing.assert_close(late, network(x, level, cond), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dim", [8, 16, 20, 32, 64])
def test_axial_angles_fill_the_heads(dim):
    turns = axial_angles((2, 3, 4), dim, base=100.0, like=torch.zeros(1))
    assert turns.shape == (2, 3, 4, 1, dim // 2)


def test_what_is_held_is_the_last_frame_before_that_has_less_noise():
    x, level = torch.arange(6.0).reshape(1, 1, 6, 1, 1), torch.tensor([[0.5, 0, 0, 0.5, 0.2, 0.5]])
    assert last_cleaner(x, level).flatten().tolist() == [0, 0, 0, 2, 2, 4]
    assert (last_cleaner(x, torch.full((1, 6), 0.5)) == 0).all(), "nothing is given"


def test_a_head_learns_to_hold_the_given_frame_and_joins_what_boxes_part():
    torch.manual_seed(0)
    network, level = make(patch=(4, 4, 4), head=6), torch.tensor([[0, 0, 0.9, 0.9]]).expand(8, -1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(60):
        still = torch.randn(8, C, 1, 8, 8).expand(-1, -1, 4, -1, -1)
        x = torch.where(level[:, None, :, None, None] > 0, torch.randn(8, C, 4, 8, 8), still)
        loss = (network(x, level) - still)[:, :, 2:].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    x = x.requires_grad_()
    network(x, level)[0, 0, 3, 3, 3].backward()
    own, beside = x.grad[0, :, 3, 3, 3].abs().sum(), x.grad[0, :, 3, 3, 4].abs().sum()
    assert beside > 0.01 * own, "the pixel in the next box"


def test_a_pixel_of_a_film_reaches_those_around_it_in_the_next_position_and_frame():
    network, (x, level, cond) = awake(pattern="uvit"), draw((3, 16, 16), 1)
    x = x.requires_grad_()
    network(x, level, cond)[0, 0, 1, 3, 3].backward()
    assert (x.grad[0, :, 1, 3, 4].abs().sum() > 0) and (x.grad[0, :, 2, 3, 3].abs().sum() > 0)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="need a width at least"):
        VideoUViT(C, D, widths=())
    with pytest.raises(ValueError, match="RoPE"):
        VideoUViT(C, D, dim=16, heads=4)
    with pytest.raises(ValueError, match="patch"):
        make(patch=(2, 8))
    with pytest.raises(ValueError, match="pattern"):
        make(pattern="diagonal")
    with pytest.raises(ValueError, match="RoPE"):
        make(dim=16, heads=4)
