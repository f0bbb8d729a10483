"""What is said of generated networks: known answers, and that copies are found out."""

from dataclasses import replace

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.weights import align, novelty
from hyperlab.weights.baselines import BASELINES

NET = cnn.cnn_small()
VAL, TEST = (
    (torch.randn(60, 1, 28, 28, generator=stream(1, name)), torch.arange(60) % 10)
    for name in ("val", "test")
)


def networks(n, seed=0):
    return 0.3 * torch.randn(n, NET.n_params, generator=stream(seed, "w"))


TRAIN, HELD_OUT, FRESH = networks(12), networks(6, seed=1), networks(20, seed=2)
ORIGINALS = novelty.Originals(NET, TRAIN, HELD_OUT, VAL, TEST)


def judged(name):
    return novelty.judge(BASELINES[name](TRAIN, 40, stream(2, name)), ORIGINALS)


def by_hand(w, data):
    """Which of the images each network gets right, one network at a time."""
    return torch.stack(
        [NET.logits(one[None], data[0])[0].argmax(1) == data[1] for one in w]
    )


def test_wrong_predictions_are_those_of_each_network_by_itself():
    assert torch.equal(novelty.wrong_predictions(NET, FRESH, *TEST), ~by_hand(FRESH, TEST))


def test_the_iou_counts_as_by_hand_and_is_one_where_nobody_is_wrong():
    a = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).bool()
    b = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0]]).bool()
    torch.testing.assert_close(novelty.iou(a, b), torch.tensor([[1 / 3, 0], [0, 1]]))


def test_the_iou_is_symmetric_one_with_oneself_and_agrees_with_sets():
    a, b = (torch.rand(n, 50, generator=stream(n, "iou")) < 0.3 for n in (7, 9))
    found = novelty.iou(a, b)
    assert torch.equal(found, novelty.iou(b, a).T)
    assert (novelty.iou(a, a).diagonal() == 1).all()
    assert ((found >= 0) & (found <= 1)).all()
    x, y = ({*row.nonzero().flatten().tolist()} for row in (a[2], b[5]))
    assert found[2, 5] == pytest.approx(len(x & y) / len(x | y))


def test_distances_of_copies_are_exactly_zero_and_others_are_as_in_double_precision():
    w, d = TRAIN.double(), torch.eye(12).bool()
    for distance, exact in (
        (novelty.distances, (w[:, None] - w).norm(dim=2)),
        (novelty.cosine_distances, 1 - torch.cosine_similarity(w[:, None], w, dim=2)),
    ):
        found = distance(TRAIN, TRAIN)
        assert (found[d] == 0).all()
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-6)


def test_a_copy_has_no_barrier_and_another_network_has_that_of_the_line_to_its_nearest():
    near = novelty.barriers(TRAIN[:3] + 1e-4, ORIGINALS)
    torch.testing.assert_close(near, torch.zeros(3), atol=1e-2, rtol=0)
    nearest = TRAIN[novelty.distances(FRESH[:2], TRAIN).argmin(1)]
    wanted = align.line(NET, FRESH[:2], nearest, VAL, points=5).barrier
    torch.testing.assert_close(novelty.barriers(FRESH[:2], ORIGINALS), wanted)


def test_without_self_drops_the_diagonal_and_keeps_the_order():
    pairs = torch.arange(9.0).view(3, 3)
    assert novelty.without_self(pairs).tolist() == [[1, 2], [3, 5], [6, 7]]
    assert novelty.without_self(pairs[:1, :1]).shape == (1, 0)


def test_the_spread_counts_directions():
    w = torch.zeros(4, 5)
    assert novelty.spread(w) == 0
    w[0, 0], w[1, 0] = 1, -1
    assert novelty.spread(w) == pytest.approx(1)
    w[2, 1], w[3, 1] = 1, -1
    assert novelty.spread(w) == pytest.approx(2)
    assert novelty.spread(FRESH) == pytest.approx(19, rel=0.02)


def test_copies_are_found_out_and_networks_that_were_held_out_are_as_far_as_they_are():
    copy, held_out = judged("copy"), novelty.judge(HELD_OUT, ORIGINALS)
    assert copy.max_iou == 1 and copy.distance == 0 and copy.cosine == 0
    assert held_out.distance == pytest.approx(1) and held_out.cosine == pytest.approx(1)
    assert held_out.max_iou < 0.99
    assert judged("average of 2").apart < 0.8 * copy.apart


def test_training_networks_are_compared_with_the_others_only():
    report = novelty.judge_originals(ORIGINALS)
    one_out = [
        novelty.judge(TRAIN[i : i + 1], replace(ORIGINALS, train=rest))
        for i in range(12)
        for rest in [torch.cat([TRAIN[:i], TRAIN[i + 1 :]])]
    ]
    for name in ("max_iou", "iou", "accuracy"):
        mean = sum(getattr(one, name) for one in one_out) / 12
        assert getattr(report, name) == pytest.approx(mean, rel=1e-4)
    assert report.iou == pytest.approx(report.iou_within)
    nearest = (TRAIN[:, None] - TRAIN).norm(dim=2).fill_diagonal_(torch.inf).amin(1)
    assert report.distance == pytest.approx(float(nearest.median()) / ORIGINALS.reach)


