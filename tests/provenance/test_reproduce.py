"""A file is made again from its record and the model alone, bit for bit; where it is not, what differs is told."""

import json
import shutil

import pytest
import torch

import mmdiff
from mmdiff import Edit, Request
from mmdiff.cli import reproduce as command
from mmdiff.config.header import ModelFileError, read_header
from mmdiff.generation.reproduce import reproduce
from mmdiff.provenance import tags
from mmdiff.provenance.c2pa import C2pa
from mmdiff.provenance.record import NoRecord, read
from mmdiff.store import save_change, save_model
from tests.provenance.models import LABELS


def asked(modality, count):
    return [Request(seed=i, labels=LABELS[modality]) for i in range(count)]


def test_every_file_of_a_job_is_made_again_bit_for_bit(model, tmp_path):
    modality, file = model
    paths = mmdiff.load(file, device="cpu").save(asked(modality, 3), tmp_path)      # 3: rows of two kinds of rounding
    for path in paths:
        again = reproduce(path, file)
        assert again.equal and not again.changed and again.differs == [] and again.distance == 0


def test_a_file_whose_parts_several_processes_made_is_made_again(model, tmp_path):
    modality, file = model
    for part in (1, 0):
        pipeline = mmdiff.load(file, device="cpu")
        paths = pipeline.save(asked(modality, 4), tmp_path, batch_size=2, shard=(part, 2))
    assert all(reproduce(path, file).equal for path in paths)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".m4a"])
def test_a_file_alone_is_enough_where_its_format_holds_the_record(audio, tmp_path, suffix):
    (path,) = mmdiff.load(audio, device="cpu").save(asked("audio", 1), tmp_path / "a", suffix=suffix)
    alone = shutil.copy(path, tmp_path / f"renamed{suffix}")
    assert reproduce(alone, audio).equal
    assert read(alone)["id"] == json.loads(path.with_suffix(".json").read_text())["id"]


def test_a_file_that_was_renamed_with_its_json_and_one_whose_record_is_in_its_signature_are_made_again(
    model_of, tmp_path, keys
):
    own = C2pa(keys[0], str(keys[1]))
    (path,) = mmdiff.load(model_of("points"), device="cpu").save(asked("points", 1), tmp_path / "a")
    for ending in (".ply", ".json"):
        shutil.copy(path.with_suffix(ending), tmp_path / f"renamed{ending}")
    assert reproduce(tmp_path / "renamed.ply", model_of("points")).equal
    (tmp_path / "renamed.ply").write_bytes(b"another")
    with pytest.raises(NoRecord, match="has no record"):
        reproduce(tmp_path / "renamed.ply", model_of("points"))
    (film,) = mmdiff.load(model_of("video"), device="cpu").save(
        asked("video", 1), tmp_path / "b", suffix=".gif", provenance=own)
    assert reproduce(shutil.copy(film, tmp_path / "alone.gif"), model_of("video")).equal


def test_an_edit_is_made_again_from_the_file_that_it_names(model, tmp_path):
    modality, file = model
    pipeline = mmdiff.load(file, device="cpu")
    (start,) = pipeline.save(asked(modality, 1), tmp_path / "start")
    words = {"audio": {"mode": "inpaint", "hole": (0.05, 0.1)}, "video": {"mode": "extend", "keep": 2},
             "points": {"mode": "complete", "keep": 20}}[modality]
    (path,) = pipeline.save([Request(seed=5, edit=Edit(input=start, **words))], tmp_path / "edit")
    told = json.loads(path.with_suffix(".json").read_text())["edit"]
    assert told["input"] == start.name and len(told["input_sha256"]) == 64
    with pytest.raises(ValueError, match=rf"was made from {start.name} .*name it by input=FILE"):
        reproduce(path, file)
    assert reproduce(path, file, files={"input": start}).equal
    shutil.copy(start, path.parent)
    assert reproduce(path, file).equal, "beside it, it is found"
    shutil.copy(path, path.with_name(start.name))
    with pytest.raises(ValueError, match="is another file than the one"):
        reproduce(path, file)


def test_with_the_record_off_files_are_what_the_codec_writes(audio, tmp_path):
    pipeline = mmdiff.load(audio, device="cpu")
    (path,) = pipeline.save(asked("audio", 1), tmp_path, record=False)
    sample = dict(pipeline.run(asked("audio", 1), 1, show_progress=False))[0]
    plain = pipeline.model.codec.save(sample, tmp_path / "plain.wav")
    assert path.read_bytes() == plain.read_bytes() and tags.read(path) == {}
    assert reproduce(path, audio).equal, "by the JSON beside it"
    with pytest.raises(NoRecord, match=r"plain\.wav has no record: neither plain\.json beside it nor one in it"):
        reproduce(plain, audio)


