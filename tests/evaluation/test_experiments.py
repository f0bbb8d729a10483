"""Evaluation: paired, resumable, honest about its intervals."""

import functools

import pandas as pd
import pytest
import report
import torch

from hyperlab.base import ConfigError, DataMissingError
from hyperlab.evaluation import claims, experiments
from hyperlab.evaluation import methods as methods_of
from hyperlab.hyperflow.adapt import NoAdaptation
from hyperlab.hyperflow.controls import Displacement, OwnDomain, WrongSupport
from hyperlab.models import targets
from hyperlab.params import ParamSubset, qkv_biases
from hyperlab.tasks import roles

CONFIG = experiments.EvalConfig(
    protocol="5-way 1-shot", n_tasks=2, only=("digits", "circuits")
)


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "open_source", functools.cache(roles.open_source))
        yield


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
    step = Displacement(delta=delta, name="Jacobian flow")
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
    whole = experiments.evaluate(target, methods, CONFIG, folder=tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:10], encoding="utf-8")
    assert len(experiments.read_rows(path)) == 3
    again = experiments.evaluate(target, methods, CONFIG, folder=tmp_path)
    keys = ["domain", "task", "method"]
    pd.testing.assert_frame_equal(
        again.sort_values(keys, ignore_index=True),
        whole.sort_values(keys, ignore_index=True),
    )


def test_rows_of_a_network_that_has_changed_are_made_anew(target, methods, tmp_path):
    before = experiments.evaluate(target, methods, CONFIG, folder=tmp_path)
    step = methods[2]
    other = experiments.replace(step, delta=-step.delta)
    changed = [*methods[:2], other, WrongSupport(method=other)]
    after = experiments.evaluate(target, changed, CONFIG, folder=tmp_path)
    fresh = experiments.evaluate(target, changed, CONFIG)
    pd.testing.assert_frame_equal(after, fresh)
    same = before["made_by"] == after["made_by"]
    assert set(after["method"][~same]) == {"Jacobian flow", "wrong support"}
    back = experiments.evaluate(target, methods, CONFIG, folder=tmp_path)
    pd.testing.assert_frame_equal(back, before)


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
    assert half == pytest.approx(4.302653 * 0.03**0.5 / 3**0.5)  # Student's t of 2 degrees
    part, low, high = experiments.recovery(table, "x")
    assert part == pytest.approx((0.4 / 3) / 0.3)
    assert 0.4 - 1e-6 <= low <= part <= high <= 0.5 + 1e-6  # of single tasks: 0.5, 0.5, 0.4


def test_shares_that_keep_their_rows_in_one_folder_end_in_the_whole_table(
    target, methods, tmp_path
):
    whole = experiments.evaluate(target, methods, CONFIG)
    for k in range(2):
        share = experiments.replace(CONFIG, share=(k, 2))
        table = experiments.evaluate(target, methods, share, folder=tmp_path)
        said = report.finish(table, CONFIG, len(whole), tmp_path / "table")
        assert (tmp_path / "table.md").exists() == (k == 1), said
    assert len(table) == len(whole)


def test_the_last_of_two_shares_that_ran_side_by_side_has_the_whole_table(
    target, methods, tmp_path
):
    halves = [experiments.replace(CONFIG, share=(k, 2)) for k in range(2)]

    def meanwhile(items, **_):
        yield from items
        experiments.evaluate(target, methods, halves[1], folder=tmp_path)

    table = experiments.evaluate(
        target, methods, halves[0], folder=tmp_path, progress=meanwhile
    )
    whole = experiments.evaluate(target, methods, CONFIG)
    pd.testing.assert_frame_equal(table, whole)


def test_a_table_of_two_seeds_is_refused(target, methods):
    parts = [
        experiments.evaluate(target, methods, experiments.replace(CONFIG, seed=seed))
        for seed in range(2)
    ]
    with pytest.raises(ConfigError, match="mixes seeds"):
        experiments.summarise(pd.concat(parts))


def test_an_empty_table_names_the_script():
    with pytest.raises(DataMissingError, match=r"evaluate\.py"):
        experiments.summarise(pd.DataFrame())


def test_a_role_has_an_average_of_its_own(target, methods):
    table = experiments.evaluate(target, methods, CONFIG)
    both = pd.concat([table, table.assign(role="in_domain")])
    summary = experiments.summarise(both)
    assert list(summary[summary.domain == "all"]["role"].unique()) == [
        "held_out",
        "in_domain",
    ]
    assert "in-domain average" in report.markdown(summary, {})


@pytest.mark.parametrize("names", [["voodoo"], ["Jacobian flow"], ["LoRA 20 x 3"]])
def test_an_unknown_method_is_named_with_those_there_are(names):
    with pytest.raises(ConfigError, match=r"no method .*bias-tuning"):
        methods_of.named(names)


def test_unknown_protocol_is_named():
    config = experiments.replace(CONFIG, protocol="6-way")
    with pytest.raises(ConfigError, match="5-way 5-shot"):
        next(experiments.trials(config))


def test_gradient_methods_are_named_by_their_setting():
    (tuned,) = methods_of.named(["LoRA 7x0.5 adam"])
    assert tuned.config.steps == 7 and tuned.config.optimiser == "adam" and tuned.rank
    (biases,) = methods_of.named(["40x8"])
    assert biases.name == "bias-tuning, 40 steps of 8"


def test_the_own_domains_mean_is_kept_and_comes_from_other_tasks(target, tmp_path):
    path, told = tmp_path / "own.safetensors", {"n_tasks": 2}
    means = experiments.own_means(target, CONFIG, path, **told)
    assert set(means) == {"digits", "circuits"}
    again = experiments.own_means(target, CONFIG, path, **told)
    torch.testing.assert_close(means, again)
    method = OwnDomain(deltas=means)
    with pytest.raises(ConfigError, match="circuits"):
        method(target, next(experiments.trials(CONFIG)).episode.support)
    table = experiments.evaluate(target, [NoAdaptation(), method], CONFIG)
    assert set(table["method"]) == {"no adaptation", "own domain's mean"}


def test_unknown_domain_is_named():
    with pytest.raises(ConfigError, match="mars"):
        next(experiments.trials(experiments.replace(CONFIG, only=("mars",))))


def test_a_method_that_missed_a_task_is_named(target, methods):
    table = experiments.evaluate(target, methods, CONFIG)
    with pytest.raises(ConfigError, match="bias-tuning"):
        experiments.summarise(table.drop(table.index[table["method"] == "bias-tuning"][:1]))


def test_the_report_holds_every_domain_and_control(target, methods, tmp_path):
    table = experiments.evaluate(target, methods, CONFIG)
    report.write(table, tmp_path / "table", {"command": "here"})
    text, page = (
        (tmp_path / f"table.{end}").read_text(encoding="utf-8") for end in ("md", "html")
    )
    for word in ("digits", "circuits", "wrong support", "out-of-domain average"):
        assert word in text and word in page
    summary, facts = claims.read(tmp_path / "table")
    assert "Jacobian flow - wrong support" in facts["paired"]
    assert facts["command"] == "here" and len(summary) == 3 * len(methods)
    with pytest.raises(DataMissingError, match="no table"):
        claims.read(tmp_path / "chair")
