"""Laws of the Fréchet distance and of streamed moments: closed forms, rank-deficient sets, agreement with clean-fid."""

import numpy as np
import pytest

from metrics.fid import fid, fid_with_interval, frechet_distance, small_n_warning
from metrics.moments import GroupedMoments, Moments


def random_features(count, dim, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal([count, dim]) @ random.standard_normal([dim, dim]) + random.standard_normal(dim)


def moments_of(features):
    moments = Moments(features.shape[1])
    moments.add(features)
    return moments


def test_two_gaussians_with_commuting_covariances_have_the_closed_form():
    """|Δμ|² + Σ (√a - √b)² for covariances with the same eigenvectors and eigenvalues a, b."""
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.standard_normal([7, 7]))
    a, b = random.random(7) * 4, random.random(7)
    mean1, mean2 = random.standard_normal([2, 7])
    expected = np.square(mean1 - mean2).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    found = frechet_distance(mean1, basis @ np.diag(a) @ basis.T, mean2, basis @ np.diag(b) @ basis.T)
    assert found == pytest.approx(expected, rel=1e-12)


def test_numbers_are_one_dimensional_gaussians():
    assert frechet_distance(1.0, 4.0, 3.0, 9.0) == pytest.approx((1 - 3) ** 2 + (2 - 3) ** 2)


def test_it_is_symmetric_and_zero_only_for_the_same():
    first, second = moments_of(random_features(300, 9)), moments_of(random_features(300, 9, seed=1))
    assert fid(first, second) == pytest.approx(fid(second, first), rel=1e-10)
    assert fid(first, first) == pytest.approx(0, abs=1e-9) and fid(first, second) > 1


@pytest.mark.parametrize("count", [200, 12])
def test_it_equals_clean_fid_also_where_the_rank_is_deficient(count):
    """clean-fid 0.1.35 with scipy's matrix square root; 12 pictures of 24 features have rank 11."""
    theirs = pytest.importorskip("cleanfid.fid")
    first, second = random_features(count, 24), random_features(count, 24, seed=1)
    try:
        expected = theirs.fid_from_feats(first, second)
    except TypeError:
        pytest.skip("this scipy has no sqrtm(disp=), which clean-fid calls")
    tolerance = 1e-4 if count < 24 else 1e-8  # of the matrix square root where it is singular
    assert fid(moments_of(first), moments_of(second), ddof=1) == pytest.approx(expected, rel=tolerance)


def test_disjoint_subspaces_have_no_overlap():
    """S₁S₂ = 0: the distance is |Δμ|² + tr S₁ + tr S₂, where a matrix square root of zeros is singular."""
    first, second = np.zeros([2, 4, 4])
    first[:2, :2], second[2:, 2:] = [[2, 1], [1, 2]], [[3, 0], [0, 0]]
    assert frechet_distance(np.zeros(4), first, np.ones(4), second) == pytest.approx(4 + 4 + 3, rel=1e-12)


def test_the_distance_never_falls_below_zero():
    moments = moments_of(random_features(5, 40) * 1e4)
    assert fid(moments, moments) >= 0


def test_moments_do_not_depend_on_batches_groups_or_order_of_merging():
    features = random_features(1300, 6) + 1e3  # far from the origin: raw second moments would lose digits
    whole, grouped = Moments(6), GroupedMoments(6)
    for start in range(0, 1300, 77):
        part = features[start:start + 77]
        whole.add(part)
        grouped.add(np.arange(start, start + len(part)), part)
    merged = Moments(6)
    for piece in (features[900:], features[:5], features[5:900]):
        merged.merge(moments_of(piece))
    for moments in (whole, grouped.whole(), merged, Moments.from_arrays(whole.arrays()),
                    GroupedMoments.from_arrays(grouped.arrays()).whole()):
        assert moments.count == 1300
        assert np.allclose(moments.mean, features.mean(0), rtol=1e-13)
        assert np.allclose(moments.covariance(ddof=1), np.cov(features, rowvar=False), rtol=1e-9)
    assert np.allclose(whole.covariance(ddof=0), np.cov(features, rowvar=False, ddof=0), rtol=1e-9)
    assert grouped.whole(without=3).count == 1170


def test_the_interval_covers_the_value_and_narrows_with_n():
    real = moments_of(random_features(4000, 5))
    widths = []
    for count in (400, 4000):
        grouped = GroupedMoments(5)
        grouped.add(np.arange(count), random_features(4000, 5, seed=2)[:count] * 0.5)
        value, low, high = fid_with_interval(real, grouped)
        assert low < value < high and value == pytest.approx(fid(real, grouped.whole()))
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]
    assert fid_with_interval(real, grouped, interval=False)[1:] == (None, None)


def test_bad_moments_are_named():
    with pytest.raises(ValueError, match=r"expected features \[N, 3\], got \[2, 4\]"):
        Moments(3).add(np.zeros([2, 4]))
    with pytest.raises(ValueError, match="not finite"):
        Moments(2).add(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="more than 1 pictures, got 1"):
        moments_of(np.zeros([1, 3])).covariance(ddof=1)
    with pytest.raises(ValueError, match="two sizes cannot be compared: 3 and 2"):
        fid(moments_of(random_features(9, 2)), moments_of(random_features(9, 3)))


def test_too_few_pictures_are_said():
    assert small_n_warning(50000, 2048) is None
    assert "cannot have full rank" in small_n_warning(2048, 2048)
    assert "bias" in small_n_warning(500, 128) and "2048" in small_n_warning(500, 128)
