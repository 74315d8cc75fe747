"""What commands say of themselves."""

import pytest

from mmdiff.cli import COMMANDS, main


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 0
    return capsys.readouterr().out


def test_every_command_is_listed(capsys):
    text = printed(capsys, "--help")
    assert all(f"    {command} " in text for command in COMMANDS) and "``" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_the_command_and_starts_nothing(command, capsys):
    text = printed(capsys, command, "--help")
    assert text.startswith(f"mmdiff {command} ") or text.startswith(f"mmdiff {command}:")
    assert "``" not in text and "hydra" not in text


@pytest.mark.parametrize(("command", "key"), [
    ("train", "recompute:"), ("sample", "suffix:"), ("plan", "seed:"), ("mark", "ledger:"),
])
def test_help_shows_keys_with_their_comments(command, key, capsys):
    line = next(line for line in printed(capsys, command, "-h").splitlines() if line.startswith(key))
    assert "# " in line
