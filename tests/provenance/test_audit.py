"""The log: whatever is done to it afterwards is told, and so is what a policy refuses."""

import getpass
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

import mmdiff
from mmdiff import Request
from mmdiff.cli import audit as command
from mmdiff.cli import check
from mmdiff.config.build import ConfigError
from mmdiff.marks.ledger import read_ledger
from mmdiff.provenance.audit import Refused, chain, chains, hash_of
from mmdiff.provenance.c2pa import C2pa
from mmdiff.provenance.certificates import new
from mmdiff.provenance.policy import Policy
from mmdiff.provenance.record import digest
from mmdiff.provenance.signatures import signature
from mmdiff.provenance.verify import verified
from tests.provenance.models import LABELS


@pytest.fixture
def log(tmp_path):
    """A chain of seven rows."""
    with chain(tmp_path / "log", who="Anna", model="m") as rows:
        for i in range(5):
            rows.row("file", seed=i, payload_sha256=f"{i}")
    return rows.path


def changed(log, change):
    """What is found after ``change`` of the list of lines."""
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(change(lines)))
    return verified(log)


def forged(line, **facts):
    """A row with other facts, and the hash that is right for them."""
    row = {**json.loads(line), **facts}
    return json.dumps({**row, "hash": hash_of(row)}) + "\n"


def test_a_log_that_nobody_touched_is_whole(log):
    found = verified(log)
    assert (found.state, found.faults, len(found.rows)) == ("whole", [], 7)
    assert [row["kind"] for row in found.rows] == ["start", *["file"] * 5, "end"]
    assert {row["who"] for row in found.rows} == {"Anna"}


@pytest.mark.parametrize(("change", "fault"), [
    (lambda rows: [*rows[:3], rows[3].replace('"seed": 2', '"seed": 9'), *rows[4:]], "row 3 was changed"),
    (lambda rows: [*rows[:3], forged(rows[3], seed=9), *rows[4:]], "row 4 does not follow the row before it"),
    (lambda rows: rows[:3] + rows[4:], "row 3 was deleted"),
    (lambda rows: rows[:2] + rows[5:], "rows 2 to 4 were deleted"),
    (lambda rows: rows[1:], "row 0 was deleted"),
    (lambda rows: [*rows[:3], forged(rows[2], seed=7), *rows[3:]], "row 2 is out of order, or inserted"),
    (lambda rows: [*rows[:3], rows[4], rows[3], *rows[5:]], "row 4 is out of order, or inserted"),
    (lambda rows: [*rows[:3], "{}\n", *rows[3:]], "line 4 is no row"),
    (lambda rows: [*rows[:3], rows[3].replace('"seed"', '"seed": 9, "seed"'), *rows[4:]], "row 3 was changed: its"),
    (lambda rows: [*rows[:3], rows[3].replace(": ", ":  "), *rows[4:]], "row 3 was changed: its line"),
    (lambda rows: [*rows[:6], forged(rows[6], n=10**12)], "rows 6 to 999999999999 were deleted"),
    (lambda rows: [*rows[:3], *rows[2:]], "row 2 is out of order, or inserted"),
])
def test_a_row_that_was_edited_deleted_inserted_or_swapped_is_told_by_its_number(log, change, fault):
    found = changed(log, change)
    assert found.state == "changed" and any(fault in one for one in found.faults), found.faults


def test_a_cut_tail_leaves_a_log_without_an_end(log):
    found = changed(log, lambda rows: rows[:4])
    assert found.state == "open"
    assert found.faults == ["it has no end: the job was stopped, or goes on, or rows were cut off"]


