"""Table 4 at smoke scale: every way has its rows, and none has more operations than the first."""

import json
from dataclasses import replace
from pathlib import Path

import finetune_through
import pytest
import torch
from finetune_through import BEFORE

from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import through
from hyperlab.evaluation.through import ANCHORED, FRESH, SHARED, SINGLE, THROUGH
from hyperlab.weights import encoders, graph, recipes, zoo_store
from hyperlab.weights.generate import ThroughConfig
from hyperlab.weights.originals import images_for, images_of, originals_of

CONFIG = through.StudyConfig.at("smoke")
RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def setting():
    zoo = zoo_store.find_zoo("digits").of(torch.arange(10))
    splits = images_for(zoo, "digits").first(100, 50)
    known = images_of(zoo, 50)
    originals = originals_of(zoo, known, generator=stream(0, "split"))
    encoder = through.encoder_of(originals, through.ROWS, CONFIG)
    made = through.maker_of(originals, encoder, CONFIG, 0)
    return through.Setting(*made, splits, CONFIG, 0)


@pytest.fixture(scope="module")
def rows(setting):
    return finetune_through.compare([setting, replace(setting, seed=1)])


def test_every_way_has_a_row_of_every_seed(rows):
    found = [(r["way"], r["seed"]) for r in rows]
    assert sorted(found) == sorted(
        (w, s) for w in (BEFORE, *finetune_through.LRS) for s in (0, 1)
    )


def test_no_way_has_more_operations_than_the_first_and_none_much_less(rows, setting):
    total = next(r["flops"] for r in rows if r["way"] == THROUGH)
    costs = {r["way"]: r["flops"] for r in rows if r["way"] != BEFORE}
    assert max(costs.values()) == total
    plan = {r["way"]: r["updates"] for r in rows if r["way"] != BEFORE}
    for way, flops in costs.items():
        assert flops * (plan[way] + 1) / plan[way] > total


def test_the_learning_rate_is_one_that_was_tried_and_the_same_for_all_seeds(rows):
    for way, lrs in finetune_through.LRS.items():
        [lr] = {r["lr"] for r in rows if r["way"] == way}
        assert lr in lrs
        assert all(r["lrs"] == [*lrs] for r in rows if r["way"] == way)


@pytest.mark.parametrize(
    ("lr", "lrs", "where"),
    [
        (1e-3, [3e-4, 1e-3], "upper"),
        (3e-4, [3e-4, 1e-3], "lower"),
        (1e-3, [1e-2, 3e-4, 1e-3], ""),
        (None, (), ""),
    ],
)
def test_a_rate_at_the_edge_of_its_grid_is_named(lr, lrs, where):
    assert finetune_through.edge({"lr": lr, "lrs": lrs}) == where


def test_the_committed_rates_are_counted_by_edge():
    pairs = json.loads((RESULTS / "through.json").read_text(encoding="utf-8"))["pairs"]
    lines = finetune_through.at_edges(pairs)
    assert f"| {THROUGH} | 8 | 1 | 7 |" in lines and f"| {SHARED} | 8 | 0 | 8 |" in lines
    assert set(lines) <= set(
        (RESULTS / "through.md").read_text(encoding="utf-8").splitlines()
    )


def test_plain_training_of_one_network_beats_chance_where_it_has_all_the_compute(setting):
    more = replace(CONFIG.through, updates=60)
    longer = replace(setting, config=replace(CONFIG, through=more))
    plan = through.ways(longer, {THROUGH: 30, SHARED: 10, SINGLE: 10, FRESH: 10,
                                 ANCHORED: 40, through.CODES: 12})  # fmt: skip
    assert plan[SINGLE] == (1, 180) and plan[SHARED] == (3, 60) and plan[ANCHORED][1] == 45
    w, _ = finetune_through.run(longer, SINGLE, 1e-2, plan[SINGLE])
    assert through.judge(longer, w)["val"] > 0.3
    steps = finetune_through.reach(longer, 0.3, lr=1e-2)
    assert steps and steps <= 180
    assert finetune_through.reach(longer, 2.0, lr=1e-2, most=10) is None


