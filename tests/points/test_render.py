"""Pictures: seen, shaded, turned as told; animations and pages that stand alone."""

import base64
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.points.render import Shown, camera, picture, sheet
from mmdiff.adapters.points.solids import Solids
from mmdiff.adapters.points.turntable import turntable
from mmdiff.adapters.points.viewer import viewer


def solids(count=7, points=1000):
    data = Solids(PointReader(points=points), n=count)
    return [data.read(i)[0] for i in range(count)], [data.column(i)["solid"] for i in range(count)]


def covered(image):
    return (image < 250).any(-1)


def test_a_picture_shows_a_shape_within_its_border():
    for sample in solids()[0]:
        image = picture(sample, size=128)
        seen = covered(image)
        assert image.shape == (128, 128, 3) and image.dtype == np.uint8
        assert 0.03 < seen.mean() < 0.8 and len(np.unique(image.reshape(-1, 3), axis=0)) > 100
        assert not (seen[0].any() or seen[-1].any() or seen[:, 0].any() or seen[:, -1].any())


def test_neither_place_nor_size_nor_order_of_points_changes_a_picture():
    x = solids()[0][4]
    shuffled = x[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))]
    other = picture(8 * shuffled + 16, size=96).astype(int)
    assert (np.abs(picture(x, size=96) - other).max(-1) > 30).mean() < 0.02


def test_the_camera_is_a_rotation_and_sees_each_axis_where_it_should_be():
    for azimuth, elevation in ((0, 0), (35, 20), (-120, 80)):
        turn = camera(azimuth, elevation)
        assert np.allclose(turn @ turn.T, np.eye(3)) and np.isclose(np.linalg.det(turn), 1)
    assert np.allclose(camera(0, 0), np.eye(3))
    assert np.allclose(camera(90, 0) @ [1, 0, 0], [0, 0, 1])          # from the +x side, +x is towards the eye
    assert np.allclose(camera(0, 90) @ [0, 1, 0], [0, 0, 1])


@pytest.mark.parametrize(("up", "axis"), [("x", 0), ("y", 1), ("z", 2)])
def test_the_axis_that_points_up_is_up(up, axis):
    x = 0.05 * torch.randn(3, 300, generator=torch.Generator().manual_seed(0))
    x[axis] = torch.linspace(-1, 1, 300)
    red = torch.where(x[axis] > 0, 1.0, -1.0) * torch.tensor([1.0, -1.0, -1.0])[:, None]
    image = picture(x, colors=red, size=128, up=up, elevation=0).astype(int)
    rows = np.nonzero(image[..., 0] - image[..., 1] > 60)[0]
    assert len(rows) and rows.max() < 70 and covered(image)[80:].any()


def test_what_is_near_hides_what_is_far():
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 40)] * 2, indexing="ij")).reshape(2, -1)
    x = torch.cat([torch.cat([grid, torch.full((1, 1600), z)]) for z in (-0.5, 0.5)], 1)
    colors = torch.full((3, 3200), -1.0)
    colors[0, :1600], colors[2, 1600:] = 1.0, 1.0                      # red behind blue
    image = picture(x, colors=colors, size=96, azimuth=0, elevation=0).astype(int)
    middle = image[38:58, 38:58]
    assert (middle[..., 2] > middle[..., 0]).mean() > 0.98


def test_a_sheet_holds_every_shape_at_its_size(tmp_path):
    shown = [Shown(sample, title) for sample, title in zip(*solids(), strict=True)]
    image = np.asarray(Image.open(sheet(shown, tmp_path / "s.png", columns=4, size=100)).convert("RGB"))
    assert image.shape == (2 * 118, 400, 3)
    for i in range(7):
        row, column = divmod(i, 4)
        assert covered(image[row * 118 + 18 : (row + 1) * 118, column * 100 : (column + 1) * 100]).mean() > 0.02
    assert not covered(image[136:, 300:]).any()
    with pytest.raises(ValueError, match="at least one"):
        sheet([], tmp_path / "s.png")


def test_turntables_hold_all_views_that_differ(tmp_path):
    x = [Shown(solids()[0][6])]
    with Image.open(turntable(x, tmp_path / "t.gif", views=6, size=64)) as gif:
        assert gif.n_frames == 6 and gif.info["loop"] == 0
        frames = []
        for i in range(6):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    assert all(np.abs(frames[i] - frames[i - 1]).mean() > 1 for i in range(6))
    assert Image.open(turntable(3 * x, tmp_path / "t.png", views=5, size=64)).size == (320, 192)
    assert Image.open(turntable(3 * x, tmp_path / "t.gif", views=2, size=64)).size == (128, 128)
    assert turntable(x, tmp_path / "t.mp4", views=5, size=64).read_bytes()[4:8] == b"ftyp"
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(ValueError, match=".gif .mp4 .png"):
        turntable(x, tmp_path / "t.avi")


def test_a_page_stands_alone_and_holds_the_points(tmp_path):
    x, other = solids()[0][2], solids()[0][0]
    text = viewer([Shown(x, "</script>"), Shown(other)], tmp_path / "v.html", title="a <b> $points").read_text()
    assert "http" not in text and "src=" not in text and "a &lt;b&gt; $points" in text and text.count("</script>") == 1
    first, second = json.loads(re.search(r"const shapes = (\[.*?\])\.map", text)[1])
    assert first["title"] == "</script>" and second["points"] != first["points"]
    data, paint = base64.b64decode(first["points"]), base64.b64decode(first["colors"])
    points = np.frombuffer(data, "<f4").reshape(-1, 3)
    assert points.shape == (1000, 3) and len(paint) == 3000
    assert np.isclose(np.linalg.norm(points, axis=1).max(), 1, atol=1e-6)
    centred = x - (x.amax(1) + x.amin(1))[:, None] / 2
    assert np.allclose(points.T, centred / centred.norm(dim=0).max(), atol=1e-5)
    with pytest.raises(ValueError, match=".html"):
        viewer([Shown(x)], tmp_path / "v.txt")
    with pytest.raises(ValueError, match="at least one"):
        viewer([], tmp_path / "v.html")


def test_points_that_cannot_be_seen_are_refused():
    for wrong in (torch.zeros(3, 0), torch.zeros(2, 5), torch.full((3, 5), float("nan"))):
        with pytest.raises(ValueError, match="finite points"):
            picture(wrong)
    with pytest.raises(ValueError, match="up"):
        picture(torch.zeros(3, 5), up="w")
    assert covered(picture(torch.zeros(3, 1), size=32)).any()


def test_a_turntable_may_lie_in_a_folder_that_reads_like_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "12:30").mkdir()
    assert turntable([Shown(torch.rand(3, 20))], "12:30/a.mp4", views=2, size=32).is_file()
