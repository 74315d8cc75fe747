"""No value of a wrong kind is a traceback, whatever key of whatever command it is given to."""

import json
from typing import Any

import pytest
from hydra import compose, initialize_config_module

from mmdiff import kinds
from mmdiff.cli import errors, keys, main, overrides
from mmdiff.cli.overrides import composed
from mmdiff.cli.places import device, writable
from mmdiff.cli.requests import told_of, wishes
from mmdiff.cli.sample import parsed, setting
from mmdiff.config import ConfigError

NONSENSE = ["abc", "2.5", "", "null", "[1,2]", "-1", "{a: 1}", "true", "nan", "1e999", "[1,", "a b(", "9" * 30]
BASES = {
    "train": ["data.root=x"], "encode": ["out=x", "data.root=x"], "sample": ["run=x"], "embedder": ["run=x"],
    "eval": ["run=x", "evaluation=audio_v1"],
}


def leaves(command):
    with initialize_config_module(overrides.CONFIGS, version_base="1.3"):
        config = compose(command, overrides=overrides.completed(command, BASES[command]))
        return list(dict.fromkeys(key for key in [*keys.TABLES[command], *overrides._keys(config)] if "*" not in key))


@pytest.mark.parametrize("command", BASES)
def test_nonsense_is_refused_in_one_line_that_names_the_key_or_is_legal(command):
    """Each key's word is read as the command line reads it, then its value is checked as in a configuration."""
    refused = 0
    with initialize_config_module(overrides.CONFIGS, version_base="1.3"):
        config = compose(command, overrides=overrides.completed(command, BASES[command]))
        for key in leaves_of(command, config):
            taken = keys.annotation(command, config, key)
            for value in NONSENSE:
                try:
                    line = overrides._line(command, config, overrides.Word("", key, value))
                    found = overrides.OverridesParser.create().parse_override(line).value()
                    kinds.check(found, taken, key=key)
                except (ConfigError, kinds.KindError) as error:
                    refused += 1
                    assert key in str(error) and "\n" not in str(error) and value in str(error).replace("'", ""), value
    assert refused > 5 * len(keys.TABLES[command])


def leaves_of(command, config):
    return list(dict.fromkeys([*keys.TABLES[command], *overrides._keys(config)]))


def code(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code, capsys.readouterr().err