def test_the_anchor_and_the_stop_are_what_they_are_in_the_package(setting):
    untouched = setting.sampled(setting.maker)
    same, _ = finetune_through.run(
        replace(setting, config=replace(CONFIG, through=ThroughConfig(
            steps=5, networks=2, batch=16, updates=5, detach=1.0))),
        THROUGH, 1e-2, (3, 5),
    )  # fmt: skip
    assert torch.equal(same, untouched)
    _, free = finetune_through.run(setting, THROUGH, 1e-2, (3, 40))
    _, held = finetune_through.run(setting, ANCHORED, 1e-2, (3, 40))
    assert through.early(setting, held) < through.early(setting, free)


def test_identical_networks_do_not_differ(setting):
    w = setting.sampled(setting.maker)[:1].repeat(3, 1)
    found = through.judge(setting, w)
    assert found["differ"] == found["apart"] == 0 and found["sd"] < 1e-6
    assert through.judge(setting, w[:1])["differ"] is None


def test_a_target_is_prepared_as_the_bases_networks_are_used_to():
    zoo = zoo_store.find_zoo("digits")
    found = images_for(zoo, "glyphs").test.first(20)
    theirs = recipes.load(recipes.RECIPES["glyphs"]).test.first(20)
    grey = [
        part.images * recipe.spread + recipe.centre
        for part, recipe in (
            (found, recipes.RECIPES["digits"]),
            (theirs, recipes.RECIPES["glyphs"]),
        )
    ]
    torch.testing.assert_close(*grey)
    assert torch.equal(found.labels, theirs.labels)
    with pytest.raises(ConfigError, match="unknown option 'mars'"):
        images_for(zoo, "mars")


def test_the_table_has_every_way_and_says_when_it_pays(setting, rows):
    facts = {"base": "digits", "target": "digits", "train": 8, "images": 100}
    facts |= {"originals_at_home": 0.9, "samples_at_home": 0.8}
    facts |= {"reach_steps": 10, "networks": 12.3}
    stops = finetune_through.by_stop(setting, 1e-3)
    found = {"about": {"command": "python x"}, "facts": facts, "stops": stops}
    found["rows"] = [{"encoder": "VAE", **row} for row in rows]
    text = finetune_through.markdown({"digits to digits": found})
    for way in finetune_through.LRS:
        assert f"| VAE | {way} | 2 x " in text
    assert "in 10 steps (first seed, VAE): from 12 networks on" in text
    assert "this puts no t' before another" in text
    assert text.count("edge) |") == len(finetune_through.LRS)
    means = through.means(found["rows"])
    both = [r["accuracy"] for r in rows if r["way"] == SHARED]
    [shared] = [r for r in means if r["way"] == SHARED]
    assert shared["accuracy"] == pytest.approx(sum(both) / 2)
    assert shared["operations"] <= 1


def test_memory_and_gradient_shrink_with_the_stop(setting):
    rows = through.costs(setting.maker, setting.splits.train, CONFIG.through)
    for name in ("saved_bytes", "flops"):
        kept = [row[name] for row in rows]
        assert kept == sorted(kept, reverse=True) and kept[0] > kept[-1]


def test_both_encoders_are_fitted_and_another_is_named():
    zoo = zoo_store.find_zoo("digits").of(torch.arange(5))
    known = images_of(zoo, 20)
    originals = originals_of(zoo, known, generator=stream(0, "split"))
    for kind, wanted in {through.ROWS: encoders.VAE, "graph": graph.GraphVAE}.items():
        assert type(through.encoder_of(originals, kind, CONFIG)) is wanted
    with pytest.raises(ConfigError, match="VAE"):
        through.encoder_of(originals, "PCA", CONFIG)
