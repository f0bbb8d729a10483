"""What generators without learning give: known means, deviations, spans, and their errors."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.weights import baselines

NET = cnn.cnn_small()
TRAIN = 0.3 * torch.randn(12, NET.n_params, generator=stream(0, "w"))
EVERY = {**baselines.BASELINES, "random": baselines.RandomInit(NET)}

close = torch.testing.assert_close
each = pytest.mark.parametrize("name", [*baselines.possible(12), "random"])


def made(name, k=40, w=TRAIN):
    return EVERY[name](w, k, stream(2, name))


def off_span(rows):
    """How far rows leave the affine span of the training networks."""
    _, _, directions = torch.linalg.svd(TRAIN - TRAIN.mean(0), full_matrices=False)
    off = rows - TRAIN.mean(0)
    return (off - off @ directions[:11].T @ directions[:11]).norm(dim=1).max()


@each
def test_the_same_stream_gives_the_same_networks_and_another_others(name):
    assert torch.equal(made(name), made(name))
    assert made(name, 3).shape == (3, NET.n_params) and made(name, 3).isfinite().all()
    assert not torch.equal(made(name), EVERY[name](TRAIN, 40, stream(3, name)))


def test_copies_are_training_networks_and_all_are_drawn():
    chosen = (made("copy", 200)[:, None] == TRAIN).all(2)
    assert (chosen.sum(1) == 1).all() and chosen.any(0).all()


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1])
def test_noise_is_in_units_of_each_weights_own_deviation(sigma):
    w = TRAIN * torch.linspace(0, 2, NET.n_params)  # the first weight is the same in all
    rows = made(f"copy + noise {sigma}", 2_000, w)
    variance = w.var(0, correction=0) + sigma**2 * w.var(0)
    assert rows[:, 0].std() == 0
    close(rows.var(0)[1:] / variance[1:], torch.ones(NET.n_params - 1), rtol=0, atol=0.25)


def test_averages_of_one_network_are_that_network():
    same = TRAIN[:1].expand(4, -1)
    close(made("average of 2", w=same), TRAIN[:1].expand(40, -1))


def test_an_average_takes_different_networks():
    pairs = (TRAIN[:, None] + TRAIN) / 2 + 1e9 * torch.eye(12)[..., None]
    nearest = torch.cdist(made("average of 2"), pairs.flatten(0, 1)).amin(1)
    assert nearest.max() < 1e-3 * TRAIN[0].norm()
    assert {*EVERY} - {*baselines.possible(12)} == {"average of 16", "random"}


@pytest.mark.parametrize("n", [3, 12])
@pytest.mark.parametrize("name", ["Gaussian", "PCA-Gaussian"])
def test_gaussians_have_the_networks_mean_and_sample_deviation(name, n):
    rows, w = made(name, 4_000, TRAIN[:n]), TRAIN[:n]
    close(rows.mean(0), w.mean(0), atol=0.05, rtol=0)
    close(rows.std(0), w.std(0), atol=0.05, rtol=0)
    close((rows.std(0) / w.std(0)).mean(), torch.tensor(1.0), atol=0.03, rtol=0)


def test_only_the_pca_gaussian_keeps_covariances():
    w = TRAIN.clone()
    w[:, 1] = -w[:, 0]
    names = ("Gaussian", "PCA-Gaussian")
    correlation = {n: made(n, 4_000, w)[:, :2].T.corrcoef()[0, 1] for n in names}
    assert correlation["PCA-Gaussian"] == pytest.approx(-1, abs=1e-4)
    assert abs(correlation["Gaussian"]) < 0.1


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("average of 2", True),
        ("PCA-Gaussian", True),
        ("kernel density 0.2", True),
        ("Gaussian", False),
        ("copy + noise 0.1", False),
        ("random", False),
    ],
)
def test_averages_and_pca_stay_in_the_span_of_the_networks(name, inside):
    assert (off_span(made(name)) < 1e-4 * TRAIN[0].norm()) == inside


def test_the_kernel_density_has_a_twenty_fifth_of_the_covariance_around_each_network():
    rows = made("kernel density 0.2", 4_000)
    variance = TRAIN.var(0, correction=0) + 0.2**2 * TRAIN.var(0)
    close(rows.mean(0), TRAIN.mean(0), atol=0.05, rtol=0)
    close((rows.var(0) / variance).mean(), torch.tensor(1.0), atol=0.02, rtol=0)


def test_random_networks_follow_kaiming_and_not_the_training_networks():
    rows = made("random", 200)
    assert torch.equal(rows, made("random", 200, 100 * TRAIN))
    state = NET.unflatten(rows)
    for name, fan_in in (("conv2.weight", 200), ("fc1.weight", 36)):
        bound = (6 / fan_in) ** 0.5
        assert 0.99 * bound < state[name].abs().max() <= bound
        assert state[name].std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", [n for n in baselines.possible(12) if n != "copy"])
def test_a_baseline_is_not_the_copy_and_refuses_to_become_it(name):
    rows = made(name)
    assert (torch.cdist(rows, TRAIN).amin(1) > 1e-3).all()
    with pytest.raises(ConfigError, match="copy; want two or more"):
        made(name, 5, TRAIN[:1])


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_no_or_broken_training_networks_are_refused(name):
    with pytest.raises(ConfigError, match="1 or more training networks, got 0"):
        made(name, w=TRAIN[:0])
    broken = TRAIN.clone()
    broken[3, 7] = torch.nan
    with pytest.raises(ConfigError, match=r"1 of 12 training .* rows \[3\]"):
        made(name, w=broken)


def test_random_networks_of_another_length_are_refused():
    with pytest.raises(ConfigError, match="has 2464 weights, got rows of 7"):
        made("random", w=TRAIN[:, :7])
