"""Generators without learning, and what is said of generated networks."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.weights import baselines, novelty

NET = cnn.cnn_small()
VAL, TEST = (
    (torch.randn(60, 1, 28, 28, generator=stream(1, name)), torch.arange(60) % 10)
    for name in ("val", "test")
)


def networks(n, seed=0):
    return 0.3 * torch.randn(n, NET.n_params, generator=stream(seed, "w"))


TRAIN, HELD_OUT = networks(12), networks(6, seed=1)


@pytest.fixture(scope="module")
def judge():
    return novelty.Judge.of(NET, TRAIN, VAL, TEST, HELD_OUT)


def made(name, k=40, w=TRAIN):
    return baselines.BASELINES[name](w, k, stream(2, name))


def test_the_overlap_of_errors_is_one_with_oneself_symmetric_and_counts_by_hand():
    a = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    b = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0]]).bool()
    wanted = torch.tensor([[1 / 3, 0], [0, 1]])
    torch.testing.assert_close(novelty.overlap(a, b), wanted)
    assert torch.equal(novelty.overlap(a, b), novelty.overlap(b, a).T)
    assert novelty.overlap(a, a).diagonal().tolist() == [1, 1]
    assert novelty.familiar(a) == 0


def test_distances_leave_oneself_out_only_where_asked():
    assert novelty.nearest(TRAIN, TRAIN).max() == 0
    apart = torch.cdist(TRAIN.double(), TRAIN.double()) + 1e9 * torch.eye(12)
    torch.testing.assert_close(
        novelty.nearest_other(TRAIN).double(), apart.amin(1), rtol=1e-4, atol=1e-4
    )


def test_the_spread_counts_directions():
    w = torch.zeros(4, 5)
    w[0, 0], w[1, 0] = 1, -1
    assert novelty.spread(w) == pytest.approx(1)
    w[2, 1], w[3, 1] = 1, -1
    assert novelty.spread(w) == pytest.approx(2)


def test_copies_are_found_out(judge):
    report = judge.report(made("copy"))
    assert report.overlap == pytest.approx(1) and report.distance == 0
    fresh = judge.report(HELD_OUT)
    assert fresh.distance == pytest.approx(1) and fresh.overlap < 0.99


def test_more_noise_goes_farther(judge):
    near, far = (judge.report(made(f"copy + noise {s}")) for s in ("0.1", "0.3"))
    assert 0 < near.distance < far.distance


def test_validation_chooses_and_test_labels_do_not(judge):
    val = (judge.architecture.logits(HELD_OUT, VAL[0]).argmax(2) == VAL[1]).float().mean(1)
    chosen = val.topk(5).indices
    said = judge.architecture.logits(HELD_OUT, TEST[0]).argmax(2)
    report = judge.report(HELD_OUT)
    right = (said == TEST[1]).float().mean(1)
    assert report.chosen == pytest.approx(float(right[chosen].mean()))
    assert report.best == pytest.approx(float(right.max()))
    assert report.failures == int((right < 0.2).sum())
    assert report.accuracy == pytest.approx(float(right.mean()))
    voted = said.mode(0).values
    assert report.vote == pytest.approx(
        float((voted == TEST[1]).float().mean() - right.mean())
    )


def test_averages_of_one_network_are_that_network():
    same = TRAIN[:1].expand(4, -1)
    torch.testing.assert_close(made("average of 2", w=same), TRAIN[:1].expand(40, -1))
    torch.testing.assert_close(made("average of 16", 1)[0], TRAIN.mean(0))


def test_gaussians_have_mean_and_deviation_and_the_pca_one_stays_in_the_span():
    many = made("Gaussian", 4_000)
    torch.testing.assert_close(many.mean(0), TRAIN.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(many.std(0), TRAIN.std(0, correction=0), atol=0.05, rtol=0)
    many = made("PCA-Gaussian", 4_000)
    torch.testing.assert_close(many.std(0), TRAIN.std(0, correction=0), atol=0.05, rtol=0)
    _, _, directions = torch.linalg.svd(TRAIN - TRAIN.mean(0), full_matrices=False)
    for name in ("PCA-Gaussian", "average of 2"):
        off = made(name) - TRAIN.mean(0)
        torch.testing.assert_close(off @ directions.T @ directions, off, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_the_same_stream_gives_the_same_networks(name):
    assert torch.equal(made(name), made(name))
    assert made(name, 3).shape == (3, NET.n_params)


def test_what_cannot_be_judged_is_named(judge):
    with pytest.raises(ConfigError, match="finite weights"):
        novelty.Judge.of(NET, TRAIN * torch.nan, VAL, TEST)
    with pytest.raises(ConfigError, match="got none"):
        judge.report(TRAIN[:0])
