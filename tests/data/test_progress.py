import io

from mmdiff.data.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    for _ in (bar := progress_bar(range(1000), "reading", mininterval=0, leave=False)):
        bar.set_postfix_str("step")
    return stream.getvalue()


def test_a_bar_in_a_file_is_a_line_at_first_and_at_last_however_many_steps_there_are(monkeypatch):
    text = drawn(monkeypatch, io.StringIO())
    assert "\r" not in text and "\x1b" not in text
    first, last = text.splitlines()
    assert first.startswith("reading:   0%") and "1000/1000" in last


def test_a_bar_in_a_file_is_a_line_every_some_seconds(monkeypatch):
    monkeypatch.setattr("mmdiff.data.progress.SECONDS", 0)
    assert len(drawn(monkeypatch, io.StringIO()).splitlines()) > 500


def test_a_bar_on_a_terminal_is_redrawn_and_leaves_nothing_if_told_so(monkeypatch):
    text = drawn(monkeypatch, Terminal())
    assert text.count("\r") > 500 and text.endswith("\r") and "\n" not in text