def test_another_model_is_refused_by_step_and_hash_and_the_own_one_is_found_above(audio, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    file = shutil.copy(audio, run / "model.safetensors")
    (path,) = mmdiff.load(file, device="cpu").save(asked("audio", 1), run / "samples")
    assert reproduce(path).equal
    pipeline = mmdiff.load(file, device="cpu")
    save_model(pipeline.model, pipeline.header["config"], file, step=9)
    with pytest.raises(ModelFileError, match="made by a model of step 3 and hash .*, and .* is a model of step 9"):
        reproduce(path, file)
    with pytest.raises(ModelFileError, match="which is in no folder above it: name its run or file"):
        reproduce(path)


def test_a_change_that_was_added_is_asked_for_by_name(audio, tmp_path):
    header = read_header(audio)
    change = tmp_path / "change.safetensors"
    save_change({}, header["config"], change, base=audio, step=1, bases=[{"name": "a", "sha256": header["sha256"]}])
    (path,) = mmdiff.load(audio, lora={change: 0.5}, device="cpu").save(asked("audio", 1), tmp_path / "out")
    with pytest.raises(ModelFileError, match="made with the change .*: name its run or file by lora="):
        reproduce(path, audio)
    assert reproduce(path, audio, lora=[change]).equal


def test_what_differs_is_told_where_the_bits_do(audio, tmp_path, capsys):
    (path,) = mmdiff.load(audio, device="cpu").save(asked("audio", 1), tmp_path)
    sidecar = path.with_suffix(".json")
    facts = json.loads(sidecar.read_text())
    assert command.main([str(path), str(audio)]) == 0
    assert "is made again, the same in every bit" in capsys.readouterr().out
    sidecar.write_text(json.dumps({**facts, "torch": "2.0", "seed": 1, "stack": {**facts["stack"], "av": "1"}}))
    assert command.main([str(path), str(audio), f"out={tmp_path / 'new.wav'}"]) == 1
    said = capsys.readouterr().out
    assert "is not the same when it is made again" in said and "the samples differ by" in said
    assert f"torch was 2.0, and is {torch.__version__}" in said and "av was 1, and is" in said
    assert (tmp_path / "new.wav").exists()


def test_threads_are_those_of_the_record_and_are_set_back(audio, tmp_path):
    (path,) = mmdiff.load(audio, device="cpu").save(asked("audio", 1), tmp_path)
    torch.set_num_threads(2)
    assert reproduce(path, audio).differs == []
    assert torch.get_num_threads() == 2


def test_a_changed_file_is_told_and_is_no_file_of_its_job(audio, tmp_path, capsys):
    pipeline = mmdiff.load(audio, device="cpu")
    (path,) = pipeline.save(asked("audio", 1), tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert command.main([str(path), str(audio)]) == 1
    assert "was changed after it was made" in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="is there already, and was changed since it was made"):
        pipeline.save(asked("audio", 1), tmp_path)
    pipeline.save(asked("audio", 1), tmp_path, replace=True)
    assert reproduce(path, audio).equal


@pytest.mark.parametrize(("change", "text"), [
    ({"seed": "x"}, "seed is a whole number"), ({"batch_size": 10**9}, "batch_size is"),
    ({"labels": None}, "labels is"), ({"sampler": {"_target_": "os.system"}}, "refused"),
    ({"stack": 3}, "stack is a mapping"),
    ({"edit": {"mode": "extend", "input": "../../etc/passwd", "input_sha256": ""}}, "was made from passwd"),
    ({"edit": {"mode": "extend", "input": "x/..", "input_sha256": ""}}, "input names no file"),
    ({"controls": {"edges": "x"}}, "edges is a mapping"), ({"lora": [3]}, "lora is a list"),
    ({"provenance": "x"}, "provenance is a mapping"), ({"provenance": {"facts": [1]}, "id": 1}, "id is a text"),
])
def test_a_record_of_anybody_is_data(audio, tmp_path, change, text):
    (path,) = mmdiff.load(audio, device="cpu").save(asked("audio", 1), tmp_path)
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, **change}))
    with pytest.raises(ValueError, match=text):
        reproduce(path, audio)
