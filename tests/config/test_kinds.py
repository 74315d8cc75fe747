"""No value of a wrong kind is a traceback, whatever key of whatever command it is given to."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from mmdiff.cli import errors, main
from mmdiff.cli.places import writable
from mmdiff.cli.requests import labels_of, requests_of
from mmdiff.cli.sample import parsed, setting
from mmdiff.config import keys, kinds, lines, overrides
from mmdiff.config.build import ConfigError
from mmdiff.config.words import Word
from mmdiff.generation.request import Request
from mmdiff.store import chosen_device

NONSENSE = ["abc", "2.5", "", "null", "[1,2]", "-1", "{a: 1}", "true", "nan", "1e999", "[1,", "9" * 30]
BASES = {
    "train": ["data.root=x"], "encode": ["out=x", "data.root=x"], "sample": ["run=x"], "embedder": ["run=x"],
    "eval": ["run=x", "evaluation=audio_v1"], "mark_find": ["file=x", "run=x"], "mark_test": ["run=x"],
}


@pytest.mark.parametrize("command", BASES)
def test_a_value_of_any_key_is_of_its_kind_or_refused_in_a_line_that_names_the_key(command):
    config = overrides.composed(command, BASES[command])
    with initialize_config_module(overrides.CONFIGS, version_base="1.3"):
        for key in dict.fromkeys([*keys.TABLES[command], *lines.keys_below(config)]):
            if "." in key or key in keys.TABLES[command]:
                taken = keys.annotation(command, config, key)
                refusals = [refusal(command, config, Word("", key, given), taken) for given in NONSENSE]
                assert all(text is None or (text.startswith(key) and "\n" not in text) for text in refusals), refusals
                assert refusals[NONSENSE.index("")], key
                assert kinds.takes_text(taken) or refusals[NONSENSE.index("[1,")], key


def refusal(command, config, word, taken):
    """Why a word is not taken; None where it is."""
    try:
        line = lines.line(command, config, word)
        kinds.check(OverridesParser.create().parse_override(line).value(), taken, key=word.key)
    except (ConfigError, kinds.KindError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(("command", "word", "told"), [
    ("sample", "n=abc", "n is a whole number, at least 1, got 'abc'"), ("sample", "n=2.5", "at least 1, got 2.5"),
    ("sample", "n=", "at least 1, got ''"), ("sample", "n=null", "got null"), ("sample", "n=[1,2]", "got [1, 2]"),
    ("sample", "seed=abc", "seed is a whole number"), ("sample", "batch_size=1.5", "batch_size is a whole number"),
    ("sample", "keep=1.5", "keep is a whole"),
    ("sample", "overlap=abc", "overlap is a whole"), ("sample", "hole=0.1", "hole is [a number, a number], or null"),
    ("sample", "mode=grow", "mode is one of extend"),
    ("sample", "replace=no", "replace is true or false, got 'no'"), ("train", "checkpoint.every=abc", "whole number"),
    ("train", "loader.val=[1]", "loader.val is"), ("train", "loader.limit=2.5", "loader.limit is a whole number"),
    ("train", "trainer.precision=bf16-true", "trainer.precision is one of 32"), ("train", "quality.n=x", "quality.n"),
    ("train", "trainer.max_steps=0", "trainer.max_steps is a whole number, at least 1, got 0"),
    ("train", "ema.main.ramp=x", "ema.main.ramp is a number"), ("train", "++ema.short.rmp=0.1", "'ema.short.rmp'"),
    ("train", "loader=5", "loader is no value but a group of keys"), ("train", "checkpoint=null", "group of keys"),
    ("train", "adapter=null", "adapter is one of"), ("train", "compile=yes", "compile is true or false"),
    ("train", "checkpoint={a: 1}", "checkpoint.a"), ("train", "diffusion.shift=big", "diffusion.shift is a number"),
    ("train", "run", "'run' cannot be read as key=value"), ("train", "9=1", "cannot be read as key=value"),
    ("train", "--fast", "no option --fast"), ("embedder", "steps=0", "steps is a whole number, at least 1"),
    ("encode", "shard_mb=0", "shard_mb is a number, above 0, got 0"), ("encode", "dtype=int8", "dtype is one of"),
    ("eval", "evaluation.n=many", "evaluation.n is a whole number"), ("eval", "root=", "root= is empty"),
    ("sample", "device=foo", "device is one that this machine has"), ("sample", "device=meta", "device is one"),
])
def test_a_mistake_is_one_line_and_exit_code_2(command, word, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if word.startswith("device"):
        with pytest.raises(ConfigError, match=told):
            chosen_device(word.partition("=")[2])
        return
    with pytest.raises(SystemExit) as stop:
        main([command, *BASES[command], word])
    text = capsys.readouterr().err
    assert stop.value.code == 2 and told in text and text.count("\n") == 1, text


def made_by(**settings):
    """What stands for a pipeline whose model has these settings."""
    return SimpleNamespace(header={"config": settings}, settings={})


def test_a_part_of_a_stored_setting_is_of_its_kind_too():
    stored = made_by(sampler={"_target_": "mmdiff.core.samplers.Heun", "steps": 20})
    for word, told in [("sampler.steps=true", "sampler.steps is a whole number"), ("sampler.steps=2.5", "whole number"),
                       ("sampler.stesp=3", "did you mean 'sampler.steps'"), ("sampler.steps=", "got ''")]:
        with pytest.raises(ConfigError, match=told):
            setting(stored, *parsed(["x", word]), "sampler")
    weak = made_by(guidance={"_target_": "mmdiff.generation.autoguidance.RunAutoguidance", "weak": "a"})
    assert setting(weak, *parsed(["x", "guidance.weak=s/seed=1 [b]"]), "guidance")["weak"] == "s/seed=1 [b]"


@pytest.mark.parametrize(("option", "word", "value"), [
    ("autoguidance", "guidance.weak=runs/weak", "runs/weak"), ("several", "guidance.scales={a: 2.0}", {"a": 2.0}),
])
def test_what_an_option_asks_for_is_given_by_a_word_or_named(option, word, value):
    stored = made_by(guidance={"_target_": "mmdiff.core.guidance.Unguided"})
    key = word.partition("=")[0]
    assert setting(stored, *parsed(["x", f"guidance={option}", word]), "guidance")[key.partition(".")[2]] == value
    with pytest.raises(ConfigError, match=f"^{key} is not set: add {key}=VALUE"):
        setting(stored, *parsed(["x", f"guidance={option}"]), "guidance")


FIELDS = {"label": ["01", "1", "1e3", "a: b", "no", "null", "# x"], "pitch": (48.0, 72.0)}


def test_a_class_is_its_name_and_a_scalar_a_number():
    for name in FIELDS["label"]:
        _, late = parsed(["x", f"cond.label={name}"])
        assert labels_of({late[0].key[5:]: late[0].value}, FIELDS) == {"label": name}
    assert labels_of({"pitch": "6e1"}, FIELDS) == {"pitch": 60.0}
    for value in ("high", "nan", "", "null", "[1]"):
        with pytest.raises(ConfigError, match="cond.pitch is a number between 48 and 72, got"):
            labels_of({"pitch": value}, FIELDS)


def asked(path, **more):
    settings = {"n": 1, "seed": 5, "cond": {}, "size": {}, "kinds": {"seconds": keys.Amount}, "edit": {}}
    return requests_of(str(path), **settings, fields=FIELDS, **more)


def test_rows_of_a_table_are_requests(tmp_path):
    path = tmp_path / "a b=[1].csv"
    path.write_text("label,seed,seconds,name,pitch\n01,3,,x,60\nno,,1.5,,\n")
    assert asked(path) == [
        Request(seed=3, labels={"label": "01", "pitch": 60.0}, name="x"),
        Request(seed=6, labels={"label": "no"}, size={"seconds": 1.5}),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"label": "1", "name": 7, "seconds": 2}) + "\n")
    assert asked(path) == [Request(seed=5, labels={"label": "1"}, name="7", size={"seconds": 2})]


@pytest.mark.parametrize(("row", "told"), [
    ('{"seed": 1.5}', "row 2: seed is a whole number"), ('{"seed": "x"}', "seed is a whole number"),
    ('{"seed": true}', "seed is a whole number"), ('{"name": 1.5}', "row 2: name is a text, got 1.5"),
    ('{"label": [1, 2]}', "row 2: label is a text or a number, got [1, 2]"),
    ('{"seconds": "long"}', "row 2: seconds is a number, above 0, got 'long'"), ('{"seconds": -1}', "above 0, got -1"),
    ('{"pitch": "high"}', "row 2: pitch is a number between"), ('{"label": true}', "label is the name of a class"),
])
def test_a_row_that_is_no_request_is_told_with_its_number(row, told, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"label": "no"}}\n{row}\n')
    with pytest.raises(ConfigError) as error:
        asked(path)
    assert told in str(error.value)


def test_a_seed_may_be_an_integer_of_numpy_and_has_64_bits():
    assert json.dumps(Request(seed=np.int64(3)).seed) == "3" and Request(seed=2**63 - 1).seed == 2**63 - 1
    for wrong in (1.5, 2**63):
        with pytest.raises(ValueError, match=f"seed is a whole number, at least .* and at most .*, got {wrong}"):
            Request(seed=wrong)


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"),
    torch.OutOfMemoryError("CUDA out of memory. Tried"), OSError(12, os.strerror(12)),
])
def test_a_full_memory_is_told_with_what_to_do(error):
    text, code = errors.explained(error)
    assert code == 1 and "the memory is full" in text and "batch_size" in text
    assert errors.explained(RuntimeError("shape mismatch")) is None


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left_there(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nothing"):
        with pytest.raises(ConfigError, match="out=.* cannot be written to: "):
            writable("out", folder)
    writable("out", tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("words", "told"), [
    (["adapter", "new", "a", "b", "c"], "adapter new takes a name and a folder, got 'c' besides"),
    (["doctor", "now"], "doctor takes nothing, got 'now'"),
    (["adapter", "check", "audio", "now"], "'now' cannot be read as key=value"),
    (["sample", "r", "n=2", "requests=a.csv"], "n=2 and requests=a.csv: the table has a row for each sample"),
])
def test_words_that_would_do_nothing_are_refused(words, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2 and told in capsys.readouterr().err


def test_of_several_gpus_each_process_takes_one_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, device in (("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert chosen_device(None) == device
    monkeypatch.delenv("LOCAL_RANK")
    assert chosen_device(None) == "cuda:0"
