"""Folders of anybody - checkpoints, caches, generated files, embedders - are data, too: a line, and nothing acts."""

import json
import os
import pickle
import zlib

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex

from mmdiff.adapters.points.judge import PointJudge
from mmdiff.cache.latents import Latents
from mmdiff.cache.originals import uncached
from mmdiff.cache.shards import Shards
from mmdiff.config.build import ConfigError
from mmdiff.config.record import read_record
from mmdiff.evaluation.embedders.embedder import Embedder, load_embedder
from mmdiff.generation.job import listed
from mmdiff.generation.outputs import Output
from mmdiff.metrics.folder import generated
from mmdiff.training.checkpoints import latest


class Program:
    """What a pickle runs when it is read."""

    def __reduce__(self):
        return os.system, ("touch victim",)


def sharded(folder, *, metadata=None, part="__0_0.distcp", data=b""):
    """A sharded checkpoint with one entry that is no tensor."""
    folder.mkdir(parents=True)
    torch.save({"global_step": 4}, folder / "meta.pt")
    (folder / "__0_0.distcp").write_bytes(data)
    info = _StorageInfo(part, 0, len(data))
    told = Metadata({"x": BytesStorageMetadata()}, storage_data={MetadataIndex("x"): info})
    (folder / ".metadata").write_bytes(pickle.dumps(told if metadata is None else metadata))


def plain(value, tmp_path):
    torch.save(value, tmp_path / "value")
    return (tmp_path / "value").read_bytes()


def test_a_sharded_checkpoint_runs_nothing_and_has_its_parts_in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = plain([1, (2.0, "x")], tmp_path)
    sharded(tmp_path / "good" / "step-000000004.ckpt", data=good)
    assert latest(tmp_path / "good")[1] == 4
    (tmp_path / "outside").write_bytes(good)
    for name, told in {
        "its table": {"metadata": Program()}, "an entry": {"data": plain(Program(), tmp_path)},
        "a list": {"metadata": [1]}, "elsewhere": {"data": good, "part": str(tmp_path / "outside")},
        "above": {"data": good, "part": "../../outside"}, "before its beginning": {"data": good, "part": "meta.pt/.."},
    }.items():
        sharded(tmp_path / name / "step-000000004.ckpt", **told)
        with pytest.raises(ConfigError, match="no checkpoint in .* can be read") as error:
            latest(tmp_path / name)
        assert "\n" not in str(error.value) and not (tmp_path / "victim").exists(), name


CRC = zlib.crc32(bytes(32))
ITEM = {"name": "a", "column": {}, "shape": None, "size": {"seconds": 1.0}, "places": [[0, 0, 32, [2, 4], CRC]]}
INDEX = {
    "format": 2, "settings": {"dtype": "float32"}, "fields": {}, "data": {"_target_": "mmdiff.cache.latents.Latents"},
    "source": {}, "skipped": [], "shards": ["a.latents"], "items": [ITEM],
}


def cache(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "a.latents").write_bytes(bytes(32))
    (folder / "index.json").write_text(json.dumps({**INDEX, **changes}))
    return Latents(None, str(folder))


@pytest.mark.parametrize("changes", [
    {"shards": ["../secret.latents"]}, {"shards": ["/etc/x.latents"]}, {"shards": [3]}, {"shards": "x"},
    {"shards": ["http://127.0.0.1:9/a.latents"]}, {"shards": ["passwd"]}, {"items": {}}, {"items": [3]},
    {"items": [{**ITEM, "places": [[0, -32, 0, [2, 4], CRC]]}]},
    {"items": [{**ITEM, "places": [[7, 0, 32, [2, 4], CRC]]}]},
    {"items": [{**ITEM, "places": [[-1, 0, 32, [2, 4], CRC]]}]}, {"items": [{**ITEM, "places": []}]},
    {"items": [{**ITEM, "places": [[0, 0, 32, [2, 10**12], CRC]]}]},
    {"items": [{**ITEM, "places": [[0, 0, 32, 8, CRC]]}]},
    {"items": [{**ITEM, "places": [[0, 0, 32, [-2, -4], CRC]]}]}, {"items": [{**ITEM, "size": 3}]}, {"settings": {}},
    {"items": [{**ITEM, "shape": [2.5]}]}, {"settings": {"dtype": "object"}}, {"format": 9}, {"format": 1},
    {"fields": None}, {"data": 1}, {"items": [{**ITEM, "places": [[0, 0, 32, [2, 4], "0"]]}]},
], ids=str)
def test_an_index_of_latents_leads_nowhere_and_asks_for_no_more_than_it_has(changes, tmp_path):
    (tmp_path / "secret.latents").write_bytes(bytes(32))
    assert cache(tmp_path / "cache").read(0)[0].shape == (2, 4)
    with pytest.raises(ValueError, match=r"index\.json") as error:
        cache(tmp_path / "cache", **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": 1}', "\0"], ids=lambda t: t[:9])
def test_an_index_that_is_none_is_told(text, tmp_path):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json (is damaged|is no index)"):
        Latents(None, str(tmp_path))


def test_a_cache_is_not_of_another_cache_which_could_be_at_any_url(tmp_path):
    data = {"_target_": "mmdiff.cache.latents.Latents", "root": "http://127.0.0.1:9/x"}
    with pytest.raises(ConfigError, match="is encoded already"):
        uncached(cache(tmp_path, data=data), None)
    with pytest.raises(ConfigError, match="refused"):
        uncached(cache(tmp_path, data={"_target_": "os.system", "command": "x"}), None)


def test_a_shard_that_is_no_shard_is_not_used(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "a.latents")
    (tmp_path / "b.latents").write_bytes(b"\x02" + bytes(7) + b"[]" + bytes(9))
    save_file({"x": torch.zeros(2)}, tmp_path / "c.latents", {"mmdiff": "[]"})
    assert Shards(str(tmp_path), limit=1).locations == {}


@pytest.mark.parametrize("facts", [
    None, "[]", "{", "{}", json.dumps({"judge": "audio"}), "[" * 100_000,
    {"settings": {"depth": 10}}, {"fields": {"a": 3}}, {"fields": {"who": [["a"], "b", 1]}},
    {"settings": {"sample_rate": "x"}},
    {"fields": {"who": ["a", "b", "c"]}}, {"judge": "taste"},
], ids=lambda facts: str(facts)[:30])
def test_an_embedder_of_anybody_is_refused_in_a_line(facts, tmp_path):
    path = tmp_path / "embedder.safetensors"
    Embedder(PointJudge(), {"who": ["a", "b"]}).save(path, {})
    assert load_embedder(path, judge=PointJudge()).facts["fields"] == {"who": ["a", "b"]}
    model = Embedder(PointJudge(), {"who": ["a", "b"]})
    model.save(path, {})
    text = json.dumps({**model.facts, **facts}) if isinstance(facts, dict) else facts
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path,
              None if text is None else {"embedder": text})
    with pytest.raises(ValueError, match=r"embedder\.safetensors") as error:
        load_embedder(path, judge=PointJudge())
    assert "\n" not in str(error.value)


