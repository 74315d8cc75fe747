"""Work that several processes share: each part is done by one of them, and by another where that one died."""

import errno
import os
import signal

from mmdiff.data import cached


def test_a_part_is_done_by_one_process_and_by_another_where_that_one_died(tmp_path):
    (done := tmp_path / "done").mkdir()
    heard, says = os.pipe()

    def shared():
        return cached.shared(tmp_path / "parts.lock", lambda: [k for k in range(3) if not (done / str(k)).exists()])

    if not (child := os.fork()):
        for _ in shared():
            os.write(says, b".")
            signal.pause()                                            # at part 0 until it is killed
    assert os.read(heard, 1) == b"."
    parts = []
    for part in shared():
        parts.append(part)
        (done / str(part)).touch()
        if part == 2:
            os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert parts == [1, 2, 0] and list(shared()) == []


def test_where_files_cannot_be_locked_each_process_does_all(tmp_path, monkeypatch):
    def refuses(*arguments):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(cached.fcntl, "lockf", refuses)
    assert list(cached.shared(tmp_path / "parts.lock", lambda: [0, 1, 2])) == [0, 1, 2]
    (tmp_path / "file").touch()
    assert list(cached.shared(tmp_path / "file" / "parts.lock", lambda: [0, 1])) == [0, 1]
