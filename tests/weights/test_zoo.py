"""Zoos: many networks at once learn what each learns alone, and their stores lose nothing."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hyperlab import checkpoint
from hyperlab.base import ArtifactError, ConfigError, DataMissingError, stream
from hyperlab.executor import Executor, one_thread
from hyperlab.models import cnn
from hyperlab.weights import recipes, zoo, zoo_store
from hyperlab.weights.recipes import RECIPES, Images, Recipe, Splits
from hyperlab.weights.zoo import TailConfig, Zoo, ZooConfig
from tests.tiny import files, modules, noise_domain

DIGITS = RECIPES["digits"]
CONFIG = ZooConfig(
    recipe=replace(DIGITS, init="kaiming_uniform", lr=3e-3),
    n_networks=4,
    group=2,
    epochs=(0, 1, 2),
    batch=20,
    n_train=200,
    n_eval=60,
)


def noise(network, n=24):
    g = stream(0, "noise")
    x = torch.randn(n, network.channels, network.size, network.size, generator=g)
    part = Images(x, torch.randint(network.n_classes, (n,), generator=g))
    return Splits(part, part.first(8), part.first(8), network.n_classes, "noise")


def alone(network, row, recipe, batches):
    """The row after torch's own loop of one model, module by module."""
    model, names = modules(network)
    state = network.unflatten(row)
    model.load_state_dict({names[name]: tensor for name, tensor in state.items()})
    optimiser = torch.optim.Adam(
        model.parameters(), recipe.lr, weight_decay=recipe.weight_decay
    )
    for images, labels in batches:
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()
    state = model.state_dict()
    return network.flatten({name: state[names[name]] for name in names})


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar10_medium"])
def test_many_at_once_learn_what_each_learns_alone(name):
    recipe = RECIPES[name]
    network = recipe.network()
    splits = noise(network)
    config = ZooConfig(recipe=recipe, epochs=(0, 2), batch=10)
    found = zoo.train(config, splits, [3, 4, 5])["w"]
    batches = []
    for epoch in (1, 2):
        order = torch.randperm(24, generator=stream(3, recipe.dataset, "order", epoch))
        batches += [tuple(t[r] for t in splits.train) for r in order.split(10)]
    for first, last in found:
        torch.testing.assert_close(
            last, alone(network, first, recipe, batches), atol=1e-5, rtol=1e-5
        )


def test_a_network_depends_on_its_seed_and_its_groups_order_alone():
    splits = noise(DIGITS.network())
    config = replace(CONFIG, epochs=(1,))
    both = zoo.train(config, splits, [7, 8])["w"]
    torch.testing.assert_close(zoo.train(config, splits, [7])["w"], both[:1])


def test_published_first_weights_are_uniform_and_biases_a_hundredth():
    network = cnn.cnn_small()
    for init, low, high in (("uniform", 0, 1), ("kaiming_uniform", -0.49, 0.49)):
        state = network.unflatten(recipes.untrained(network, init, stream(0, init)))
        first = state["conv1.weight"]  # 25 inputs: sqrt(6 / 25) = 0.49
        assert low <= first.min() < low + 0.05 and high - 0.05 < first.max() <= high
        assert all((state[f"{la.name}.bias"] == 0.01).all() for la in network.layers)


def test_a_zoo_learns_digits():
    config = replace(CONFIG, epochs=(0, 10))
    splits = recipes.load(config.recipe).first(400, 200)
    with one_thread():
        found = zoo.train(config, splits, [0, 1])
    assert found["accuracy"][:, 0].max() < 0.3 and found["accuracy"][:, 1].min() > 0.6
    assert (found["loss"][:, 1] < found["loss"][:, 0]).all()


