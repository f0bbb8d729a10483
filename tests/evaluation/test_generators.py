"""Generators side by side: every row is there, and says what `novelty.judge` says."""

from dataclasses import asdict, replace

import compare_generators
import pytest
import torch
from compare_generators import GeneratorsConfig

from hyperlab.base import ConfigError, stream
from hyperlab.evaluation.tables import over_seeds
from hyperlab.weights import align, novelty, recipes, tails, zoo_store
from hyperlab.weights.originals import images_of, originals_of
from hyperlab.weights.recipes import RECIPES
from hyperlab.weights.zoo import TailConfig, ZooConfig

CONFIG = GeneratorsConfig.at("smoke")
FIXED = {"copy", "average of 2", "Gaussian", "untrained", "FLoWN", "AE-DDPM", "VAE prior"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Ten seeds on digits, and the tail of one run."""
    folder, smoke = tmp_path_factory.mktemp("zoos"), ZooConfig.at("smoke")
    many = replace(smoke, n_networks=10, group=5)
    one = replace(smoke, n_networks=1, tail=TailConfig(n=10, every=2))
    for name, config in {"many": many, "one": one}.items():
        zoo_store.train_zoo(folder / name, config)
    return folder


@pytest.fixture(scope="module")
def found(stores):
    return {n: compare_generators.measure(stores / n, CONFIG) for n in ("many", "one")}


def opened(path):
    """A zoo and its originals."""
    zoo = zoo_store.ZooStore.open(path).read()
    splits = images_of(zoo, CONFIG.n_eval)
    return zoo, originals_of(zoo, splits, generator=stream(0, "split"))


@pytest.mark.parametrize("name", ["many", "one"])
def test_every_generator_has_a_row_of_every_seed(found, name):
    rows = found[name]["generators"]
    counts = {(r["encoder"], r["generator"]): 0 for r in rows}
    for row in rows:
        counts[row["encoder"], row["generator"]] += 1
    assert {g for _, g in counts} >= FIXED
    for encoder in ("VAE", "graph"):
        for generator in ("FLoWN", "AE-DDPM", "VAE prior"):
            assert counts[encoder, generator] == len(CONFIG.seeds)
    assert counts["", "originals"] == counts["", "held-out"] == 1


def test_the_originals_are_judged_as_novelty_judges_them(stores, found):
    zoo, originals = opened(stores / "many")
    wanted = asdict(novelty.judge_originals(originals))
    row = found["many"]["generators"][0]
    assert {key: row[key] for key in wanted} == pytest.approx(wanted, nan_ok=True)
    assert len(originals.train) == 8 and len(originals.held_out) == 2


def test_one_run_holds_out_its_last_checkpoints(stores):
    zoo, originals = opened(stores / "one")
    assert torch.equal(torch.cat([originals.train, originals.held_out]), zoo.w[0])
    assert len(originals.held_out) == 2


def test_a_tail_of_norm_layers_is_compared_as_a_run(tmp_path):
    config = tails.NormConfig.at("smoke")
    splits = recipes.load(RECIPES["digits"]).first(config.n_train, config.n_eval)
    zoo_store.save_zoo(
        tails.train_tail(config, "digits", splits), tmp_path / "tail.safetensors"
    )
    rows = compare_generators.measure(tmp_path / "tail.safetensors", CONFIG, ["VAE"])
    made = {row["generator"] for row in rows["generators"]}
    assert made >= FIXED - {"untrained"} and "untrained" not in made
    with pytest.raises(ConfigError, match="unknown option 'graph'"):
        compare_generators.measure(tmp_path / "tail.safetensors", CONFIG)


def test_copies_lose_nothing_and_are_no_news(found):
    rows = {
        r["generator"]: r
        for r in over_seeds(found["many"]["generators"], "encoder", "generator")
    }
    assert rows["copy"]["distance"] == 0 and rows["copy"]["max_iou"] == 1
    assert rows["copy"]["n_seeds"] == len(CONFIG.seeds)
    assert rows["untrained"]["distance"] > 0.5


def test_all_components_are_a_ceiling_of_zero_for_the_networks_they_come_from(found):
    for name in ("many", "one"):
        rows = {row["encoder"]: row for row in found[name]["encoders"]}
        assert rows["PCA, all"]["train_drop"] == pytest.approx(0, abs=1e-4)
        assert set(rows) >= {"PCA, 16", "VAE", "VAE, chunks", "graph"}
    assert "VAE, not aligned" in {row["encoder"] for row in found["many"]["encoders"]}


def test_more_fitting_buys_more_plain_training(stores):
    _, originals = opened(stores / "many")
    one, two = (
        compare_generators.steps_for(
            originals, replace(CONFIG, flow=replace(CONFIG.flow, steps=n)), 20
        )
        for n in (100, 200)
    )
    vae_alone = 2 * one - two
    assert 0 < vae_alone < one < two


def test_equal_compute_takes_the_held_out_seeds_at_an_earlier_epoch(stores):
    zoo, originals = opened(stores / "many")
    w = compare_generators.trained(zoo, originals, 1.7, generator=stream(0, "split"))
    held_out = zoo.split((0.8, 0.2), stream(0, "split"))[1].at_epoch(1)
    back = align.align(zoo.architecture, w, held_out[0], generator=stream(0))
    torch.testing.assert_close(back[0], held_out[0])
    with pytest.raises(ConfigError, match="want many seeds and an epoch up to -1.0"):
        compare_generators.trained(zoo, originals, -1.0, generator=stream(0, "split"))


def test_the_tables_name_zoos_generators_and_the_command(found):
    zoos = {name: {"about": {"command": "do"}, **rows} for name, rows in found.items()}
    text = compare_generators.markdown(zoos)
    assert "| many | graph | 64 |" in text and "`do`" in text
    assert "| FLoWN, VAE | 2 x 4 |" in text and "## one" in text
    many, one = text.split("## one")
    assert "training, equal compute" in many
    assert "The zoo's trained for 2, so" in many and "so generating costs" not in one


def test_what_is_measured_anew_comes_out_the_same(stores, found):
    rows = compare_generators.measure_again(
        found["many"], stores / "many", CONFIG, ["graph", "VAE, chunks"]
    )
    for part, key in (("encoders", "encoder"), ("generators", "generator")):
        old, new = (
            sorted(told[part], key=lambda r: (r["encoder"], r[key], r.get("seed", 0)))
            for told in (found["many"], rows)
        )
        for a, b in zip(old, new, strict=True):
            assert a | {"seconds": 0} == pytest.approx(b | {"seconds": 0}, nan_ok=True)


def test_what_was_replaced_is_kept_and_printed(stores, found):
    old = found["one"]
    rows = compare_generators.measure_again(old, stores / "one", CONFIG, ["graph"])
    wanted = [
        r for k in ("encoders", "generators") for r in old[k] if r["encoder"] == "graph"
    ]
    assert rows["replaced"] == wanted and len(wanted) == 1 + 3 * len(CONFIG.seeds)
    text = compare_generators.markdown({"one": {"about": {"command": "do"}, **rows}})
    assert text.split("Replaced, and seen before:")[1].count(", graph |") == 3


@pytest.mark.parametrize(("steps", "more"), [(8000, "with 8000 steps"), (4000, "seen")])
def test_a_second_measurement_is_called_one(steps, more):
    runs = [
        {"config": f"X(vae=V(steps=600), flow=F(width=2, steps={n}))"}
        for n in (4000, steps)
    ]
    text = compare_generators.anew(*runs)
    assert "after its rows had been seen" in text and more in text
    assert (" instead of 4000" in text) == (steps != 4000)


def test_generating_costs_less_from_where_fitting_is_shared_by_enough_networks():
    facts = {"equal_epochs": 12.5, "epochs": 10, "train": 80}
    found = {"facts": facts, "generators": [{"generator": "FLoWN", "n": 50}]}
    alone, zoo = compare_generators.breaks_even(found)
    assert alone * 10 == 50 * 12.5 and zoo * 10 == alone * 10 + 80 * 10
    text = compare_generators.pays(found)
    assert "625 epochs" in text and "from 63 networks" in text and "from 143 on" in text


def test_an_unknown_encoder_is_named_before_any_work(stores, found):
    with pytest.raises(ConfigError, match="unknown option 'VEA'"):
        compare_generators.measure(stores / "many", CONFIG, ["VEA"])
    with pytest.raises(ConfigError, match="unknown option 'VEA'"):
        compare_generators.measure_again(found["many"], stores / "many", CONFIG, ["VEA"])
