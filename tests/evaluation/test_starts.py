"""Starts of fine-tuning: every start is trained alike, and rows say what the curves hold."""

import json
from dataclasses import replace

import compare_starts
import pytest
import torch
from compare_starts import StartsConfig

from hyperlab.base import ConfigError, DataMissingError, stream
from hyperlab.evaluation import tables
from hyperlab.weights import zoo_store
from hyperlab.weights.baselines import copies
from hyperlab.weights.encoders import EncoderConfig
from hyperlab.weights.flow import FlowConfig
from hyperlab.weights.originals import originals_of
from hyperlab.weights.recipes import Images, Splits
from hyperlab.weights.zoo import (
    TailConfig,
    ZooConfig,
    accuracies,
    checkpoints,
    fine_tune,
    train,
)

CONFIG = replace(
    StartsConfig.at("smoke"),
    seeds=(0, 1, 2),
    vae=EncoderConfig(width=32, steps=5, batch=8),
    flow=FlowConfig(width=16, depth=1, steps=5, batch=8),
    n_train=120,
    n_eval=60,
)
STARTS = ["FLoWN", "copy", "copy + noise 0.3", "random"]


@pytest.fixture(scope="module")
def found():
    return measure("digits")


def measure(path, unseen=None):
    return compare_starts.measure(compare_starts.opened(path, CONFIG, unseen), CONFIG)


@pytest.fixture(scope="module")
def digits():
    """The shipped zoo's architecture, its training, and images."""
    zoo, trained, images = compare_starts.opened("digits", CONFIG, [])
    return zoo, trained, images["digits"]


def test_every_start_has_a_row_of_every_data_set_and_epoch(found):
    keys = [(row["dataset"], row["start"], row["epoch"]) for row in found["rows"]]
    wanted = [(d, s, e) for d in ("digits", "glyphs") for s in STARTS for e in (0, 1, 2)]
    assert keys == wanted
    assert {(row["unit"], row["n_units"]) for row in found["rows"]} == {("seeds", 3)}
    assert all(
        sum(row["seeds"]) / 3 == pytest.approx(row["accuracy"], abs=1e-5)
        for row in found["rows"]
    )
    assert all(row["accuracy_pm"] >= 0 for row in found["rows"])
    assert {row["n"] for row in found["rows"]} == {6}
    assert {row["dataset"]: row["seen"] for row in found["rows"]} == {
        "digits": True,
        "glyphs": False,
    }


def test_a_plain_copy_starts_as_well_as_the_zoo_ended_and_ahead_of_untrained_ones(found):
    rows = {(r["dataset"], r["start"], r["epoch"]): r for r in found["rows"]}
    assert rows["digits", "copy", 0]["accuracy"] > 0.85
    assert rows["digits", "random", 0]["accuracy"] < 0.4
    (bar,) = (
        row
        for row in found["gaps"]
        if row["dataset"] == "digits" and (row["start"], row["epoch"]) == ("copy", 1)
    )
    assert (bar["other"], bar["other_epoch"], bar["ahead"]) == ("random", 2, True)


def test_comparisons_of_other_networks_or_lengths_have_other_names():
    others = {"place": "last"}, {"n_train": 7}, {"epochs": (0, 1, 2, 3)}
    names = {replace(CONFIG, **option).name for option in others}
    assert len({*names, CONFIG.name}) == 4


def test_the_same_seed_gives_the_same_numbers(found):
    assert measure("digits", [])["rows"] == found["rows"][:12]


def test_training_that_goes_on_from_untrained_rows_is_training(digits):
    zoo, trained, splits = digits
    config = replace(trained, epochs=(0, 1, 2))
    whole = train(config, splits, [7, 8])
    first = {"one": whole["w"][:1, 0], "other": whole["w"][1:, 0]}
    curves = fine_tune(first, zoo.architecture, splits, config, seed=7)
    both = torch.cat([curves["one"], curves["other"]], 1)
    assert torch.equal(both.T, whole["accuracy"])


def test_the_rows_that_training_starts_from_are_left_as_they_are(digits):
    zoo, trained, splits = digits
    w = zoo.w[:2, -1].clone()
    ends = list(
        checkpoints(replace(trained, epochs=(0, 1)), zoo.architecture, splits, [0], w)
    )
    assert torch.equal(w, zoo.w[:2, -1]) and torch.equal(ends[0], w)
    assert not torch.equal(ends[1], w)


def test_controls_are_what_their_names_say(digits):
    zoo, trained, splits = digits
    originals = originals_of(zoo, splits, generator=stream(0, "split"))
    made = compare_starts.starts_of(originals, trained.recipe.init, CONFIG)
    assert list(made) == STARTS
    assert all(w.shape == (6, zoo.architecture.n_params) for w in made.values())
    again = torch.cat(
        [copies(originals.train, 2, stream(s, "sample", "copy")) for s in (0, 1, 2)]
    )
    assert torch.equal(made["copy"], again)
    biases = zoo.architecture.unflatten(made["random"])["fc2.bias"]
    assert (biases == 0.01).all()
    chance = accuracies(zoo.architecture, made["random"], *splits.test)
    assert chance.max() < 0.5