def test_a_diverged_network_is_marked_and_disturbs_no_other(tmp_path, monkeypatch):
    draw = zoo.untrained
    whole = zoo_store.train_zoo(tmp_path / "whole", CONFIG).read()
    seeds = []

    def broken(network, init, generator):
        seeds.append(len(seeds))
        return draw(network, init, generator) * (torch.inf if seeds[-1] == 1 else 1)

    monkeypatch.setattr(zoo, "untrained", broken)
    store = zoo_store.train_zoo(tmp_path / "store", CONFIG)
    assert store.n_diverged == 1
    left = store.read()
    assert left.seeds == (0, 2, 3)
    torch.testing.assert_close(left.w, whole.w[[0, 2, 3]])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return zoo_store.train_zoo(tmp_path_factory.mktemp("zoo") / "store", CONFIG)


def test_a_store_reads_as_the_zoo_that_was_trained(store):
    found = store.read()
    assert found.w.shape == (4, 3, 2464) and found.seeds == (0, 1, 2, 3)
    assert found.epochs == (0, 1, 2) and found.architecture == DIGITS.network()
    splits = recipes.load(CONFIG.recipe).first(200, 60)
    with one_thread():  # as an executor does: the same bits
        again = zoo.train(CONFIG, splits, [2, 3])
    assert torch.equal(again["w"], found.w[2:])
    assert torch.equal(again["val_accuracy"], found.val_accuracy[2:])
    assert len(store.dataset().w.dims) == 3


def test_a_run_that_stopped_ends_in_the_same_bytes(store, tmp_path):
    def stops(items, *, total, desc):
        for item in items:
            yield item
            raise KeyboardInterrupt

    path = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        zoo_store.train_zoo(path, CONFIG, progress=stops)
    assert zoo_store.ZooStore.open(path).missing == [1]
    zoo_store.train_zoo(path, CONFIG)
    assert files(path) == files(store.path)


def test_two_workers_write_the_same_bytes(store, tmp_path):
    zoo_store.train_zoo(tmp_path / "store", CONFIG, executor=Executor(workers=2))
    assert files(tmp_path / "store") == files(store.path)


def test_another_configuration_or_an_empty_store_is_named(store, tmp_path):
    with pytest.raises(ArtifactError, match=r"\(config.seed: was 0, is 1\)"):
        zoo_store.train_zoo(store.path, replace(CONFIG, seed=1))
    with pytest.raises(DataMissingError, match="run: python data_scripts/train_zoo.py"):
        zoo_store.ZooStore.open(tmp_path / "none")
    with pytest.raises(ArtifactError, match="holds no network yet"):
        zoo_store.create(tmp_path / "empty", CONFIG).read()


def test_a_single_run_keeps_its_tail_every_few_steps(tmp_path):
    splits = noise(DIGITS.network())
    ends = replace(CONFIG, n_networks=1, epochs=(1,), batch=8)
    tail = TailConfig(n=3, every=2, lr=ends.recipe.lr)
    kept = zoo.train(replace(ends, tail=tail), splits, [0])["w"][0]
    epochs = zoo.train(replace(ends, epochs=(1, 2, 3)), splits, [0])["w"][0]
    assert torch.equal(kept[2], epochs[2])  # 3 steps an epoch: 3 + 3 * 2 steps are 3 epochs
    still = zoo.train(replace(ends, tail=replace(tail, lr=0.0)), splits, [0])["w"][0]
    assert torch.equal(still, epochs[:1].expand(3, -1))
    config = replace(ends, tail=tail, n_train=60, n_eval=20)
    found = zoo_store.train_zoo(tmp_path / "store", config).read()
    assert found.w.shape == (1, 3, 2464) and found.epochs == (1, 2, 3)


def some_zoo(n=10, epochs=(21, 22), **how):
    network = cnn.cnn_small(activation="gelu")
    w = torch.randn(n, len(epochs), network.n_params, generator=stream(0, "zoo"))
    tables = torch.rand(3, n, len(epochs), generator=stream(1, "zoo"))
    given = {"architecture": network, "w": w, "epochs": epochs, "seeds": tuple(range(n))}
    return Zoo(**{**given, "dataset": "made up", **how}, **dict(zip(
        ("accuracy", "val_accuracy", "loss"), tables, strict=True)))  # fmt: skip


