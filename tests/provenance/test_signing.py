"""Signatures: what is signed is recognised, what was changed too, and a certificate that may not sign is told first."""

import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import mmdiff
from mmdiff import Edit, Request
from mmdiff.cli import audit, check, sample
from mmdiff.config.build import ConfigError
from mmdiff.generation.reproduce import reproduce
from mmdiff.provenance import tags
from mmdiff.provenance.c2pa import C2pa
from mmdiff.provenance.record import NoRecord
from mmdiff.provenance.signatures import ASSERTION, FORMATS, context, signature
from mmdiff.provenance.signing import library
from tests.provenance.models import LABELS
from tests.provenance.test_tags import HELD, TEXT, written

BESIDE = (".ply", ".glb", ".obj", ".npz", ".xyz", ".pcd", ".webm", ".mkv", ".ogg", ".opus")
FACTS = {"id": "a", "model": "b", "labels": {"word": None, "pitch": 0.5}, "payload_sha256": "c"}


def signing(keys, **settings):
    return C2pa(keys[0], str(keys[1]), **settings)


def signed(folder, suffix, keys, parents=None):
    """A signed file of an ending, with what reads it; those that mmdiff does not write are made by FFmpeg."""
    path = folder / f"a{suffix}"
    if suffix in (".mov", ".avi"):
        written(folder / "film.mp4")
        subprocess.run(["ffmpeg", "-v", "error", "-i", folder / "film.mp4", "-c", "copy", path], check=True)
        load = path.stat                                             # only whether it is there
    else:
        load = written(path)
    tags.write(path, {tags.RECORD: TEXT})
    content = load()
    if (beside := signing(keys).sign(path, path.name, FACTS, parents or {})) is not None:
        Path(f"{path}.c2pa").write_bytes(beside)
    assert (beside is None) == (suffix in FORMATS)
    return path, load, content