def test_the_middle_and_the_last_of_the_kept_epochs_are_taken():
    zoo = zoo_store.shipped("digits")
    assert [compare_starts.at(zoo, place).epochs for place in ("middle", "last")] == [
        (10,),
        (10,),
    ]
    long = replace(
        zoo,
        epochs=(0, 1, 2),
        w=torch.cat([zoo.w, zoo.w[:, :1]], 1),
        **{n: torch.zeros(100, 3) for n in ("accuracy", "val_accuracy", "loss")},
    )
    assert torch.equal(compare_starts.at(long, "middle").w[:, 0], zoo.w[:, 1])
    assert torch.equal(compare_starts.at(long, "last").w[:, 0], zoo.w[:, 0])
    with pytest.raises(ConfigError, match="many seeds"):
        compare_starts.at(zoo.of(torch.tensor([0])), "last")


def test_a_store_tells_how_its_networks_were_trained(tmp_path):
    config = replace(ZooConfig.at("smoke"), batch=13)
    zoo_store.train_zoo(tmp_path / "zoo", config)
    zoo, trained = zoo_store.open_zoo(tmp_path / "zoo")
    assert (trained.recipe, trained.batch) == (config.recipe, 13) and len(zoo) == 4
    one = replace(config, n_networks=1, tail=TailConfig(n=3, every=1))
    zoo_store.train_zoo(tmp_path / "one", one)
    with pytest.raises(ConfigError, match="one run"):
        compare_starts.opened(tmp_path / "one", CONFIG, [])


def test_some_classes_are_numbered_in_the_order_given():
    images = torch.arange(6.0).view(6, 1, 1, 1)
    part = Images(images, torch.tensor([2, 0, 1, 2, 0, 1]))
    found = compare_starts.only(Splits(part, part, part, 3, "here"), (2, 0))
    assert found.n_classes == 2
    assert found.test.labels.tolist() == [0, 1, 0, 1]
    assert found.test.images.flatten().tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("a", "b", "gap", "half"),
    [
        ([0.8, 0.9, 0.8, 0.9, 0.9, 1.0], [0.5] * 6, 0.38333, 4.302653 * 0.057735 / 3**0.5),
        ([0.4, 0.6] * 3, [0.5] * 6, 0.0, 0.0),  # networks differ, seeds do not
        ([0.8, 0.9], [0.5, 0.6], 0.3, None),
    ],
)
def test_a_gap_and_its_interval_are_those_of_seeds_not_of_networks(a, b, gap, half):
    found = compare_starts.gap(torch.tensor(a), torch.tensor(b), min(3, len(a)))
    assert found["gap"] == pytest.approx(gap, abs=1e-5)
    assert found["gap_pm"] == (half if half is None else pytest.approx(half, abs=1e-5))


def test_tables_and_curves_hold_the_rows(found):
    text = compare_starts.markdown({"digits": {"about": {"command": "do"}, **found}})
    assert "`do`" in text and "Of 80 networks after epoch 10." in text
    assert "**glyphs** (never seen; 120 images an epoch" in text
    assert "| digits | copy, 1 | random, 2 |" in text and json.dumps(found)
    drawn = tables.bands(found["rows"], "glyphs")
    assert list(drawn) == STARTS
    epochs, means, halves = drawn["random"]
    row = found["rows"][-1]
    assert epochs.tolist() == [0, 1, 2]
    assert float(means[-1]) == pytest.approx(row["accuracy"])
    assert float(halves[-1]) == pytest.approx(row["accuracy_pm"])
    assert tables.with_interval(row["accuracy"], row["accuracy_pm"]) in text
    with pytest.raises(ConfigError, match="no row of 'mars'"):
        tables.bands(found["rows"], "mars")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"controls": ("voodoo",)}, "unknown option 'voodoo'"),
        ({"bar": (1, 5)}, "bar's epochs"),
        ({"place": "first"}, "unknown option 'first'"),
        ({"seeds": (0,), "n": 1}, "two networks"),
    ],
)
def test_an_option_that_cannot_be_is_named(options, said):
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **options)


@pytest.mark.parametrize(
    ("zoo", "unseen", "said"),
    [("digits", ["mars"], "unknown option 'mars'"), ("objects", ["digits"], "grey")],
)
def test_a_data_set_that_does_not_fit_is_named_before_any_work(zoo, unseen, said):
    with pytest.raises(ConfigError, match=said):
        compare_starts.opened(zoo, CONFIG, unseen)


def test_images_and_zoos_that_are_missing_are_named(tmp_path):
    with pytest.raises(DataMissingError, match="download_data"):
        compare_starts.opened("digits", CONFIG, ["usps"], root=tmp_path)
    with pytest.raises(DataMissingError, match="train_zoo"):
        compare_starts.opened(tmp_path / "nowhere", CONFIG)
