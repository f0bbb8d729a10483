"""Few-shot heads beside other adapters: who meets which tasks, and what is counted."""

import json
from functools import partial
from pathlib import Path

import compare_heads
import pandas as pd
import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import heads, tables
from hyperlab.evaluation.experiments import EvalConfig, trials
from hyperlab.hyperflow.adapt import NoAdaptation
from hyperlab.tasks import roles
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.weights.encoders import PCA
from hyperlab.weights.head_generators import GeneratorConfig, HeadGenerator, Ridge
from hyperlab.weights.heads import BaseConfig, Whitening, tell

RESULTS = Path(__file__).parents[2] / "results"
SMALL = roles.Drawing(n_classes=6, n_per_class=21)
LIKE = [NoAdaptation(name="bias-tuning"), NoAdaptation(name="Jacobian flow")]


@pytest.fixture(scope="module")
def small():
    """Small families, and adapters that cost nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "open_source", partial(roles.open_source, drawing=SMALL))
        patch.setattr(compare_heads, "adapters", lambda names=(): LIKE)
        yield


@pytest.fixture(scope="module")
def found(small, tmp_path_factory):
    """What data_scripts/compare_heads.py writes."""
    out = tmp_path_factory.mktemp("heads")
    compare_heads.main("smoke", 0, out, out / "rows")
    parts = [
        json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        for name in compare_heads.MARKDOWN
    ]
    assert all((out / f"{name}.md").exists() for name in compare_heads.MARKDOWN)
    return {**parts[0], **parts[1]}


def test_every_method_meets_every_task(found):
    table = pd.DataFrame(found["heads"])
    for (place, protocol), rows in table.groupby(["place", "protocol"]):
        assert (rows.n == 4).all(), (place, protocol)
        assert rows.method.is_unique
    counts = table.groupby("method").size()
    assert (counts == 4).all()
    names = set(table.method)
    assert {"no adaptation", "logistic regression", "linear map", "bias-tuning"} <= names
    assert {"residual flow, all samples", "residual diffusion, wrong support"} <= names


def test_a_choice_that_sees_the_queries_is_never_worse(found):
    table = pd.DataFrame(found["heads"]).pivot_table(
        index=["place", "protocol"], columns="method", values="accuracy"
    )
    optimistic = table["residual flow, 3 chosen by queries"]
    assert (optimistic >= table["residual flow, all samples"]).all()
    assert (optimistic >= table["residual flow, 3 chosen"]).all()


def test_prototypes_here_are_no_adaptation_there(found):
    table = pd.DataFrame(found["heads"]).pivot_table(
        index=["place", "protocol"], columns="method", values="accuracy"
    )
    same = (table["no adaptation"] - table["bias-tuning"]).abs()
    assert same.max() < 1e-6


def test_every_generator_seed_is_told(found):
    seeds = {row["method"]: len(row["seeds"]) for row in found["seeds"]}
    assert seeds["residual flow, mean head"] == 2 and seeds["linear map"] == 1


def test_every_adapter_has_accuracies_and_a_price(found):
    rows = {row["method"]: row for row in found["adapters"]}
    assert {
        "no adaptation",
        "residual flow, mean head",
        "residual diffusion, mean head",
    } <= set(rows)
    for row in rows.values():
        assert row["seconds"] > 0 and row["flops"] > 0
        assert row["unseen: n"] == row["in domain: n"] == 2
    assert rows["residual flow, mean head"]["offline_minutes"] > 0
    assert rows["residual flow, mean head"]["flops"] > rows["no adaptation"]["flops"] / 2


def test_the_tables_name_the_command_and_every_generator(found):
    for name, write in compare_heads.MARKDOWN.items():
        text = write({**found, "command": "python it.py"})
        assert (
            text.startswith("`python it.py`")
            and "residual flow" in text
            and "nan" not in text
        )
        assert name


def test_tasks_are_those_of_every_other_table(small):
    ask = EvalConfig(role="held_out", protocol="5-way 1-shot", n_tasks=2, only=("digits",))
    theirs, (ours,) = list(trials(ask)), compare_heads.meet([ask])
    for one, other in zip(ours, theirs, strict=True):
        assert (one.domain, one.number) == (other.domain, other.number)
        assert torch.equal(one.episode.query.images, other.episode.query.images)


def test_classes_stand_apart():
    labels = torch.tensor([1, 0, 1, 0])
    images = LabelledImages(torch.zeros(4, 3, 8, 8), labels, 2)
    parts = heads.by_class(torch.arange(4.0)[:, None], images)
    assert parts[..., 0].tolist() == [[1, 3], [0, 2]]
    uneven = LabelledImages(torch.zeros(3, 3, 8, 8), labels[:3], 2)
    with pytest.raises(ConfigError, match="as many images"):
        heads.by_class(torch.zeros(3, 1), uneven)


def test_an_answer_is_right_where_the_own_class_is_first():
    logits = torch.eye(3)[:, None].expand(3, 2, 3)
    assert heads.correct(logits) == 1.0
    assert heads.correct(logits.flip(-1)) == pytest.approx(1 / 3)


def test_regression_learns_what_can_be_separated():
    g = stream(0, "separable")
    centres = torch.eye(5, 8)[:, None]
    support, query = (centres + 0.05 * torch.randn(5, 3, 8, generator=g) for _ in range(2))
    assert heads.regression(support, query) == 1.0


def test_a_residual_generator_that_adds_nothing_is_whitened_logistic_regression():
    g, dim = stream(0, "nothing"), 8
    support, query, train = (torch.randn(4, 5, n, dim, generator=g) for n in (2, 6, 9))
    base, whiten = BaseConfig.at("smoke"), Whitening.fit(train)
    n_told = tell(whiten(support), base)[0].shape[-1]
    rows = torch.eye(dim + 1)
    parts = (PCA(torch.cat([rows, -rows]), 1), Ridge(torch.zeros(n_told + 1, 1)))
    unit = (torch.zeros(n_told), torch.ones(n_told))
    made = HeadGenerator(whiten, base, GeneratorConfig(), *parts, *unit)
    seen = heads.Seen(support, query, support)
    found = heads.sampled(made, seen, 4, 3, 2, generator=stream(0))
    same = heads.whitened(seen, whiten, base)["whitened logistic regression"]
    assert torch.equal(found["mean head"], same)


@pytest.mark.parametrize("name", ["heads", "adapters"])
def test_no_committed_row_has_the_name_of_a_method_that_is_not_run(name):
    rows = tables.written(RESULTS / f"{name}.json", "compare_heads.py")[name]
    methods = {row["method"] for row in rows}
    assert any(method.startswith(compare_heads.FLOW) for method in methods)
    assert not any(method.startswith(("FLoWN", "diffusion")) for method in methods)
