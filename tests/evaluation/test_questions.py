"""The studies behind the course's open questions: parts, subsets, supports, rules."""

from dataclasses import replace

import compare_bases
import compare_rules
import compare_subsets
import compare_supports
import pandas as pd
import pytest
import recover_training
import torch

from hyperlab import params
from hyperlab.base import ConfigError
from hyperlab.evaluation import experiments
from hyperlab.hyperflow import adapt, controls
from hyperlab.hyperflow.jacobian import Examples
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.tasks.episodes import Episode
from tests.hyperflow.test_adapt import recorded
from tests.tiny import support, tiny_net, tiny_target

TARGET = tiny_target()
NAMES = ("omniglot", "cifar10", "clothing")


def store(n=60):
    """Recorded tasks of three domains in turn, every third without a style."""
    data = recorded(TARGET, n=3).of(torch.arange(n) % 3)
    return replace(data, domains=NAMES, styled=torch.arange(n) % 4 > 0)


def test_parts_hold_what_their_names_say():
    data = store()
    parts = compare_bases.parts(data, few=15)
    for name, rows in parts.items():
        assert len(rows) == len(rows.unique())
        if name[-1].isdigit():
            assert len(rows) == int(name.split(", ")[-1])
    written = {NAMES[d] for d in data.domain[parts["writing, 20"]].tolist()}
    assert written == {"omniglot"}
    assert "omniglot" not in {
        NAMES[d] for d in data.domain[parts["no writing, 20"]].tolist()
    }
    assert not data.styled[parts["without styles, 15"]].any()
    assert data.styled[parts["with styles, 15"]].all()


def test_a_store_without_writing_is_refused_with_its_counts():
    with pytest.raises(ConfigError, match="the store has 20 tasks, 0 of writing"):
        compare_bases.parts(store().of(store().domain == 1), few=15)
    with pytest.raises(ConfigError, match="60 without style, 3 large"):
        compare_bases.parts(
            replace(store(), styled=torch.zeros(60, dtype=torch.bool)), few=15
        )


def test_halves_of_one_block_and_a_share_that_is_nothing_or_all_are_refused():
    with pytest.raises(ConfigError, match="two blocks or more, got 1"):
        compare_subsets.predicates(1)
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="of 10 numbers are"):
            compare_subsets.random_mask(10, share)


def test_only_the_images_of_a_parts_tasks_are_learned_from():
    data = store(6)
    look = torch.arange(12).repeat_interleave(2)  # two looks a task, two images a look
    row = torch.arange(24.0)[:, None]
    examples = Examples(row, row, row, row, torch.arange(12.0)[:, None], look)
    kept = compare_bases.images_of(data, examples, torch.tensor([0, 5]))
    assert kept.inputs[:, 0].tolist() == [0, 1, 2, 3, 20, 21, 22, 23]
    assert set(kept.look.tolist()) == {0, 1, 10, 11}


def test_a_mask_marks_the_numbers_that_a_smaller_subset_moves():
    values = compare_subsets.mask(TARGET, compare_subsets.part_of_biases((2,), [0]))
    assert values.sum() == TARGET.model.num_features
    theta = TARGET.theta0 + values
    moved = TARGET.subset.unflatten(theta)["blocks.0.attn.qkv.bias"]
    before = TARGET.subset.base["blocks.0.attn.qkv.bias"]
    changed = (moved - before).chunk(3)
    assert (
        not changed[0].any()
        and not changed[1].any()
        and torch.allclose(changed[2], torch.ones_like(changed[2]))
    )


def test_a_masked_flow_leaves_the_other_numbers_alone():
    net = tiny_net(TARGET, seed=1)
    keep = compare_subsets.random_mask(TARGET.subset.n_params, 0.5)
    flow = adapt.LearnedFlow(net=compare_subsets.masked(net, keep), steps=1, method="euler")
    moved = flow(TARGET, support()) - TARGET.theta0
    assert not moved[~keep].any() and moved[keep].any()
    assert (net.scale > 0).sum() > (flow.net.scale > 0).sum()


def test_key_biases_do_nothing_so_qv_tuning_is_qkv_tuning():
    whole = adapt.bias_tuning(steps=2)
    part = adapt.FineTuning(name="qv", match=params.qv_biases, config=whole.config)
    task = support()
    episode = Episode(task, task, "made up", tuple("abc"))
    logits = []
    for method in (whole, part):
        view = method.view(TARGET)
        theta = method(view, task)
        logits.append(view.logits(theta, task, episode.query.images))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_a_drift_network_for_more_parameters_is_larger():
    shape = tiny_net(TARGET).shape
    own = sum(p.numel() for p in tiny_net(TARGET).parameters())
    assert compare_subsets.network_size(shape, shape.n_params) == own
    assert compare_subsets.network_size(shape, 10 * shape.n_params) > own


