"""A plane is exact and says what it hides; UMAP keeps neighbours, and arrows own up."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.views import projection
from hyperlab.views.projection import Plane, UmapConfig

DIM = 30


def normal(*shape, name="points"):
    return torch.randn(shape, generator=stream(0, "projection", name))


@pytest.fixture(scope="module")
def curves():
    """40 gently bent curves of 10 points from one start, near a plane of a larger space."""
    t = torch.linspace(0, 1, 10)[:, None]
    ends, bends = (
        normal(2, 40, 1, 2, name="ends") * torch.tensor([1.0, 0.1])[:, None, None, None]
    )
    flat = ends * t + bends * t * (1 - t)
    return flat @ normal(2, DIM, name="axes") + 0.01 * normal(40, 10, DIM, name="noise")


@pytest.fixture(scope="module")
def picture(curves, tmp_path_factory):
    arrays = {"paths": curves, "ends": curves[:, -1] + 0.01}
    cache = tmp_path_factory.mktemp("umap")
    return projection.embed(arrays, UmapConfig(n_components=8), cache=cache), arrays, cache


@pytest.mark.parametrize("n", [12, 200], ids=["few points", "many points"])
def test_the_plane_is_the_one_of_the_singular_vectors(n):
    points = normal(n, DIM) * torch.linspace(3, 0.1, DIM)
    plane = Plane.fit(points)
    centred = points - points.mean(0)
    oracle = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(
        (plane.axes @ oracle.Vh[:2].T).abs(), torch.eye(2), atol=1e-4, rtol=0
    )
    share = oracle.S[:2].square().sum() / oracle.S.square().sum()
    assert plane.variance(points) == pytest.approx(float(share), rel=1e-4)


def test_points_and_arrows_agree():
    plane, points = Plane.fit(normal(50, DIM)), normal(7, 3, DIM, name="other")
    moved = plane.to_plane(points + points) - plane.to_plane(points)
    torch.testing.assert_close(moved, plane.arrows(points), atol=1e-5, rtol=1e-4)


def test_the_share_is_one_in_the_plane_nothing_across_and_small_at_random():
    plane = Plane.fit(normal(500, 1000)[:, :DIM])
    across = normal(DIM, name="v")
    across = across - plane.arrows(across) @ plane.axes
    shares = plane.share(torch.stack([plane.axes[0] + 2 * plane.axes[1], across]))
    torch.testing.assert_close(shares, torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)
    random = plane.share(normal(4000, DIM, name="random")).square().mean().sqrt()
    assert float(random) == pytest.approx((2 / DIM) ** 0.5, rel=0.05)


def test_what_spans_no_plane_or_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="at least 3 finite points, got 2"):
        Plane.fit(normal(2, DIM))
    with pytest.raises(ConfigError, match="finite"):
        Plane.fit(torch.full((5, DIM), torch.nan))
    with pytest.raises(ConfigError, match="7 numbers do not fit a plane in 30"):
        Plane.fit(normal(9, DIM)).to_plane(torch.zeros(4, 7))


def test_a_picture_leaves_torch_as_many_threads_as_it_had():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        projection.embed({"points": normal(40, DIM)})
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_whole_curves_are_embedded_with_their_shape_and_keep_their_neighbours(picture):
    embedding, arrays, _ = picture
    assert embedding["paths"].shape == (40, 10, 2) and embedding["ends"].shape == (40, 2)
    assert embedding.trustworthiness() > 0.9
    ends = torch.arange(len(embedding.low))[embedding.rows("ends")]
    assert 0.5 < embedding.trustworthiness(ends, n_neighbors=5) <= 1
    steps = embedding["paths"].diff(dim=1).norm(dim=-1).median()
    assert steps < 0.2 * (embedding.low.amax(0) - embedding.low.amin(0)).max()


def test_a_picture_is_kept_and_read_again_bit_for_bit(picture, monkeypatch):
    embedding, arrays, cache = picture
    monkeypatch.setattr(projection, "_umap", lambda *_: pytest.fail("computed again"))
    again = projection.embed(arrays, UmapConfig(n_components=8), cache=cache)
    assert torch.equal(again.low, embedding.low) and len(list(cache.iterdir())) == 1


def test_too_few_points_and_unknown_names_are_refused(picture):
    with pytest.raises(ConfigError, match="10 points are too few for 15"):
        projection.embed({"points": normal(10, DIM)})
    with pytest.raises(
        ConfigError, match="nothing named 'end' .* have \\['paths', 'ends'\\]"
    ):
        picture[0]["end"]
    with pytest.raises(ConfigError, match="10 neighbours need more than 20 points, got 9"):
        picture[0].trustworthiness(torch.arange(9))


def test_arrows_follow_the_curves_and_a_random_field_gives_itself_away(picture):
    embedding, arrays, _ = picture
    rows = torch.arange(400).view(40, 10)[:, 3:8].flatten()  # inside the curves
    velocity = arrays["paths"].diff(dim=1)[:, 3:8].flatten(0, 1)
    arrows = projection.tangent_arrows(embedding, rows, velocity)
    drawn = embedding["paths"].diff(dim=1)[:, 3:8].flatten(0, 1)
    cosine = torch.cosine_similarity(arrows.directions, drawn)
    assert cosine.median() > 0.9 and arrows.residual.median() < 0.4
    isotropic = normal(*velocity.shape, name="control")
    control = projection.tangent_arrows(embedding, rows, isotropic)
    assert control.residual.median() > 0.85
    assert (control.opacity() > 0).float().mean() < 0.1 < arrows.opacity().mean()


def test_random_directions_keep_lengths_and_still_numbers():
    velocity = normal(50, DIM)
    velocity[:, 3] = 0
    random = projection.random_like(velocity, generator=stream(0, "random"))
    torch.testing.assert_close(random.norm(dim=1), velocity.norm(dim=1))
    assert random[:, 3].abs().max() == 0
    assert torch.cosine_similarity(random, velocity).abs().mean() < 0.3
    with pytest.raises(ConfigError, match="two or more"):
        projection.random_like(velocity[:, 3:5], generator=stream(0, "random"))
