"""One generator for two data sets: who is told what, and what the tables say of it."""

from dataclasses import replace

import pytest
import retrieve_networks
import torch

from hyperlab.base import ConfigError, DataMissingError, stream
from hyperlab.evaluation.tables import over_seeds
from hyperlab.models.cnn import cnn_small
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.weights import padding, recipes, retriever, zoo, zoo_store
from hyperlab.weights.novelty import Originals
from hyperlab.weights.retriever import DataSet, RetrievalConfig

CONFIG = RetrievalConfig.at("smoke")
GREY, COLOURED = cnn_small(channels=1), cnn_small(channels=3, activation="gelu")


def images(n, channels, *names):
    return torch.rand(n, channels, 28, 28, generator=stream(0, "images", *names))


def made_up(name, net):
    """A data set of noise with ten networks that nobody trained."""
    rows = [
        recipes.untrained(net, "kaiming_uniform", stream(i, name, "w")) for i in range(10)
    ]
    w, labels = torch.stack(rows), torch.arange(30) % 10
    parts = [(images(30, net.channels, name, part), labels) for part in ("val", "test")]
    pools = [LabelledImages(images(30, 3, name, part), labels, 10) for part in ("a", "b")]
    return DataSet(name, Originals(net, w[:8], w[8:], *parts), *pools)


@pytest.fixture(scope="module")
def sets():
    return [made_up("grey", GREY), made_up("coloured", COLOURED)]


@pytest.fixture(scope="module")
def encoder(sets):
    return retriever.fit_encoder(sets, CONFIG)


@pytest.fixture(scope="module")
def found(sets):
    other = zoo_store.shipped("digits").of(torch.arange(4))
    return retrieve_networks.measure(
        sets, ["one-hot", "nothing"], CONFIG, seed=0, other=other
    )


def test_grey_networks_are_padded_and_come_back_as_they_were(sets, encoder):
    grey = sets[0]
    w = retriever.padded(grey, COLOURED)
    assert w.shape == (8, COLOURED.n_params) == (8, len(encoder.mean))
    back = padding.cut_rows(COLOURED, GREY, w, retriever.PAD)
    assert torch.equal(back, grey.originals.train)
    assert torch.equal(retriever.padded(sets[1], COLOURED), sets[1].originals.train)


def test_a_flow_that_is_told_the_data_set_gives_networks_of_that_data_set():
    sets = [made_up("grey", GREY), made_up("other", GREY)]
    sets[1] = replace(
        sets[1], originals=replace(sets[1].originals, train=sets[1].originals.train + 1.0)
    )
    vae = replace(CONFIG.vae, steps=150, noise_latent=0.1)
    config = replace(CONFIG, vae=vae, flow=replace(CONFIG.flow, steps=200, lr=3e-3))
    coder = retriever.fit_encoder(sets, config)
    model = retriever.fit_retriever(sets, coder, "one-hot", config)
    for i, data in enumerate(sets):
        w = retriever.retrieved(model, data, config, seed=0)
        means = torch.stack([d.originals.train.mean(0) for d in sets])
        assert (torch.cdist(w, means).argmin(1) == i).all()


def test_support_images_are_told_as_their_encoder_reads_them(sets, encoder):
    model = retriever.fit_retriever(sets, encoder, "means", CONFIG)
    condition = model.condition("grey", sets[0].new)
    assert condition.shape == (960,) and model.flow.context == 960
    w = model.networks(condition, 3, stream(1))
    assert w.shape == (3, COLOURED.n_params)
    assert model.cut(w, sets[0]).shape == (3, GREY.n_params)
    again = retriever.retrieved(model, sets[0], CONFIG, seed=1)
    assert again.shape == (4, COLOURED.n_params)
    assert torch.equal(again, retriever.retrieved(model, sets[0], CONFIG, seed=1))


def test_every_way_has_a_row_of_every_data_set(found):
    ways = ["originals", "one-hot", "nothing", "one-hot, beside the code"]
    ways += ["one-hot, from digits", "one-hot, from digits, spread"]
    assert {(r["way"], r["support"]) for r in found} == {
        (way, name) for way in ways for name in ("grey", "coloured")
    }
    assert all(set(r["works_on"]) == {"grey", "coloured"} for r in found if "works_on" in r)