def test_an_embedder_is_whole_or_not_there(tmp_path, monkeypatch):
    path, model = tmp_path / "embedder.safetensors", Embedder(PointJudge(), {})
    model.save(path, {})
    before = path.read_bytes()
    path.write_bytes(before[:1000])
    with pytest.raises(ValueError, match="damaged"):
        load_embedder(path, judge=PointJudge())
    path.write_bytes(before)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        Embedder(PointJudge(), {"who": ["a"]}).save(path, {})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["[]", "3", "{}", "{", '{"file": 3}', '{"file": "../x.wav"}', '{"file": "other.wav"}',
                                  '{"file": "/x.wav"}', "[" * 100_000, "\udcff"], ids=lambda text: text[:20])
def test_a_sidecar_names_no_other_file_and_one_that_is_not_ours_is_kept(text, tmp_path):
    other = tmp_path / "other.wav"
    other.write_text("precious")
    output = Output(tmp_path / "a.wav", {"file": "a.wav", "seed": 1})
    output.sidecar.write_bytes(text.encode(errors="surrogateescape"))
    assert not output.done()
    assert "a.json is there already, and is not of a sample of that name" in output.obstacle()
    output.write(lambda path: path.write_text("made"), {})
    assert output.done() and other.read_text() == "precious"


@pytest.mark.parametrize("row", ["[]", "3", "{}", '{"file": "../x.wav"}', '{"file": "/etc/passwd"}', '{"file": [1]}',
                                 "[" * 100_000], ids=lambda row: row[:20])
def test_a_manifest_names_files_of_its_folder_alone(row, tmp_path):
    (tmp_path / "manifest.jsonl").write_text(f"{row}\n")
    with pytest.raises(ValueError, match=r"manifest\.jsonl is no list of generated files"):
        listed(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", '{"labels": []}', '{"labels": "x"}', "{}", "\udcff"])
def test_generated_files_with_other_sidecars_are_refused_by_name(text, tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"a\.json"):
        generated(tmp_path, suffix=".wav", fields=("digit",))


CONFIG = "adapter: {}\ndata: {}\ndiffusion: {}\nloader: {}\noptim: {}\nseed: 0\ntrainer: {}\n"
DATA = {"fields": {"label": ["a"], "height": [0.5, 2], "none": []}, "training": ["x"], "held out": []}


@pytest.mark.parametrize(("config", "data"), [
    ("history: 5\n", {}), ("history: {a: b}\n", {}), ("history: [5]\n", {}), ("history: text\n", {}),
    ("", {"fields": 5}), ("", {"fields": {"a": 5}}), ("", {"fields": {"a": [1]}}), ("", {"fields": {"a": [1, "b"]}}),
    ("", {"fields": {"a": [0, True]}}), ("", {"training": 5}), ("", {"training": [[1]]}), ("", {"held out": {"a": 1}}),
], ids=str)
def test_what_a_run_directory_says_of_another_form_is_told_by_its_file(config, data, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG + "history:\n- {step: 4, key: seed, old: 1, new: 2}\n")
    (tmp_path / "data.json").write_text(json.dumps(DATA))
    assert read_record(tmp_path).history == [{"step": 4, "key": "seed", "old": 1, "new": 2}]
    (tmp_path / "config.yaml").write_text(CONFIG + config)
    (tmp_path / "data.json").write_text(json.dumps({**DATA, **data}))
    with pytest.raises(ConfigError, match=r"config\.yaml|data\.json") as error:
        read_record(tmp_path)
    assert "\n" not in str(error.value)