def test_wherever_a_writer_was_killed_the_log_is_open_and_its_whole_rows_are_read(log):
    whole = log.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in [len(whole) * i // 100 for i in range(100)]:
        log.write_bytes(whole[:size])
        found = verified(log)
        assert found.state == "open" and len(found.rows) == sum(end <= size for end in ends)
        assert ("half written" in found.faults[0]) == (size not in [0, *ends])


def test_a_writer_that_is_killed_at_100_moments_leaves_rows_that_hold_together(tmp_path):
    for i in range(100):
        heard, told = os.pipe()
        if (child := os.fork()) == 0:
            with chain(tmp_path) as rows:
                while True:
                    rows.row("file", seed=1)
                    os.write(told, b".")
        for _ in range(i % 5):                                        # so many rows are there, and more are on the way
            os.read(heard, 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(heard)
        os.close(told)
    found = [verified(path) for path in chains(tmp_path)]
    assert len(found) >= 80 and {one.state for one in found} == {"open"}
    assert sum(len(one.rows) for one in found) >= 20 * (2 + 3 + 4 + 5)


def test_a_cut_or_forged_log_is_told_by_its_signature_and_by_the_files_that_name_it(audio, tmp_path, keys, capsys):
    own = C2pa(keys[0], str(keys[1]))
    pipeline = mmdiff.load(audio, device="cpu")
    requests = [Request(seed=i, labels=LABELS["audio"]) for i in range(2)]
    paths = pipeline.save(requests, tmp_path / "out", provenance=own, audit=tmp_path / "log", who="customer 7")
    (log,) = chains(tmp_path / "log")
    assert signature(log, keys[2]).state == "trusted" and signature(log).source == "dataDrivenMedia"
    assert command.main(["verify", str(log.parent), f"trust={keys[2]}"]) == 0
    assert "whole, 4 rows, signed by Anna (for development, vouched for by nobody), trusted" in capsys.readouterr().out
    for path in paths:
        assert signature(path).record["audit"]["chain"] == log.name
        assert command.main(["find", str(log.parent), str(path), f"trust={keys[2]}"]) == 0
    assert "row 2, by its signature, of Anna" in (said := capsys.readouterr().out) and "for customer 7" in said
    assert [row["seed"] for row in read_ledger(log.parent)] == [0, 1], "it is a ledger of marks too"
    assert check.main([str(paths[0]), f"trust={keys[2]}", f"audit={log.parent}"]) == 0
    assert f"log        {log.name}, row 1, by its signature, of Anna" in capsys.readouterr().out
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:2]) + forged(lines[3], n=2, previous=json.loads(lines[1])["hash"]))
    assert verified(log).state == "changed", "a log that was cut and ended again"
    Path(f"{log}.c2pa").unlink()
    assert verified(log).state == "whole", "which nothing in it tells by itself"
    assert command.main(["find", str(log.parent), str(paths[1])]) == 5
    assert "has no row 2 of that hash: it was changed, or cut off" in capsys.readouterr().out
    assert check.main([str(paths[1]), f"trust={keys[2]}", f"audit={log.parent}"]) == 5
    log.rename(log.with_name("other.jsonl"))
    assert command.main(["find", str(log.parent), str(paths[0])]) == 5
    assert "which is not there" in capsys.readouterr().out


def test_an_unsigned_file_is_found_by_its_bytes_and_another_is_not(points, tmp_path, capsys):
    pipeline = mmdiff.load(points, device="cpu")
    (path,) = pipeline.save([Request(seed=4)], tmp_path / "out", audit=tmp_path / "log")
    assert command.main(["find", str(tmp_path / "log"), str(path)]) == 0
    assert "seed 4" in capsys.readouterr().out
    alone = tmp_path / "alone.ply"
    alone.write_bytes(path.read_bytes())
    assert command.main(["find", str(tmp_path / "log"), str(alone)]) == 0
    alone.with_suffix(".json").write_text(json.dumps({"file": "alone.ply", "payload_sha256": [1], "audit": 3}))
    assert command.main(["find", str(tmp_path / "log"), str(alone)]) == 0, "what is beside a file is data of anybody"
    alone.write_bytes(path.read_bytes() + b"\0")
    assert command.main(["find", str(tmp_path / "log"), str(alone)]) == 4
    assert command.main(["verify", str(tmp_path / "log")]) == 0
    pipeline.save([Request(seed=4)], tmp_path / "out", audit=tmp_path / "log")
    assert [len(verified(log).rows) for log in chains(tmp_path / "log")] == [3, 2], "nothing is made twice"
    for words, text in ((["verfy"], "did you mean 'verify'"), (["find", "x"], "say what to look at"),
                        (["verify", str(tmp_path)], "holds no log")):
        with pytest.raises(ConfigError, match=text):
            command.main(words)


