"""Evaluation: paired, resumable, honest about its intervals."""

import pandas as pd
import pytest
import torch

from hyperlab.base import ConfigError
from hyperlab.hyperflow.adapt import Displacement, NoAdaptation, WrongSupport
from hyperlab.models import targets
from hyperlab.params import ParamSubset, qkv_biases
from hyperlab.study import claims, experiments

CONFIG = experiments.EvalConfig(
    protocol="5-way 1-shot", n_tasks=2, only=("digits", "circuits")
)


@pytest.fixture(scope="module")
def target():
    torch.manual_seed(0)
    model = targets.build("vit_micro", depth=1)
    return targets.Target("tiny", model, ParamSubset.select(model, qkv_biases))


@pytest.fixture(scope="module")
def methods(target):
    delta = 0.1 * torch.randn(
        len(target.theta0), generator=torch.Generator().manual_seed(0)
    )
    step = Displacement(delta=delta, name="HyperFlow-C")
    teacher = Displacement(delta=2 * delta, name="bias-tuning")
    return [NoAdaptation(), teacher, step, WrongSupport(method=step)]


def test_all_methods_meet_the_same_tasks(target, methods):
    table = experiments.evaluate(target, methods, CONFIG)
    assert len(table) == 2 * 2 * len(methods)
    sizes = table.groupby(["domain", "task"])["n_support"].nunique()
    assert (sizes == 1).all()


def test_two_shares_make_the_whole_table(target, methods):
    whole = experiments.evaluate(target, methods, CONFIG)
    halves = [
        experiments.evaluate(target, methods, experiments.replace(CONFIG, share=(k, 2)))
        for k in range(2)
    ]
    keys = ["domain", "task", "method"]
    joined = pd.concat(halves).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole.sort_values(keys, ignore_index=True))


def test_a_table_goes_on_where_it_was_cut(target, methods, tmp_path):
    path = tmp_path / "rows.jsonl"
    whole = experiments.evaluate(target, methods, CONFIG, path=path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:10])
    assert len(experiments.read_rows(path)) == 3
    again = experiments.evaluate(target, methods, CONFIG, path=path)
    keys = ["domain", "task", "method"]
    pd.testing.assert_frame_equal(
        again.sort_values(keys, ignore_index=True),
        whole.sort_values(keys, ignore_index=True),
    )


def test_gain_is_the_paired_difference_and_its_interval():
    rows = [
        {"domain": "a", "task": i, "method": m, "accuracy": a}
        for m, values in {
            "no adaptation": (0.1, 0.2, 0.3),
            "bias-tuning": (0.3, 0.4, 0.8),
            "x": (0.2, 0.3, 0.5),
        }.items()
        for i, a in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    gain, half = experiments.compare(table, "bias-tuning", "no adaptation")
    assert gain == pytest.approx(0.3)
    assert half == pytest.approx(1.96 * 0.03**0.5 / 3**0.5)
    assert experiments.recovery(table, "x") == pytest.approx((0.4 / 3) / 0.3)


def test_unknown_domain_is_named():
    with pytest.raises(ConfigError, match="mars"):
        next(experiments.trials(experiments.replace(CONFIG, only=("mars",))))


def test_a_method_that_missed_a_task_is_named(target, methods):
    table = experiments.evaluate(target, methods, CONFIG)
    with pytest.raises(ConfigError, match="bias-tuning"):
        experiments.summarise(table.drop(table.index[table["method"] == "bias-tuning"][:1]))


def test_the_report_holds_every_domain_and_control(target, methods, tmp_path):
    table = experiments.evaluate(target, methods, CONFIG)
    claims.write(table, tmp_path / "table", {"command": "here"})
    text = (tmp_path / "table.md").read_text()
    assert "digits" in text and "circuits" in text and "wrong support" in text
    assert "HyperFlow-C - wrong support" in (tmp_path / "table.json").read_text()
