"""Many clouds in one file: their columns, their split, their points."""

import json
import unicodedata

import numpy as np
import pytest
import torch

from mmdiff.adapters.points.arrays import CloudArrays
from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.video.moving_digits import load_arrays
from tests.conftest import shared_data


def test_arrays_give_clouds_columns_and_a_split(tmp_path):
    points = (np.random.default_rng(0).standard_normal((6, 64, 3)) / 10 * 32767).astype(np.int16)
    np.savez(tmp_path / "x.npz", points=points, label=np.arange(6) % 2, classes=np.array(["a", "b"]),
             test=np.arange(6) > 3)
    records = [{"id": f"n{i}", "cls": "cd"[i // 3], "size": i} for i in range(6)]
    (tmp_path / "x_index.json").write_text(json.dumps(records))
    data = CloudArrays(PointReader(points=64), tmp_path, scalars=["size"])
    assert data.fields == {"class": ["a", "b"], "size": (0.0, 5.0)}
    assert data.column(5) == {"id": "n5", "cls": "d", "size": 5, "class": "b", "split": "test"}
    sample, labels = data.read(3)
    assert labels == {"class": "b", "size": 3} and data.name(3) == "n3"
    assert np.allclose(np.sort(sample.numpy().T, 0), np.sort(points[3] / 32767, 0), atol=1e-6)
    assert len(CloudArrays(PointReader(points=64), tmp_path / "x.npz", only={"split": ["train"], "cls": ["c"]})) == 3
    with pytest.raises(ValueError, match="no column 'kind'"):
        CloudArrays(PointReader(), tmp_path, labels=["kind"])
    with pytest.raises(ValueError, match="none has"):
        CloudArrays(PointReader(), tmp_path, only={"cls": ["z"]})


def test_the_real_arrays_are_read():
    ldraw = CloudArrays(PointReader(points=2048), shared_data("3d", "ldraw6"))
    assert len(ldraw) == 1291 and len(ldraw.fields["class"]) == 6
    columns = [ldraw.column(i) for i in range(len(ldraw))]
    assert all(c["class"] == c["cls6"] for c in columns) and sum(c["split"] == "test" for c in columns) == 259
    reader = PointReader(points=4096, normals=True)
    only = {"cls": ["chair", "table"]}
    furniture = CloudArrays(reader, shared_data("3d", "sh3d_furniture"), labels=["cls"], only=only)
    sample, _ = furniture.read(0)
    assert sample.shape == (6, 4096) and torch.allclose(sample[3:].norm(dim=0), torch.ones(4096), atol=0.02)


@pytest.mark.parametrize("nothing", [float("nan"), None])
def test_a_scalar_that_the_first_cloud_does_not_tell_keeps_its_range(tmp_path, nothing):
    records = [{"size": nothing, "name": unicodedata.normalize(form, "Träger")} for form in ("NFC", "NFD", "NFC")]
    records[1]["size"], records[2]["size"] = 2, 5
    np.savez(tmp_path / "x.npz", points=np.random.default_rng(0).standard_normal((3, 50, 3)))
    (tmp_path / "index.json").write_text(json.dumps(records))
    data = CloudArrays(PointReader(points=10), tmp_path, labels=["name"], scalars=["size"])
    assert data.fields == {"name": ["Träger"], "size": (2.0, 5.0)}
    assert data.read(0)[1]["size"] is None


def npz(folder, **arrays):
    points = np.random.default_rng(0).standard_normal((4, 50, 3))
    told = {"points": points, "label": np.array([0, 1, 1, 0]), "classes": np.array(["a", "b"])}
    np.savez(folder / "x.npz", **told | arrays)
    return folder / "x.npz"


def test_what_is_not_finite_in_any_channel_is_skipped_by_name_and_arrays_of_other_shapes_are_told(tmp_path):
    normals = np.zeros((4, 50, 3))
    normals[2, 7, 1] = np.nan
    data = CloudArrays(PointReader(points=10, normals=True), npz(tmp_path, normals=normals, weight=np.ones((4, 1))))
    assert data.report()["skipped"] == [["cloud-000002", "its normals hold NaN or infinite values"]]
    assert data.report()["unused_arrays"] == ["weight"] and len(data) == 3
    with pytest.raises(ValueError, match=r"of 4 clouds such as cloud-000000: its points hold NaN"):
        CloudArrays(PointReader(points=10), npz(tmp_path, points=np.full((4, 50, 3), np.nan)))


def test_a_label_of_minus_one_is_not_told_and_one_of_no_class_is_refused(tmp_path):
    data = CloudArrays(PointReader(points=10), npz(tmp_path, label=np.array([0, -1, 1, 0])))
    assert [data.read(i)[1]["class"] for i in range(4)] == ["a", None, "b", "a"]
    for label in (np.array([0, 2, 1, 0]), np.array([0, -2, 1, 0]), np.array([0.0, 1, 1, 0]), np.array([0, 1])):
        with pytest.raises(ValueError, match="label is .4,. whole numbers"):
            CloudArrays(PointReader(points=10), npz(tmp_path, label=label))


def test_colours_of_another_range_and_files_that_are_cut_off_are_refused(tmp_path):
    with pytest.raises(ValueError, match="colors are within -1 to 1, or bytes; these reach 200"):
        CloudArrays(PointReader(points=10, colors=True), npz(tmp_path, colors=np.full((4, 50, 3), 200.0)))
    whole = npz(tmp_path).read_bytes()
    for size in (0, 10, len(whole) // 2):
        (tmp_path / "x.npz").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is no whole npz file"):
            CloudArrays(PointReader(points=10), tmp_path)
        with pytest.raises(ValueError, match="is no npz"):
            load_arrays(tmp_path / "x.npz")
