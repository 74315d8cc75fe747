"""Output whose reader is gone, or that was closed from the start, ends no work."""

import os
import subprocess
import sys

import pytest

WORK = """
import os, sys
from mmdiff.cli.streams import settle

settle()
file = open(os.devnull, "w")
assert file.fileno() > 2
for _ in range(3):
    print("told" * 20_000, flush=True)
    print("told" * 20_000, file=sys.stderr, flush=True)
open(sys.argv[1], "w").write("done")
"""


def work(tmp_path, prepare, **streams):
    return subprocess.Popen([sys.executable, "-c", WORK, tmp_path / "done"], preexec_fn=prepare, **streams)


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_descriptor_that_is_closed_is_taken_by_no_file(tmp_path, numbers):
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = work(tmp_path, lambda: [os.close(n) for n in numbers], **nowhere)
    assert process.wait() == 0 and (tmp_path / "done").read_text() == "done"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_the_work_is_done_when_the_reader_has_gone(tmp_path, name):
    other = {"stdout": "stderr", "stderr": "stdout"}[name]
    process = work(tmp_path, None, **{name: subprocess.PIPE, other: subprocess.DEVNULL})
    getattr(process, name).close()
    assert process.wait() == 0 and (tmp_path / "done").read_text() == "done"


def test_output_to_a_full_disk_is_told_once_on_the_other_stream(tmp_path):
    with open("/dev/full", "w") as full:
        process = work(tmp_path, None, stdout=full, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate()
    assert process.returncode == 0 and (tmp_path / "done").read_text() == "done"
    assert errors.count("output cannot be written any more, going on without: [Errno 28] No space left") == 1