@pytest.mark.parametrize("suffix", [*FORMATS, *BESIDE])
def test_what_is_signed_is_trusted_with_its_root_and_a_changed_byte_anywhere_is_told(tmp_path, keys, suffix):
    if suffix in (".mov", ".avi") and shutil.which("ffmpeg") is None:
        pytest.skip("mmdiff writes no such files, and there is no ffmpeg to make one")
    path, load, content = signed(tmp_path, suffix, keys)
    assert signature(path).state == "unknown"
    found = signature(path, keys[2])
    assert (found.state, found.source, found.record) == ("trusted", "trainedAlgorithmicMedia", FACTS)
    assert found.signer.startswith("Anna (for development")
    if isinstance(content, torch.Tensor):
        assert torch.equal(load(), content)
    assert tags.read(path) == ({tags.RECORD: TEXT} if suffix in HELD | {".mov"} else {})
    random = np.random.default_rng(0)
    whole, store = path.read_bytes(), within(path.read_bytes()) if suffix in FORMATS else range(0)
    places = [place for place in random.integers(0, len(whole), 30).tolist() if place not in store]
    for place in [0, len(whole) - 1, *places]:
        changed = bytearray(whole)
        changed[place] ^= 1 << random.integers(8)
        path.write_bytes(changed)
        assert signature(path, keys[2]).state in ("changed", "unsigned"), f"byte {place}"
    path.write_bytes(whole[: len(whole) // 2])
    assert signature(path, keys[2]).state in ("changed", "unsigned")


def within(data):
    """Where the signature is in a file, a box ``jumb``; in GIF it is in pieces of 255 bytes."""
    start = data.index(b"jumb") - 4
    size = int.from_bytes(data[start : start + 4], "big")
    return range(start - 64, start + size + size // 254 + 64)


@pytest.mark.parametrize("suffix", [".wav", ".ply"])
def test_a_changed_byte_of_a_signature_is_told_or_changes_nothing_that_it_says(tmp_path, keys, suffix):
    """C2PA leaves some bytes of its own boxes free; what they hold is shown nowhere."""
    path, *_ = signed(tmp_path, suffix, keys)
    file = path if suffix in FORMATS else Path(f"{path}.c2pa")
    whole, said, states = file.read_bytes(), signature(path, keys[2]), []
    place = within(whole) if suffix in FORMATS else range(len(whole))
    for i in place[::17]:
        changed = bytearray(whole)
        changed[min(i, len(whole) - 1)] ^= 1
        file.write_bytes(changed)
        found = signature(path, keys[2])
        states.append(found.state)
        assert found == said or found.state in ("changed", "unsigned", "unknown"), i
    assert states.count("changed") > 0.5 * len(states)


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".m4a", ".mp4", ".gif", ".png"])
@pytest.mark.parametrize("ending", ["", ".download", ".ply", ".jpg"])
def test_a_signed_file_is_told_whatever_it_is_called(tmp_path, keys, suffix, ending):
    path, *_ = signed(tmp_path, suffix, keys)
    other = Path(shutil.copy(path, tmp_path / f"other{ending}"))
    assert signature(other, keys[2]).state == "trusted"
    other.write_bytes(other.read_bytes()[:-50] + bytes(50))
    assert signature(other, keys[2]).state == "changed"


def test_a_file_of_another_program_and_none_at_all(tmp_path, keys, capsys):
    path = tmp_path / "a.png"
    written(path)
    assert check.main([str(path)]) == 4
    assert "  signature  unsigned\n" in capsys.readouterr().out
    for name in ("a.wav", "a.mp4", "a.jpg", "a.ply"):
        shutil.copy(path, tmp_path / name)
        assert signature(tmp_path / name).state == "unsigned", "a file that is not of the format of its ending"
    c2pa = library("c2pa")
    builder = c2pa.Builder({"claim_generator_info": [{"name": "another"}], "title": "x"}, context())
    builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
    with path.open("rb") as source, (tmp_path / "b.png").open("w+b") as made:
        builder.sign(signing(keys)._signer, "image/png", source, made)
    assert check.main([str(tmp_path / "b.png")]) == 3
    said = capsys.readouterr().out
    assert "signed by Anna (for development" in said and "source digitalCapture" in said and ASSERTION not in said
    assert check.main([str(tmp_path / "b.png"), f"trust={keys[2]}"]) == 0
    assert check.main([str(tmp_path / "b.png"), str(path), f"trust={keys[2]}"]) == 4, "the worst of several"
    with pytest.raises(ConfigError, match="holds no certificates in PEM"):
        check.main([str(path), f"trust={keys[1]}"])
    with pytest.raises(ConfigError, match="there is no file"):
        check.main([str(tmp_path / "none.png")])


def test_a_job_signs_every_file_and_its_pictures_and_leaves_the_payload_as_it_is(audio, tmp_path, keys, capsys):
    pipeline, own = mmdiff.load(audio, device="cpu"), signing(keys)
    requests = [Request(seed=i, labels=LABELS["audio"]) for i in range(2)]
    plain = pipeline.save(requests, tmp_path / "plain")
    paths = pipeline.save(requests, tmp_path / "out", provenance=own)
    for path, other in zip(paths, plain, strict=True):
        facts, unsigned = (json.loads(p.with_suffix(".json").read_text()) for p in (path, other))
        assert facts["payload_sha256"] == unsigned["sha256"] and facts["sha256"] != unsigned["sha256"]
        found = signature(path, keys[2])
        assert found.state == "trusted" and found.record["payload_sha256"] == facts["payload_sha256"]
        assert found.record["model"] == pipeline.header["sha256"]
        assert check.main([str(path), f"trust={keys[2]}"]) == 0 and reproduce(path, audio).equal
        alone = shutil.copy(path, tmp_path / path.name)
        assert reproduce(alone, audio).equal, "the signature has the hash of the payload"
    for picture in pipeline.pictures(requests, paths, tmp_path / "out", provenance=own):
        assert signature(picture, keys[2]).state == "trusted"
    before = [path.read_bytes() for path in paths]
    assert pipeline.save(requests, tmp_path / "out", provenance=own) == paths
    assert [path.read_bytes() for path in paths] == before, "what is signed is not signed again"
    with pytest.raises(FileExistsError, match="made with another provenance"):
        pipeline.save(requests, tmp_path / "plain", provenance=own)
    capsys.readouterr()


def test_a_signature_beside_a_file_goes_and_comes_with_it(points, tmp_path, keys):
    pipeline, own = mmdiff.load(points, device="cpu"), signing(keys)
    (path,) = pipeline.save([Request(labels=LABELS["points"])], tmp_path, provenance=own)
    beside = Path(f"{path}.c2pa")
    assert signature(path, keys[2]).state == "trusted"
    beside.unlink()
    with pytest.raises(FileExistsError, match="has lost its signature"):
        pipeline.save([Request(labels=LABELS["points"])], tmp_path, provenance=own)
    pipeline.save([Request(labels=LABELS["points"])], tmp_path, provenance=own, replace=True)
    assert signature(path, keys[2]).state == "trusted"
    pipeline.save([Request(seed=1, name=path.stem)], tmp_path, replace=True)
    assert not beside.exists() and signature(path).state == "unsigned"


@pytest.mark.parametrize("modality", ["audio", "points"])
def test_what_was_edited_names_its_parent_and_keeps_the_chain(request, tmp_path, keys, modality):
    pipeline, own = mmdiff.load(request.getfixturevalue(modality), device="cpu"), signing(keys)
    (start,) = pipeline.save([Request(labels=LABELS[modality])], tmp_path / "a", provenance=own)
    edit = Edit("inpaint", start, hole=(0.05, 0.1)) if modality == "audio" else Edit("complete", start, keep=20)
    (path,) = pipeline.save([Request(edit=edit)], tmp_path / "b", provenance=own)
    found = signature(path, keys[2])
    assert (found.state, found.parents) == ("trusted", (start.name,))
    assert found.source == "compositeWithTrainedAlgorithmicMedia"
    c2pa = library("c2pa")
    beside = [] if path.suffix in FORMATS else [Path(f"{path}.c2pa").read_bytes()]
    with path.open("rb") as file:
        store = json.loads(c2pa.Reader(FORMATS.get(path.suffix, "application/octet-stream"), file, *beside,
                                       context=context()).json())
    assert len(store["manifests"]) == 2, "that of the parent is in it"


def test_labels_stand_in_files_as_their_hash_alone_where_that_is_asked_for(audio, tmp_path, keys):
    pipeline = mmdiff.load(audio, device="cpu")
    (path,) = pipeline.save([Request(labels=LABELS["audio"])], tmp_path, provenance=signing(keys, facts="hash"))
    assert b"blown" not in path.read_bytes() and "labels" not in signature(path).record
    assert len(tags.read(path)[tags.RECORD]) > 100 and len(signature(path).record["labels_sha256"]) == 64
    assert json.loads(path.with_suffix(".json").read_text())["labels"] == LABELS["audio"]
    assert reproduce(path, audio).equal
    with pytest.raises(NoRecord, match="tells its labels by their hash alone"):
        reproduce(shutil.copy(path, tmp_path / "alone.wav"), audio)


def test_the_label_of_gb_45438_is_written_where_a_format_has_a_place(audio, tmp_path, keys):
    pipeline, own = mmdiff.load(audio, device="cpu"), signing(keys, aigc="Studio 7")
    (path,) = pipeline.save([Request()], tmp_path / "a", suffix=".mp3", provenance=own)
    label = json.loads(tags.read(path)["AIGC"])
    assert (label["Label"], label["ContentProducer"]) == ("1", "Studio 7")
    assert label["ProduceID"] == json.loads(path.with_suffix(".json").read_text())["id"]
    assert signature(path, keys[2]).state == "trusted" and reproduce(path, audio).equal
    with pytest.raises(ConfigError, match=r"provenance.aigc=Studio 7: \.wav has no place for that label"):
        pipeline.save([Request()], tmp_path / "b", provenance=own)
    assert not (tmp_path / "b").exists()


def test_a_key_is_named_and_never_kept(audio, tmp_path, keys, monkeypatch, capsys):
    secret = keys[1].read_text()
    monkeypatch.setenv("SIGN_WITH", secret)
    words = [str(audio), "device=cpu", "provenance=c2pa", f"provenance.certificate={keys[0]}"]
    assert sample.main([*words, "provenance.key=env:SIGN_WITH", f"out={tmp_path / 'out'}"]) == 0
    assert sample.main([*words, "provenance.key=env:SIGN_WITH", "--cfg"]) == 0
    said = capsys.readouterr().out
    line = secret.splitlines()[1]
    assert "env:SIGN_WITH" in said and line not in said
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert len(files) >= 4 and not any(line.encode() in path.read_bytes() for path in files)
    with pytest.raises(ConfigError, match="not the key itself") as caught:
        C2pa(keys[0], secret).check(".wav")
    assert line not in str(caught.value)
    with pytest.raises(ConfigError, match="has a name or password in it") as caught:
        C2pa(keys[0], str(keys[1]), tsa="http://anna:hunter2@stamps/")
    assert "hunter2" not in str(caught.value)
    for key, text in (("env:NOT_SET", "no such variable"), (tmp_path / "no.pem", "cannot be read"),
                      (keys[0], "no private key in PEM: it cannot be read")):
        with pytest.raises(ConfigError, match=text):
            C2pa(keys[0], str(key)).check(".wav")


def test_every_layer_works_where_no_socket_can_be_opened(model, tmp_path, keys, monkeypatch, capsys):
    modality, file = model
    monkeypatch.setenv("MINE", "letters that nobody guesses")
    monkeypatch.setattr(socket, "socket", None)
    (tmp_path / "rules.yaml").write_text("require: [provenance, audit, mark, record]")
    mark = {"_target_": "mmdiff.marks.latent.LatentMark", "secret": "env:MINE"}
    pipeline = mmdiff.load(file, device="cpu", mark=mark)
    requests = [Request(labels=LABELS[modality])]
    paths = pipeline.save(requests, tmp_path / "out", provenance=signing(keys), audit=tmp_path / "log",
                          policy=tmp_path / "rules.yaml")
    pipeline.pictures(requests, paths, tmp_path / "out", provenance=signing(keys))
    words = [f"trust={keys[2]}", f"audit={tmp_path / 'log'}", f"model={file}", "secret=env:MINE"]
    assert check.main([str(paths[0]), *words]) == 0
    said = capsys.readouterr().out
    assert "latent: z " in said and "signs: z " in said and ", row 1, by " in said
    assert audit.main(["verify", str(tmp_path / "log"), f"trust={keys[2]}"]) == 0
    assert reproduce(paths[0], file).equal


def test_nothing_goes_to_the_network(tmp_path, keys, monkeypatch):
    """Neither by Python, where sockets are blocked, nor by the library, of which a server would see it."""
    calls = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            calls.append(1)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    path = tmp_path / "a.png"
    written(path)
    builder = library("c2pa").Builder({"claim_generator_info": [{"name": "another"}]}, context())
    builder.set_intent(*(getattr(library("c2pa"), name).CREATE for name in ("C2paBuilderIntent",)),
                       library("c2pa").C2paDigitalSourceType.DIGITAL_CAPTURE)
    builder.set_remote_url(f"{url}/manifest.c2pa")
    builder.set_no_embed()
    with path.open("rb") as source, (tmp_path / "b.png").open("w+b") as made:
        builder.sign(signing(keys)._signer, "image/png", source, made)
    with monkeypatch.context() as blocked:
        blocked.setattr(socket, "socket", None)
        signing(keys).check(".png")
        signing(keys).sign(path, "a.png", FACTS, {})
        assert signature(path, keys[2]).state == "trusted"
        assert signature(tmp_path / "b.png").state in ("unsigned", "changed"), "what it refers to is not asked for"
    assert calls == []
    with pytest.raises(ConfigError, match=f"does not sign with provenance.tsa={url}"):
        signing(keys, tsa=url).check(".png")
    assert calls, "a time stamp is asked for where a server is named, before anything is generated"
    server.close()
