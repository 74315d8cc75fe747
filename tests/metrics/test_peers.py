"""The metrics that torchmetrics has too, on the same numbers; where a convention differs the test says which."""

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from mmdiff.metrics.classify import classifier_score, confusion
from mmdiff.metrics.frechet import frechet_distance
from mmdiff.metrics.kernel import kernel_distance
from mmdiff.metrics.pictures import psnr, ssim

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchmetrics")


class Given(nn.Identity):
    """Features in the place of the Inception network."""

    num_features = 12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(n, m):
    """Two sets with covariances that do not commute."""
    return normal(n, 12) @ normal(12, 12, seed=2), normal(m, 12, seed=1) @ normal(12, 12, seed=3) + 0.5


def theirs(metric, real, generated):
    metric = metric.set_dtype(torch.float64)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return metric.compute()


@pytest.mark.parametrize(("n", "m"), [(200, 200), (40, 300), (13, 13)])
def test_frechet_distance_is_fid(n, m):
    real, generated = features(n, m)
    expected = theirs(FrechetInceptionDistance(Given()), real, generated)
    assert frechet_distance(generated, real) == pytest.approx(float(expected), rel=1e-9)


def test_frechet_distance_with_fewer_samples_than_features_is_fid_up_to_its_rounding():
    """There the product of covariances has eigenvalues that are 0 but for rounding, of which FID takes roots."""
    real, generated = features(6, 8)
    expected = theirs(FrechetInceptionDistance(Given()), real, generated)
    assert frechet_distance(generated, real) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("degree", [1, 3])
def test_kernel_distance_is_kid_with_the_whole_sets_as_its_one_subset(degree):
    """KID is mostly reported as the mean over subsets of 1000; ours takes all pairs, once."""
    real, generated = features(100, 100)
    kid = KernelInceptionDistance(Given(), subsets=1, subset_size=100, degree=degree)
    expected, _ = theirs(kid, real, generated)
    assert kernel_distance(generated, real, degree=degree) == pytest.approx(float(expected), rel=1e-9)


def test_classifier_score_is_the_inception_score_of_one_split():
    """Of the logits in float64; the usual Inception score is a mean over ten splits."""
    logits = 2 * normal(150, 12)
    score = InceptionScore(Given(), splits=1)
    score.update(logits)
    assert classifier_score(logits.softmax(1)) == pytest.approx(float(score.compute()[0]), rel=1e-6)


def test_confusion_counts_true_classes_in_rows():
    generator = torch.Generator().manual_seed(0)
    predicted, true = torch.randint(5, (2, 300), generator=generator)
    expected = multiclass_confusion_matrix(predicted, true, num_classes=5)
    assert torch.equal(confusion(predicted, true, classes=5).long(), expected.long())


@pytest.mark.parametrize("shape", [(4, 3, 16, 20), (4, 1, 5, 16, 20)], ids=["pictures", "clips"])
def test_psnr_of_each_sample(shape):
    x, y = normal(*shape).tanh(), normal(*shape, seed=1).tanh()
    expected = peak_signal_noise_ratio(x, y, data_range=2.0, reduction="none", dim=tuple(range(1, len(shape))))
    torch.testing.assert_close(psnr(x, y), expected)


def test_ssim_looks_through_whole_windows_alone():
    """Torchmetrics mirrors the picture at its edge, so that windows hang over it: five pixels that ours leaves out."""
    x = normal(4, 3, 24, 32).tanh()
    y = (x + 0.3 * normal(4, 3, 24, 32, seed=1)).clamp(-1, 1)
    _, map_ = structural_similarity_index_measure(x, y, data_range=2.0, reduction="none", return_full_image=True)
    torch.testing.assert_close(ssim(x, y), map_[..., 5:-5, 5:-5].mean((1, 2, 3)), rtol=1e-9, atol=0)
    assert (ssim(x, y) - map_.mean((1, 2, 3))).abs().max() > 1e-4


def test_ssim_of_a_clip_is_the_mean_of_its_frames():
    """A window has no extent in time, unlike that of torchmetrics for five axes."""
    x = normal(2, 3, 4, 16, 16).tanh()
    y = (x + 0.3 * normal(2, 3, 4, 16, 16, seed=1)).clamp(-1, 1)
    frames = [v.transpose(1, 2).flatten(0, 1) for v in (x, y)]
    _, map_ = structural_similarity_index_measure(*frames, data_range=2.0, reduction="none", return_full_image=True)
    torch.testing.assert_close(ssim(x, y), map_[..., 5:-5, 5:-5].reshape(2, -1).mean(1), rtol=1e-9, atol=0)
