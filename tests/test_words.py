"""Words of captions: each adds to what is told on its own, and training reads some that mean nothing."""

import pickle

import pytest
import torch

from mmdiff.adapters.conditioners import Labels
from mmdiff.adapters.texts import Apart, Bytes
from mmdiff.core.rng import Purpose, stream
from mmdiff.core.schedules import Linear
from mmdiff.core.times import UniformTime
from mmdiff.core.types import Masked
from mmdiff.data.batch import Batch
from mmdiff.data.labels import TEXT, encode_labels
from mmdiff.learner import DenoisingDraw

CPU, TEXT_OF_FOUR = torch.device("cpu"), "a red disc, fast"


def conditioner(**settings):
    torch.manual_seed(0)
    return Labels({"caption": TEXT}, dim=16, text=Bytes(width=32, heads=2, **settings))


def vector(made, text):
    return made(encode_labels(made.fields, [{"caption": text}])).vector[0]


def test_words_add_up_in_any_order_so_that_what_was_never_said_together_is_told():
    made = conditioner()
    torch.testing.assert_close(vector(made, "red disc fast"), vector(made, "fast disc red"))
    both = vector(made, "red disc") + vector(made, "blue square")
    torch.testing.assert_close(both, vector(made, "blue disc") + vector(made, "red square"))
    assert (vector(made, "red disc") - vector(made, "blue disc")).abs().max() > 1e-2
    torch.testing.assert_close(vector(made, "red disc") - vector(made, "red"), vector(made, "disc"))


def test_tokens_are_read_together_but_for_texts_that_are_read_apart():
    encoder = Bytes(width=32, heads=2)
    states, mask = encoder(["red disc", Apart("red disc"), "disc"], CPU)
    words = encoder.words(["red disc", "disc"], CPU)
    assert torch.equal(states[1], words[0]) and (states[0, :2] - words[0, :2]).abs().max() > 1e-3
    torch.testing.assert_close(words[0, 1], words[1, 0])
    assert mask.sum(1).tolist() == [2, 2, 1]
    assert type(pickle.loads(pickle.dumps(Apart("red")))) is Apart    # on its way from data workers


def test_strange_words_leave_those_of_a_caption_in_their_order_in_the_share_that_is_asked_for():
    encoder, found = Bytes(width=32, heads=2, strange=0.25, apart=0.4), []
    for draw in range(1000):
        text = encoder.varied(TEXT_OF_FOUR, stream(0, draw, Purpose.WORDS, 1))
        left = iter(text.split())
        assert all(word in left for word in TEXT_OF_FOUR.split())
        found.append((len(text.split()) - 4, isinstance(text, Apart)))
    strange, apart = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
    assert abs(strange - 4 * 0.25 / 0.75) < 0.15 and abs(apart - 0.4) < 0.06
    plain = Bytes(width=32, heads=2, strange=0.0, apart=0.0).varied(TEXT_OF_FOUR, stream(0, 0, Purpose.WORDS))
    assert plain == TEXT_OF_FOUR and type(plain) is str


@pytest.mark.parametrize("length", [3, 5, 7])
def test_strange_words_leave_room_for_those_of_a_caption(length):
    encoder = Bytes(width=32, heads=2, length=length, truncate=True, strange=0.5)
    own, found = encoder.split([TEXT_OF_FOUR])[0], set()
    for draw in range(100):
        (words,) = encoder.split([encoder.varied(TEXT_OF_FOUR, stream(0, draw, Purpose.WORDS))])
        assert set(own) <= set(words)
        found.add(len(words))
    assert found == set(range(5, max(length, 5) + 1))


def test_how_a_caption_is_varied_is_fixed_by_seed_and_draw_and_what_is_untold_stays_so():
    made = conditioner(strange=0.5)
    made.drop_all = 0.0
    draw = DenoisingDraw(Latent(), made, Linear(), UniformTime(), None, None, 0)

    def drawn(seed, draws):
        labels = {"caption": [TEXT_OF_FOUR, None, TEXT_OF_FOUR]}
        batch = Batch(Masked(torch.zeros(3, 2, 4)), labels, torch.tensor(draws))
        return draw(batch, seed, batch_size=3).labels["caption"]

    first = drawn(0, [5, 6, 7])
    assert first[1] is None and first == drawn(0, [5, 6, 7]) != drawn(1, [5, 6, 7])
    assert first[0] == drawn(0, [9, 8, 5])[2] != first[2]


class Latent:
    """A codec of latents that are samples."""

    channels = 2

    def size(self, x):
        return {"length": x.shape[-1]}

    def latent_shape(self, length):
        return (length,)


@pytest.mark.parametrize("wrong", [{"strange": 1.0}, {"strange": -0.1}, {"apart": 1.5}])
def test_shares_of_words_are_probabilities(wrong):
    with pytest.raises(ValueError, match="strange is a probability below 1, apart one up to 1"):
        Bytes(**wrong)
