"""What is a text on the command line is that text, for every command, whatever it is made of."""

import os
import random
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mmdiff.cli.eval import _combinations
from mmdiff.cli.sample import parsed
from mmdiff.cli.sweep import folder
from mmdiff.config.build import ConfigError
from mmdiff.config.files import resolved
from mmdiff.config.overrides import composed, with_run
from mmdiff.config.words import Word, pieces, quoted, text, written

ODD = [
    "s/seed=1", "a b", "josé/snd", "x[1]{2}(3)", "it's", 'say "so"', "a,b", "#1: yes", "${oc.env:HOME}",
    r"back\slash\ ", "null", "01", "1e3", "~x", "日本 語", "a=b,c=[d", "'q'", "100%", "a\tb", "@home", "yes",
    r"\${x}'\'",
]
"""Names of folders that shells, YAML, Hydra and OmegaConf each have something to say about."""


def test_a_text_passes_through_every_grammar_unchanged():
    chance, parser = random.Random(0), OverridesParser.create()
    drawn = ["".join(chance.choices("\\'\"${}ab ,#:=[]()\n\té~*?!%&", k=8)) for _ in range(300)]
    for meant in [*ODD, *drawn]:
        config = OmegaConf.create()
        OmegaConf.update(config, "k", parser.parse_override(f"k={quoted(meant)}").value())
        assert config.k == OmegaConf.create(OmegaConf.to_yaml(config)).k == resolved(config).k == meant
        assert resolved(resolved(config)).k == meant


@pytest.mark.parametrize("path", ODD)
def test_a_word_that_is_written_is_read_as_the_same_text(path):
    assert text(Word.of(written("run", path)).value) == path
    assert text(Word.of(shlex.split(shlex.quote(written("run", path)))[0]).value) == path


@pytest.mark.parametrize("command", ["sample", "eval", "embedder"])
def test_a_run_may_have_any_name_in_the_first_place(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ODD:
        (tmp_path / path).mkdir(parents=True)
        (word,) = with_run(command, [path], ("sampler", "guidance"))
        assert text(Word.of(word).value) == path
    assert with_run(command, ["run=x"]) == ["run=x"] and with_run(command, ["sede=1"]) == ["sede=1"]


def found(path):
    """A name that begins with ~ is told apart from a home folder by its whole path."""
    return os.path.abspath(path) if path.startswith("~") else path


def words(key, paths):
    return [written(key, path) for path in paths]


def test_every_command_takes_any_path():
    for path, other, third in zip(*([*ODD, "x", "y"][k::3] for k in range(3)), strict=True):
        run, root, table = written("run", path), written("data.root", other), written("data.table", third)
        config = composed("train", [run, root, table])
        assert (config.run, config.data.root, config.data.table) == (found(path), found(other), found(third))
        config, _ = parsed([path if "/" in path or "=" not in path else f"./{path}", *words("out", [other]),
                            *words("requests", [third]), *words("input", [path]), "mode=extend"])
        assert (config.out, config.requests, config.input) == (found(other), found(third), found(path))
        assert config.run in {found(path), f"./{path}"}
    config = composed("encode", [written("out", ODD[0]), written("data.root", ODD[3])])
    assert (config.out, config.data.root) == (ODD[0], ODD[3])
    config = composed("embedder", [written("run", ODD[5]), written("out", ODD[6]), written("root", ODD[8])])
    assert (config.run, config.out, config.root) == (ODD[5], ODD[6], ODD[8])
    config = composed("eval", [written("run", ODD[8]), "evaluation=audio_v1", written("evaluation.embedder", ODD[9])])
    assert (config.run, config.evaluation.embedder) == (ODD[8], ODD[9])
    assert resolved(config).run == ODD[8]


def test_what_is_not_written_specially_is_taken_as_it_stands():
    plain = [*(p for p in ODD if p not in ("null", "'q'") and not p.startswith("~")), "x"]
    for path, other in zip(plain[::2], plain[1::2], strict=True):
        config = composed("train", [f"run={path}", f"data.root={other}"])
        assert (config.run, config.data.root) == (path, other)
    pattern = r"(?P<digit>\d)_(?P<speaker>\w{1,9})_(?P<take>\d+)"
    assert composed("train", ["data.root=x", f"data.pattern={pattern}"]).data.pattern == pattern
    assert composed("train", ["data.root=x", f"data.pattern='{pattern}'"]).data.pattern == pattern


def test_a_home_folder_that_nobody_has_is_told():
    with pytest.raises(ConfigError, match="'~nobody-here/x' is in nobody's home folder"):
        composed("train", ["run=~nobody-here/x"])


def test_null_is_none_where_that_is_taken_and_a_list_of_names_holds_texts():
    config = composed("train", ["data.root=null", "data.table=null", "data.labels=[01, no,'a, b',x y]"])
    assert config.data.root == "null" and config.data.table is None
    assert config.data.labels == ["01", "no", "a, b", "x y"]


@pytest.mark.parametrize(("command", "word"), [
    ("train", "run="), ("train", "data.root="), ("encode", "out="), ("sample", "run="), ("eval", "root="),
    ("embedder", "out="),
])
def test_an_empty_path_is_refused_by_name(command, word):
    more = ["evaluation=audio_v1"] if command == "eval" else []
    with pytest.raises(ConfigError, match=f"{word} is empty: it is a .*path.* Is a variable of the shell not set"):
        composed(command, [word, *more])


def test_commas_part_the_values_of_a_sweep_but_not_within_quotes():
    assert pieces("a,'b,c',\"d,e\",f") == ["a", "'b,c'", '"d,e"', "f"]
    assert pieces("it's,they're") == ["it's", "they're"] and pieces("a b") == ["a b"]
    assert _combinations(["run=s/a,b", "sampler.steps=1,2"]) == [
        ["run=s/a,b", "sampler.steps=1"], ["run=s/a,b", "sampler.steps=2"],
    ]


def test_folders_of_a_sweep_have_names_that_every_command_takes_and_that_differ():
    assert folder({"seed": "1"}) == "seed-1" and folder({"seed": "1", "optim.lr": "1e-2"}) == "seed-1,optim.lr-1e-2"
    values = ["a/b", "a-b", "a b", "é", "è", "x" * 300, "x" * 301, "", "..", "[1,2]", "[1, 2]", "-1", "1"]
    names = [folder({"data.root": value}) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert len(name) < 250 and name.isascii() and not set(name) & set("/= \\'\"[]{}$~*?:")
    assert len(folder({f"key{i}": "v" * 30 for i in range(40)})) < 250


def test_a_sweep_of_samplers_takes_texts_of_any_letters_beside_it():
    for odd in (name for name in ODD if "," not in name):
        asked = ["run=r", f"guidance.weak={odd}", "sampler.steps=1,2"]
        assert _combinations(asked) == [[*asked[:2], "sampler.steps=1"], [*asked[:2], "sampler.steps=2"]]
    assert _combinations(["run=r", "guidance.weak='a [b','c,d]'"]) == [
        ["run=r", "guidance.weak='a [b'"], ["run=r", "guidance.weak='c,d]'"],
    ]