def test_parts_of_a_zoo_share_no_seed():
    whole = some_zoo(12, seeds=(0, 1, 2, 3, 4, 5) * 2)
    parts = whole.split((0.5, 0.25, 0.25), stream(0, "split"))
    seeds = [set(part.seeds) for part in parts]
    assert set.union(*seeds) == set(range(6)) and sum(map(len, seeds)) == 6
    for part in parts:
        for row, seed in zip(part.w, part.seeds, strict=True):
            assert any(
                torch.equal(row, other)
                for other, own in zip(whole.w, whole.seeds, strict=True)
                if own == seed
            )
    with pytest.raises(ConfigError, match="6 seeds cannot be split"):
        whole.split((0.99, 0.01), stream(0, "split"))


def test_an_epoch_is_found_by_its_number():
    some = some_zoo()
    assert torch.equal(some.at_epoch(22), some.w[:, 1])
    with pytest.raises(ConfigError, match=r"no epoch 25 in this zoo; have \[21, 22\]"):
        some.at_epoch(25)


def test_networks_say_in_passes_what_they_say_at_once(monkeypatch):
    some, g = some_zoo(), stream(2, "zoo")
    images, labels = torch.randn(7, 1, 28, 28, generator=g), torch.arange(7)
    network, w = some.architecture, some.at_epoch(21)
    with torch.no_grad():
        logits = network.logits(w, images)
    monkeypatch.setattr(zoo, "PASS", {"cpu": (3, 2)})
    said = zoo.predict(network, w, images)
    assert torch.equal(said, logits.argmax(2))
    right = (logits.argmax(2) == labels).float().mean(1)
    torch.testing.assert_close(zoo.accuracies(network, w, images, labels), right)
    accuracy, loss = zoo.score(network, w, images, labels)
    torch.testing.assert_close(accuracy, right)
    wanted = torch.stack([F.cross_entropy(row, labels) for row in logits])
    torch.testing.assert_close(loss, wanted)


def test_a_zoo_opens_by_name_from_a_store_and_from_a_file(tmp_path):
    store = zoo_store.train_zoo(tmp_path / "store", CONFIG)
    zoo_store.save_zoo(store.read(), tmp_path / "zoo.safetensors", trained=CONFIG)
    for name in ("store", "zoo.safetensors"):
        found, trained = zoo_store.open_zoo(tmp_path / name)
        assert torch.equal(found.w, store.read().w) and found.checksums
        assert (trained.recipe, trained.batch) == (CONFIG.recipe, CONFIG.batch)
    assert zoo_store.open_zoo("digits")[1].recipe == ZooConfig.at("laptop").recipe
    zoo_store.save_zoo(store.read(), tmp_path / "untold")
    with pytest.raises(
        ConfigError, match="untold does not say how its networks were trained"
    ):
        zoo_store.require_training(zoo_store.open_zoo(tmp_path / "untold")[1], "untold")


@pytest.mark.parametrize("name", zoo_store.SHIPPED)
def test_a_hundred_networks_come_with_the_package_and_know_their_images(name):
    found = zoo_store.shipped(name)
    assert len(found) == 100 and found.dataset == name and found.epochs[-1] == 10
    assert found.accuracy[:, -1].mean() > 0.8
    test = recipes.load(RECIPES[name]).test  # of which the file says the accuracy
    again = zoo.accuracies(found.architecture, found.w[:5, -1], *test.first(2_000))
    torch.testing.assert_close(again, found.accuracy[:5, -1], atol=0.02, rtol=0)