def test_the_diagonal_of_the_confusion_matrix_is_the_accuracy(found):
    matrix = retrieve_networks.confusion([r for r in found if r["way"] == "one-hot"])
    for row in over_seeds(found, "way", "support"):
        if row["way"] == "one-hot":
            at = row["support"]
            assert matrix[at][at] == pytest.approx(row["accuracy"], abs=1e-6)


def test_the_prior_of_trained_networks_draws_their_codes(encoder):
    other = zoo_store.shipped("digits").of(torch.arange(4))
    w = padding.pad_rows(other.architecture, COLOURED, other.w[:, -1], retriever.PAD)
    codes = encoder.encode(w)
    drawn = retrieve_networks.bank(other, encoder, COLOURED)(20, encoder.latent, stream(0))
    assert torch.cdist(drawn, codes).amin(1).max() < 1e-4
    spread = retrieve_networks.bank(other, encoder, COLOURED, 1.0)(
        20, encoder.latent, stream(0)
    )
    assert torch.cdist(spread, codes).amin(1).min() > 0.1


def test_a_data_set_shows_training_images_alone_as_they_were():
    config = replace(CONFIG, n_pool=100)
    data = retriever.data_set(zoo_store.shipped("digits").of(torch.arange(5)), config)
    splits = recipes.load(recipes.RECIPES["digits"])
    known, new = data.known.images, data.new.images
    assert known.shape == new.shape == (100, 3, 28, 28)
    assert 0 <= known.min() < 0.01 and 0.99 < known.max() <= 1
    back = (known[:, :1] - 0.1307) / 0.3081
    torch.testing.assert_close(back, splits.train.images[:100], atol=1e-4, rtol=0)
    assert torch.equal(data.new.labels, splits.train.labels[100:200])
    assert len(data.originals.train) == 4


def test_what_cannot_be_compared_is_named_before_any_work(sets):
    with pytest.raises(DataMissingError, match="shipped are digits, glyphs, objects"):
        retrieve_networks.open_sets(["digits", "nowhere"], CONFIG)
    with pytest.raises(ConfigError, match="two or more zoos"):
        retrieve_networks.open_sets(["digits"], CONFIG)
    with pytest.raises(ConfigError, match="unknown option 'camel'"):
        retrieve_networks.measure(sets, ["camel"], CONFIG, seed=0)
    with pytest.raises(ConfigError, match="more channels than all others"):
        other = zoo_store.shipped("objects").of(torch.arange(3))
        retrieve_networks.measure(sets[:1], ["one-hot"], CONFIG, seed=0, other=other)


def test_the_originals_are_no_sample_of_seeds():
    row = {"support": "digits", "n": 80, "chosen": 0.9, "distance": 1.0}
    rows = [
        row | {"way": way, "accuracy": a}
        for way, over in {"originals": (0.9, 0.9, 0.9), "caml": (0.1, 0.2, 0.3)}.items()
        for a in over
    ]
    found = {"about": {"command": "do", "config": ""}, "rows": rows}
    text = retrieve_networks.markdown({"0": found})
    assert "| originals | digits | 3 x 80 | 90.0 |" in text
    assert "| caml | digits | 3 x 80 | 20.0 ± 24.8 |" in text  # 4.30 * 10 / sqrt(3)


def test_tables_name_ways_seeds_and_the_command(found):
    more = [{**row, "seed": 1} for row in found]
    about = {"command": "do", "config": "c"}
    seeds = {"0": {"about": about, "rows": found}, "1": {"about": about, "rows": more}}
    text = retrieve_networks.markdown(seeds)
    assert text.count("`do`") == 1 and "| one-hot | grey | 2 x 4 |" in text
    assert "## nothing: support set (row), works on (column)" in text
    gaps = [line.split(" | ")[4] for line in text.splitlines() if "| originals" in line]
    assert gaps == ["0.0", "0.0"]


def test_networks_work_elsewhere_as_their_accuracy_there_says(sets, encoder):
    model = retriever.fit_retriever(sets, encoder, "nothing", CONFIG)
    row = retriever.judge(model, sets, CONFIG, seed=2)[1]
    w = model.cut(retriever.retrieved(model, sets[1], CONFIG, seed=2), sets[0])
    wanted = float(zoo.accuracies(GREY, w, *sets[0].originals.test).mean())
    assert row["works_on"]["grey"] == pytest.approx(wanted)
