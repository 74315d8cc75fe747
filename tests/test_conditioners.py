import math

import pytest
import torch

from mmdiff.adapters.base import Conditioner
from mmdiff.adapters.conditioners import Labels
from mmdiff.adapters.series.judge import SeriesJudge
from mmdiff.cli.requests import requests_of
from mmdiff.cli.sample import _label, _late, parsed
from mmdiff.config.build import ConfigError, build
from mmdiff.data.labels import encode_labels
from mmdiff.evaluation.embedders.embedder import Embedder

FIELDS = {"digit": ["0", "7"], "speaker": ["ann", "bob", "cid"], "pitch": (40.0, 80.0)}


@pytest.fixture
def labels():
    torch.manual_seed(0)
    return Labels(FIELDS, dim=16, drop=0.3, drop_each=0.2)


def encode(*rows):
    return encode_labels(FIELDS, rows)


def test_labels_become_numbers_and_absence_has_a_value():
    encoded = encode({"digit": 7, "pitch": "60"}, {"speaker": "cid"})
    assert encoded["digit"].tolist() == [1, -1] and encoded["speaker"].tolist() == [-1, 2]
    assert encoded["pitch"][0] == 60 and math.isnan(encoded["pitch"][1])


def test_each_field_and_its_absence_change_the_condition(labels):
    rows = [{"digit": "0", "speaker": "ann", "pitch": 50.0}]
    for change in ({"digit": "7"}, {"speaker": "bob"}, {"pitch": 51.0}, {"digit": None}, {"pitch": None}):
        rows.append({**rows[0], **change})
    vectors = labels(encode(*rows)).vector
    distance = torch.cdist(vectors, vectors) + 10 * torch.eye(len(rows))
    assert distance.min() > 1e-3 and vectors.isfinite().all()


def test_null_is_the_condition_of_which_nothing_is_told(labels):
    torch.testing.assert_close(labels.null(2).vector, labels(encode({}, {})).vector)


def test_labels_are_hidden_as_often_as_asked_together_and_each(labels):
    batch = encode(*[{"digit": "0", "speaker": "ann", "pitch": 50.0}] * 20_000)
    hidden = labels.hide(batch, torch.rand(20_000, 4))
    gone = torch.stack([hidden["digit"] < 0, hidden["speaker"] < 0, hidden["pitch"].isnan()], 1).float()
    assert gone.mean(0).tolist() == pytest.approx([0.3 + 0.7 * 0.2] * 3, abs=0.02)
    assert gone.prod(1).mean() == pytest.approx(0.3 + 0.7 * 0.2**3, abs=0.02)


def test_without_fields_there_is_no_condition():
    empty = Labels({})
    assert empty.dim == 0 and empty({}).vector is None and empty.null(3).vector is None
    assert empty.hide({}, torch.rand(3, 1)) == {}


def test_gradients_are_finite_where_a_scalar_is_not_told(labels):
    labels(encode({"pitch": None}, {"pitch": 45.0})).vector.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in labels.parameters())


ODD = ["type", "keys", "a.b", "a%2Eb", "", "_target_", "${oc.env:HOME}", "x=y", "training", "größe"]


def test_a_column_of_any_name_can_condition_be_judged_and_be_loaded_again():
    fields = {name: ["u", "v"] if i % 2 else (0.0, 1.0) for i, name in enumerate(ODD)}
    told = {name: list(field) for name, field in fields.items()}     # as a model file holds them
    made = build({"_target_": "mmdiff.adapters.conditioners.Labels", "dim": 4, "fields": told}, Conditioner)
    assert made.fields == {k: tuple(v) for k, v in fields.items()}
    made.load_state_dict(Labels(fields, dim=4).state_dict())
    rows = [{name: "v" if i % 2 else 0.5 for i, name in enumerate(ODD)}, {}]
    assert made(encode_labels(fields, rows)).vector.isfinite().all()
    judged = Embedder(SeriesJudge(), fields, channels=1).eval().judge(torch.randn(2, 1, 16))
    assert list(judged.probabilities) == ODD[1::2]


def test_on_the_command_line_the_longest_name_of_a_field_is_meant():
    fields = {"x": ["u"], "x=y": ["u"], "": ["u"]}
    words = ["cond.x=y=u", "cond.x=u", "cond.=u", "cond.z=u=v"]
    told = [_label(_late(word), fields) for word in words]
    assert told == [_label(_late(word.replace("cond.", "not.")), fields) for word in words]
    assert told == [("x=y", "u"), ("x", "u"), ("", "u"), ("z", "u=v")]