def test_a_zoo_of_networks_that_are_unknown_is_named(tmp_path):
    path = tmp_path / "zoo.safetensors"
    network = {"name": "cnn_small", "channels": 1, "n_classes": 10, "activation": "sine"}
    spec = {"network": network, "dataset": "x", "epochs": [21, 22], "checksums": None}
    checkpoint.save(path, zoo_store.KIND, {"seeds": torch.arange(2)}, spec)
    with pytest.raises(ArtifactError, match=r"is no whole zoo.*'sine'; have \['gelu'"):
        zoo_store.load_zoo(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda z: {"w": z.w.index_fill(0, torch.tensor([3]), torch.nan)},
            r"1 of 10 trained networks .* rows \[3\]",
        ),
        (lambda z: {"w": z.w[..., :-1]}, "has 2464 weights, got rows of 2463"),
        (
            lambda z: {"architecture": cnn.cnn_medium()},
            "has 10853 weights, got rows of 2464",
        ),
        (lambda z: {"epochs": (1,)}, r"w is of \(10, 2\) networks and epochs, the zoo of"),
    ],
)
def test_a_zoo_that_cannot_be_is_named(change, says):
    some = some_zoo()
    with pytest.raises(ConfigError, match=says):
        replace(some, **change(some))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_its_published_settings(name):
    recipe = RECIPES[name]
    grey = recipe.channels == 1
    assert grey == (recipe.activation == "tanh" and recipe.init == "uniform")
    assert recipe.lr == (3e-3 if name == "svhn" else 3e-4 if grey else 1e-4)
    assert recipe.activation == ("tanh" if grey or "stl" in name else "gelu")
    paper = ZooConfig.at("paper", name)
    assert paper.recipe == recipe and paper.batch == 10 and paper.epochs[-1] == 50


def test_images_for_validation_leave_the_training_part_and_test_stays_apart():
    train, test = noise_domain("train", [30] * 4), noise_domain("test", [10] * 4)
    test = replace(test, class_names=train.class_names)
    recipe = Recipe(dataset="mnist", val=0.25)
    parts = recipes.official_split(recipe, train, test)
    assert [len(p.labels) for p in (parts.train, parts.val, parts.test)] == [90, 30, 40]
    known = recipes.prepare(recipe, train.images).flatten(1)
    seen = torch.cat([parts.train.images, parts.val.images]).flatten(1)
    assert torch.equal(known.sum(1).sort().values, seen.sum(1).sort().values)
    own = recipes.own_split(recipe, test, "images")
    assert [len(p.labels) for p in (own.train, own.val, own.test)] == [28, 6, 6]
    assert own.origin == "own split 70:15:15 of 40 images"


def test_prepared_images_are_centred_and_grey_where_the_recipe_is():
    colour = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    colour[:, 1] = 255
    made = recipes.prepare(RECIPES["svhn"], colour)
    torch.testing.assert_close(made, torch.full((1, 1, 4, 4), (0.587 - 0.5) / 0.5))
    white = torch.full((1, 1, 4, 4), 255, dtype=torch.uint8)
    made = recipes.prepare(RECIPES["mnist"], white)
    torch.testing.assert_close(made, torch.full((1, 1, 4, 4), (1 - 0.1307) / 0.3081))
    with pytest.raises(ConfigError, match="cifar10 is grey"):
        recipes.prepare(RECIPES["cifar10"], white)


def test_drawn_images_are_split_and_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "DRAWN", 4)
    parts = recipes.load(RECIPES["textures"])
    assert parts.train.images.shape == (28, 3, 28, 28)
    assert parts.origin == "own split 70:15:15 of 40 drawn images"
    with pytest.raises(DataMissingError, match="no mnist in .*download_data.py mnist"):
        recipes.load(RECIPES["mnist"], root=tmp_path)
    with pytest.raises(ConfigError, match="unknown option 'nowhere'"):
        recipes.load(Recipe(dataset="nowhere"))


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "cifar10", "notmnist", "usps"])
def test_real_images_are_split_as_the_recipe_says(name):
    recipe = RECIPES[name]
    parts = recipes.load(recipe)
    n_train, n_val = len(parts.train.labels), len(parts.val.labels)
    whole = n_train + n_val
    if "own split" in parts.origin:
        whole += len(parts.test.labels)
    share = 0.15 if "own split" in parts.origin else recipe.val
    assert n_val == pytest.approx(share * whole, abs=1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": (2, 1)}, "epochs must be >= 0 and increase"),
        ({"epochs": ()}, "epochs must be >= 0 and increase"),
        ({"group": 0}, "must be >= 1"),
        ({"tail": TailConfig(n=0)}, "tail's n and every must be >= 1"),
    ],
)
def test_settings_that_cannot_be_are_named(wrong, says):
    with pytest.raises(ConfigError, match=says):
        replace(CONFIG, **wrong)