def test_who_signs_a_log_again_or_claims_its_rows_for_another_file_is_not_believed(audio, tmp_path, keys, capsys):
    pipeline, log = mmdiff.load(audio, device="cpu"), tmp_path / "log"
    (path,) = pipeline.save([Request()], tmp_path / "out", provenance=C2pa(keys[0], str(keys[1])), audit=log)
    stranger = new(tmp_path / "stranger", "Anna")
    other, (rows,) = C2pa(stranger[0], str(stranger[1])), chains(log)
    facts = json.loads(path.with_suffix(".json").read_text())
    fake = tmp_path / "fake.wav"
    pipeline.model.codec.save(torch.zeros(1, 2000), fake)
    fake.with_suffix(".json").write_text(json.dumps({**facts, "file": fake.name}))
    assert command.main(["find", str(log), str(fake)]) == 4, "a JSON that is not of these bytes says nothing of them"
    fake.with_suffix(".json").write_text(json.dumps({**facts, "file": fake.name, "sha256": digest(fake)}))
    assert command.main(["find", str(log), str(fake)]) == 3
    assert "row 1, by the JSON beside it, for which nobody vouches: " in capsys.readouterr().out
    other.sign(fake, fake.name, facts, {})
    assert command.main(["find", str(log), str(fake), f"trust={keys[2]}"]) == 3
    assert "of Anna (for development, vouched for by nobody), who is unknown here" in capsys.readouterr().out
    assert command.main(["find", str(log), str(path), f"trust={keys[2]}"]) == 0
    assert command.main(["verify", str(log)]) == command.main(["verify", str(log), f"trust={keys[2]}"]) == 0
    Path(f"{rows}.c2pa").write_bytes(other.sign(rows, rows.name, {}, {}, generated=False))
    assert command.main(["verify", str(log), f"trust={keys[2]}"]) == 3
    Path(f"{rows}.c2pa").unlink()
    assert command.main(["verify", str(log), f"trust={keys[2]}"]) == 3 and command.main(["verify", str(log)]) == 0


def test_a_log_needs_no_library_of_signatures_no_name_of_the_user_and_no_folder_of_its_own(
    points, tmp_path, monkeypatch, capsys
):
    def unknown():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    monkeypatch.setattr("mmdiff.provenance.verify.find_spec", lambda name: None)
    (path,) = mmdiff.load(points, device="cpu").save([Request()], tmp_path, audit=tmp_path)
    assert command.main(["verify", str(tmp_path)]) == 0, "the list of a job's files is no log"
    assert command.main(["find", str(tmp_path), str(path)]) == 0
    assert "row 1, by its bytes: " in (said := capsys.readouterr().out) and f"for user {os.getuid()}, id" in said


def test_a_job_that_fails_says_so_in_the_log(points, tmp_path):
    pipeline = mmdiff.load(points, device="cpu")
    with pytest.raises(ValueError, match="have no seconds="):
        pipeline.save([Request(size={"seconds": 3})], tmp_path / "out", audit=tmp_path / "log")
    (log,) = chains(tmp_path / "log")
    assert verified(log).state == "whole" and verified(log).rows[-1]["kind"] == "failed"
    with pytest.raises(ValueError, match="colour"):
        pipeline.save([Request(labels={"colour": "red"})], tmp_path / "out", audit=tmp_path / "other")
    (other,) = chains(tmp_path / "other")
    assert "colour" in verified(other).rows[-1]["reason"], "what a model does not know is asked for too"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="audit=.*file cannot be written to"):
        pipeline.save([Request()], tmp_path / "out", audit=tmp_path / "file")


RULES = """
refuse: {fields: [pitch], labels: {instrument: ["bl*"], "*": [PLUCKED]}}
largest_n: 2
require: [audit, record]
"""