def test_a_field_of_a_name_that_requests_use_themselves_is_told_by_its_whole_key(tmp_path):
    fields, rest = {"seed": ["u", "v"], "cond.x": ["u"]}, {"n": 1, "seed": 5, "size": {}, "kinds": {}, "edit": {}}
    (table := tmp_path / "t.csv").write_text("cond.seed,cond.x,name\nv,u,a\n")
    (made,) = requests_of(str(table), cond={}, fields=fields, **rest)
    assert (made.seed, made.name, made.labels) == (5, "a", {"seed": "v", "cond.x": "u"})
    table.write_text("cond.seed,not.seed\nv,u\n")
    (made,) = requests_of(str(table), cond={}, fields=fields, **rest)
    assert (made.labels, made.negative) == ({"seed": "v"}, {"seed": "u"})
    table.write_text("cond.seed,seed\nv,7\n")
    assert requests_of(str(table), cond={}, fields=fields, **rest)[0].seed == 7
    table.write_text("seed\n7\n")
    with pytest.raises(ConfigError, match="seed is the sample's own and a field of the model too; .* cond.seed"):
        requests_of(str(table), cond={}, fields=fields, **rest)


@pytest.mark.parametrize("said", [
    "moving left, fast: a disc", "no", "# rain on a roof", "[red] disc", "{a}", "'quoted' word", "null", "~", "1e3",
    "a = b", "${oc.env:HOME}", " spaced ", "line\nbreak", "größe", "--cfg", "01", "-1", "\\", '"',
])
def test_what_is_asked_for_on_the_command_line_arrives_as_it_was_typed(said):
    _, (word,) = parsed(["run=x", f"cond.caption={said}"])
    assert _label(word, {"caption": ["x"]}) == ("caption", said)


def test_a_scalar_that_never_varied_stays_finite_and_small_for_other_values():
    constant = Labels({"rate": (5.0, 5.0)}, dim=4)
    assert constant(encode_labels({"rate": (5.0, 5.0)}, [{"rate": 5.0}, {"rate": 7.0}])).vector.abs().max() < 100


@pytest.mark.parametrize("new", [
    {"digit": ["0", "7", "8", "9"]}, {"style": ["x", "y"]}, {"tempo": (60.0, 180.0)},
    {"style": ["x"], "tempo": (60.0, 180.0), "a.b": ["c"], "speaker": ["ann", "bob", "cid", "dan"]},
])
def test_growing_keeps_the_bits_of_every_old_request(labels, new):
    larger = Labels({**FIELDS, **new}, dim=16)
    larger.inherit(labels)
    rows = [{}, {"digit": "7"}, {"digit": "0", "speaker": "cid", "pitch": 41.0}, {"pitch": 79.5}]
    assert torch.equal(larger(encode_labels(larger.fields, rows)).vector, labels(encode(*rows)).vector)
    assert torch.equal(larger.null(2).vector, labels.null(2).vector)


def test_a_new_class_starts_as_the_mean_of_the_old_ones(labels):
    larger = Labels({**FIELDS, "speaker": [*FIELDS["speaker"], "dan"]}, dim=16)
    larger.inherit(labels)
    old = labels(encode(*({"speaker": name} for name in FIELDS["speaker"]))).vector
    new = larger(encode_labels(larger.fields, [{"speaker": "dan"}])).vector[0]
    torch.testing.assert_close(new, old.mean(0))


def test_a_new_field_is_learned_from_the_first_step(labels):
    larger = Labels({**FIELDS, "style": ["x"], "tempo": (0.0, 1.0)}, dim=16)
    larger.inherit(labels)
    larger(encode_labels(larger.fields, [{"style": "x", "tempo": 0.5}])).vector.square().sum().backward()
    for name in ("of_style", "of_tempo"):
        assert larger.embeddings[name].weight.grad.abs().max() > 0


def test_a_conditioner_without_tables_of_its_own_takes_no_other_fields(labels):
    class Fixed(Labels):
        inherit = Conditioner.inherit

    Fixed(FIELDS, dim=16).inherit(labels)
    with pytest.raises(ValueError, match="Fixed cannot take on other fields"):
        Fixed({**FIELDS, "style": ["x"]}, dim=16).inherit(labels)
    with pytest.raises(ValueError, match=r"5 of 5 .*embeddings\.of_digit\.weight \(3 x 16 given, 3 x 8 here"):
        Fixed(FIELDS, dim=8).inherit(labels)