def test_more_noise_goes_farther_and_errs_on_other_images():
    rows = [judged(f"copy + noise {sigma}") for sigma in ("0.1", "0.3", "1")]
    for name in ("distance", "cosine", "apart"):
        values = [getattr(row, name) for row in rows]
        assert 0 < values[0] < values[1] < values[2]
    assert 1 > rows[0].max_iou > rows[1].max_iou > rows[2].max_iou


def test_a_report_counts_as_by_hand():
    report = novelty.judge(FRESH, ORIGINALS)
    right = by_hand(FRESH, TEST)
    accuracy = right.float().mean(1)
    assert report.n == 20
    assert report.accuracy == pytest.approx(float(accuracy.mean()))
    assert report.sd == pytest.approx(float(accuracy.std()))
    assert report.best == pytest.approx(float(accuracy.max()))
    alike, within = novelty.iou(~right, ORIGINALS.wrong), novelty.iou(~right, ~right)
    assert report.iou == pytest.approx(float(alike.mean()))
    assert report.max_iou == pytest.approx(float(alike.amax(1).mean()))
    assert report.iou_within == pytest.approx((float(within.sum()) - 20) / (20 * 19))
    apart = float(torch.pdist(FRESH).mean()) / ORIGINALS.reach
    assert report.apart == pytest.approx(apart, rel=1e-4)
    chosen = by_hand(FRESH, VAL).float().mean(1).topk(5).indices  # by validation images
    assert report.chosen == pytest.approx(float(accuracy[chosen].mean()))
    mean = NET.logits(FRESH[:10], TEST[0]).softmax(2).mean(0)
    together = float((mean.argmax(1) == TEST[1]).float().mean())
    alone = float(right[:10].float().mean())
    assert report.gain == pytest.approx(together - alone, abs=1e-6)
    same = novelty.judge(FRESH[:1].expand(12, -1), ORIGINALS)
    assert same.gain == pytest.approx(0, abs=1e-6)


def test_failures_are_networks_below_twice_chance():
    """Networks that only say class 0: on a share of such images they are as often right."""
    constant = torch.zeros(3, NET.n_params)
    constant[:, -10] = 1
    for zeros, failures in ((11, 3), (12, 0), (13, 0)):
        labels = torch.where(torch.arange(60) < zeros, 0, 1)
        originals = replace(ORIGINALS, test=(TEST[0], labels))
        report = novelty.judge(constant, originals)
        assert report.accuracy == pytest.approx(zeros / 60) and report.failures == failures


def test_other_test_labels_choose_the_same_networks():
    """On labels that one network alone gets all right, chosen tells whether it was chosen."""
    chosen = by_hand(FRESH, VAL).float().mean(1).topk(5).indices.tolist()
    said = NET.logits(FRESH, TEST[0]).argmax(2)
    for best in (chosen[0], next(i for i in range(20) if i not in chosen)):
        report = novelty.judge(FRESH, replace(ORIGINALS, test=(TEST[0], said[best])))
        agrees = (said == said[best]).float().mean(1)
        assert report.best == 1
        assert report.chosen == pytest.approx(float(agrees[chosen].mean()))


@pytest.mark.parametrize(("bias", "class_"), [(3.0, 1), (0.1, 0)])
def test_an_ensemble_averages_probabilities_neither_votes_nor_logits(bias, class_):
    """One network is sure of class 0, two lean to class 1: by much or by little."""
    w = torch.zeros(3, NET.n_params)
    w[0, -10] = 100
    w[1:, -9] = bias
    assert novelty.ensemble_accuracy(NET, w, TEST[0], torch.full((60,), class_)) == 1


def test_what_needs_two_networks_is_no_number_for_one():
    report = novelty.judge(FRESH[:1], ORIGINALS)
    for name in ("sd", "iou_within", "apart"):
        assert getattr(report, name) != getattr(report, name)
    assert report.distance > 0 and report.spread == 0


def broken(w):
    w = w.clone()
    w[1, 3] = torch.nan
    return w


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (FRESH[:0], "1 or more generated networks, got 0"),
        (broken(FRESH), r"1 of 20 generated .* rows \[1\]"),
        (FRESH[:, 1:], "has 2464 weights, got rows of 2463"),
    ],
)
def test_generated_networks_that_cannot_be_judged_are_named(w, message):
    with pytest.raises(ConfigError, match=message):
        novelty.judge(w, ORIGINALS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": TRAIN[:1]}, "2 or more training networks, got 1"),
        ({"held_out": TRAIN[:0]}, "1 or more held-out networks, got 0"),
        ({"train": broken(TRAIN)}, r"1 of 12 training .* rows \[1\]"),
        ({"held_out": HELD_OUT[:, 1:]}, "has 2464 weights, got rows of 2463"),
        ({"held_out": TRAIN[:3]}, "3 held-out networks are among the training networks"),
    ],
)
def test_originals_that_cannot_be_compared_with_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(ORIGINALS, **change)