def test_fewer_shots_are_the_first_of_each_class():
    task = support(n_shot=4)
    episode = Episode(task, task, "made up", tuple("abc"))
    small = compare_supports.first_shots(episode, 2)
    assert torch.bincount(small.support.labels).tolist() == [2] * task.n_way
    keep = torch.cat([torch.tensor([0, 1]) + 4 * k for k in range(task.n_way)])
    assert torch.equal(small.support.images, task.images[keep])
    assert small.query is episode.query


def test_the_common_share_is_that_of_the_mean_and_unbiased():
    g = torch.Generator().manual_seed(0)
    mean = torch.ones(2_000)
    for spread in (0.5, 2.0):
        moved = {d: mean + spread * torch.randn(6, 2_000, generator=g) for d in "abc"}
        expected = 1 / (1 + spread**2)
        assert compare_supports.common_share(moved) == pytest.approx(expected, abs=0.02)
    noise = {"a": torch.randn(4, 2_000, generator=g)}
    assert compare_supports.common_share(noise) < 0.05


def test_common_and_own_parts_are_compared_apart():
    g = torch.Generator().manual_seed(0)
    own, mean = torch.randn(5, 400, generator=g), torch.randn(400, generator=g)
    own = own - own.mean(0)
    common, rest = compare_supports.foretold({"a": mean - own}, {"a": mean + own})
    assert common == pytest.approx(1.0) and rest == pytest.approx(-1.0)


def test_rules_and_support_sizes_move_what_a_method_names():
    config = experiments.EvalConfig(protocol="5-way 5-shot", n_tasks=2, only=("digits",))
    norms = adapt.FineTuning(
        name="norms", match=params.norms, config=TeacherConfig(steps=1)
    )
    candidates = [adapt.NoAdaptation(), norms]
    table, _ = compare_rules.pick(TARGET, candidates, config)
    assert "norms" in set(table["method"])
    moved = compare_supports.grow(TARGET, [norms], config, (1,)).moved["norms", 5]["digits"]
    assert moved.shape[1] == norms.view(TARGET).subset.n_params


def test_halves_see_every_class_share_no_image_and_do_not_ask_about_a_lone_one():
    task = support(n_shot=3)
    for seen, unseen in compare_rules.halves(task):
        assert set(seen.labels.tolist()) == set(range(task.n_way))
        total = len(seen.labels) + len(unseen.labels)
        assert total == len(task.labels)
    lone = support(n_shot=1)
    for seen, unseen in compare_rules.halves(lone):
        assert len(seen.labels) == lone.n_way and not len(unseen.labels)
    images, labels = torch.cat([task.images, lone.images[:1]]), torch.tensor([3])
    some = replace(task, images=images, labels=torch.cat([task.labels, labels]), n_way=4)
    for seen, unseen in compare_rules.halves(some):
        assert len(seen.labels) + len(unseen.labels) == len(some.labels)
        assert 3 in seen.labels and 3 not in unseen.labels
    with pytest.raises(ConfigError, match="no other half"):
        compare_rules.other_half(TARGET, adapt.NoAdaptation(), lone)


def test_a_rule_picks_among_the_candidates_and_the_oracle_is_no_worse_than_any():
    config = experiments.EvalConfig(protocol="5-way 5-shot", n_tasks=2, only=("digits",))
    noise = torch.randn(len(TARGET.theta0), generator=torch.Generator().manual_seed(0))
    candidates = [adapt.NoAdaptation(), controls.Displacement(delta=noise, name="astray")]
    table, picked = compare_rules.pick(TARGET, candidates, config)
    wide = table.pivot_table(index="task", columns="method", values="accuracy")
    assert (
        wide[compare_rules.ORACLE] >= wide[["no adaptation", "astray"]].max(axis=1)
    ).all()
    assert set(picked["picked"]) <= {"no adaptation", "astray"}
    for rule in compare_rules.RULES:
        names = picked[picked["rule"] == rule].set_index("task")["picked"]
        for task, name in names.items():
            assert wide.loc[task, rule] == wide.loc[task, name]


def test_recovered_is_one_for_the_end_of_fine_tuning_itself():
    task = support()
    tuned = adapt.bias_tuning(steps=3, lr=0.1)(TARGET, task)
    path = torch.stack([TARGET.theta0, tuned])
    found = recover_training.nearness(tuned - TARGET.theta0, tuned - TARGET.theta0)
    assert found["error"] == 0 and found["cosine"] == pytest.approx(1.0)
    still = {"still": tiny_net(TARGET)}
    table = recover_training.recover(TARGET, [(task, path)], still, n_tasks=1)
    assert table["recovered"].item() == pytest.approx(0.0, abs=1e-6)
    assert table["error"].item() == pytest.approx(1.0)
    assert isinstance(table, pd.DataFrame)