@pytest.mark.parametrize(("labels", "n", "settings", "reason"), [
    ({"pitch": 60.0}, 1, {}, "request 1 tells pitch, which nobody may"),
    ({"instrument": "blown"}, 1, {}, r"request 1 asks for instrument 'blown', which 'bl\*' refuses"),
    ({"instrument": "plucked"}, 1, {}, ".* 'plucked', which 'PLUCKED' refuses"),
    ({}, 3, {}, "3 samples are asked for, and 2 at most are made"), ({}, 1, {"record": False}, "record= must be on"),
])
def test_what_a_policy_refuses_is_told_in_a_line_and_logged_and_nothing_is_made(
    audio, tmp_path, labels, n, settings, reason
):
    pipeline, rules = mmdiff.load(audio, device="cpu"), tmp_path / "rules.yaml"
    rules.write_text(RULES)
    pipeline.prepare = None                                           # nothing is generated
    asked = [Request(seed=i, labels=labels) for i in range(n)]
    with pytest.raises(Refused, match=f"^refused by rules.yaml: {reason}"):
        pipeline.save(asked, tmp_path / "out", audit=tmp_path / "log", policy=rules, **settings)
    (log,) = chains(tmp_path / "log")
    last = verified(log).rows[-1]
    assert last["kind"] == "refused" and "refused by rules.yaml" in last["reason"] and not (tmp_path / "out").exists()


def test_the_log_of_a_refused_job_is_signed_as_any(points, tmp_path, keys):
    pipeline = mmdiff.load(points, device="cpu")
    (tmp_path / "rules.yaml").write_text("largest_n: 1")
    with pytest.raises(Refused):
        pipeline.save([Request(), Request(seed=1)], tmp_path / "out", audit=tmp_path / "log",
                      policy=tmp_path / "rules.yaml", provenance=C2pa(keys[0], str(keys[1])))
    (log,) = chains(tmp_path / "log")
    assert verified(log, keys[2]).signer.state == "trusted" and verified(log).rows[-1]["kind"] == "refused"


def test_what_a_policy_allows_is_made_and_layers_that_it_requires_must_be_on(audio, tmp_path):
    pipeline, rules = mmdiff.load(audio, device="cpu"), tmp_path / "rules.yaml"
    rules.write_text(RULES)
    with pytest.raises(Refused, match="audit= must be on"):
        pipeline.save([Request()], tmp_path / "out", policy=rules)
    pipeline.save([Request(labels={"instrument": "struck"})], tmp_path / "out", audit=tmp_path / "log", policy=rules)
    (log,) = chains(tmp_path / "log")
    assert verified(log).rows[0]["policy"] == Policy(rules).sha256
    rules.write_text("require: [provenance, mark]")
    with pytest.raises(Refused, match="provenance= must be on"):
        pipeline.save([Request()], tmp_path / "out", policy=rules)


@pytest.mark.parametrize(("refused", "label"), [
    ("60", 60.0), ("60", 60), ("60.0", 60), ("60.0", 60.0), ("6?.5", 62.5),
    ("weapon", "\uff37\uff45\uff41\uff50\uff4f\uff4e"), ("strasse", "STRA\u00dfE"),
])
def test_a_label_is_refused_however_it_is_written_and_also_where_guidance_leads_away_from_it(tmp_path, refused, label):
    (tmp_path / "rules.yaml").write_text(f"refuse: {{labels: {{a: ['{refused}']}}, fields: [b]}}")
    rules = Policy(tmp_path / "rules.yaml")
    rules.check([Request(labels={"a": "another", "c": label})], ())
    for asked in (Request(labels={"a": label}), Request(negative={"a": label}), Request(negative={"b": 1.0})):
        with pytest.raises(Refused, match="^refused by rules.yaml: request 1 "):
            rules.check([asked], ())


def test_a_rule_for_a_field_that_a_model_has_not_is_told(audio, tmp_path, capsys):
    (tmp_path / "rules.yaml").write_text("refuse: {fields: [pich], labels: {'*': [x], pitch: ['70']}}")
    mmdiff.load(audio, device="cpu").save([Request()], tmp_path / "out", policy=tmp_path / "rules.yaml")
    assert "rules.yaml has rules for pich, which this model is not told\n" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "reason"), [
    ("refuze: {}", "no rule 'refuze'; did you mean 'refuse'"),
    ("largest_n: 0", "largest_n is a whole number, at least 1"),
    ("require: [prov]", "require is a list"), ("refuse: {labels: [x]}", "labels is a mapping"), ("[a", "cannot read"),
    ("refuse: {label: {}}", "no rule 'label'"), ("${oc.env:HOME}: 1", "refused|cannot read|no rule"),
])
def test_a_mistake_in_a_policy_is_told(tmp_path, text, reason):
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        Policy(tmp_path / "rules.yaml")
