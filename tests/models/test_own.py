"""A reader's module does what it did, as a row among rows; what cannot is told why."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hyperlab.base import ConfigError, stream
from hyperlab.models import own
from hyperlab.weights import align, encoders, flow, novelty, recipes, zoo
from hyperlab.weights.recipes import Images, Recipe, Splits
from hyperlab.weights.zoo import Zoo, ZooConfig

SIZE, CLASSES = 8, 3


def chain():
    first = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*first, nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, CLASSES))


class Skip(nn.Module):
    """Everything that a chain is not: a norm, a skip, a scalar, tied weights, dropout."""

    def __init__(self):
        super().__init__()
        self.read = nn.Conv2d(1, 4, 3)
        self.norm = nn.GroupNorm(1, 4)
        self.inner = nn.Linear(4, 4)
        self.again = self.inner
        self.heat = nn.Parameter(torch.tensor(1.5))
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.norm(self.read(x)).relu().mean((2, 3))
        x = x + self.drop(self.again(self.inner(x)))
        return self.heat * self.out(x)


def attends():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
    return nn.Sequential(nn.Flatten(0, 1), layer, nn.Flatten(), nn.Linear(64, CLASSES))


MODULES = {"chain": chain, "skip": Skip, "attends": attends}


def images(n=6):
    return torch.randn(n, 1, SIZE, SIZE, generator=stream(0, "images"))


def network(make):
    return own.network(make, channels=1, size=SIZE)


def splits():
    """Three classes told apart by which third of the rows is bright."""
    labels = torch.arange(60) % CLASSES
    x = 0.5 * torch.randn(60, 1, SIZE, SIZE, generator=stream(0, "stripes"))
    for i, k in enumerate(labels.tolist()):
        x[i, 0, 3 * k : 3 * k + 2] += 1
    part = Images(x, labels)
    return Splits(part, part.first(20), part.first(30), CLASSES, "made up")


CONFIG = ZooConfig(
    recipe=Recipe(dataset="stripes", lr=1e-2), n_networks=4, epochs=(0, 8), batch=10
)


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_a_row_holds_every_number_that_trains(make):
    net = network(make)
    assert net.n_classes == CLASSES
    assert net.n_params == sum(p.numel() for p in make().parameters())


@pytest.mark.parametrize("name", ["chain", "skip"])
def test_many_at_once_learn_what_each_learns_alone(name):
    net, data = network(MODULES[name]), splits()
    found = zoo.train(CONFIG, data, [5, 6], network=net)["w"]
    for k, seed in enumerate((5, 6)):
        first = net.untrained(stream(seed, "stripes", "init"))
        assert torch.equal(found[k, 0], first)
        model = net.module(first)
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for epoch in range(1, 9):
            order = torch.randperm(60, generator=stream(5, "stripes", "order", epoch))
            for rows in order.split(10):
                optimiser.zero_grad()
                F.cross_entropy(model(data.train[0][rows]), data.train[1][rows]).backward()
                optimiser.step()
        alone = net.flatten(dict(model.named_parameters()))
        torch.testing.assert_close(found[k, 1], alone, atol=2e-3, rtol=1e-2)


def test_a_zoo_of_ones_own_is_encoded_generated_and_judged():
    net, data = network(Skip), splits()
    trained = zoo.train(CONFIG, data, range(10), network=net)
    seeds = tuple(range(10))
    whole = Zoo(architecture=net, epochs=(0, 8), seeds=seeds, dataset="stripes", **trained)
    assert whole.accuracy[:, 1].mean() > 0.8 > whole.accuracy[:, 0].mean()
    train, held_out = (part.at_epoch(8) for part in whole.split((0.8, 0.2), stream(0)))
    judges = (tuple(data.val), tuple(data.test))
    originals = novelty.Originals(net, train, held_out, *judges)
    encoder = encoders.PCA(train, 6)
    assert encoders.ceiling(net, encoder, train, judges[1]).after.mean() > 0.7
    settings = flow.FlowConfig(width=16, depth=1, steps=30, batch=8)
    model = flow.fit_flow(encoder.encode(train), settings, generator=stream(0))
    drawn = encoder.decode(model.sample(4, generator=stream(1)))
    assert 0 <= novelty.judge(drawn, originals).accuracy <= 1


def test_a_chain_is_aligned_and_stays_the_same_function():
    net = network(chain)
    assert [layer.n_out for layer in net.layers] == [4, 5, CLASSES]
    w = torch.stack([net.untrained(stream(seed)) for seed in range(3)])
    new = align.random_relabelling(net, 3, stream(0, "labels"))
    moved = align.relabel(net, w, new)
    torch.testing.assert_close(
        net.logits(moved, images()), net.logits(w, images()), atol=1e-5, rtol=1e-4
    )
    found = align.align(net, moved[:1], w[0], generator=stream(0))
    torch.testing.assert_close(found[0], w[0])


class Reads(nn.Module):
    """A chain by its layers, but the order of its hidden channels matters."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(SIZE * SIZE, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.two(self.one(x.flatten(1)).cumsum(1))


@pytest.mark.parametrize("make", [Skip, attends, Reads])
def test_what_is_no_chain_is_not_aligned(make):
    net = network(make)
    w = net.untrained(stream(0))
    with pytest.raises(ConfigError, match="cannot be aligned: it is no chain"):
        align.align(net, w[None], w, generator=stream(0))


class Coin(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(SIZE * SIZE, CLASSES)

    def forward(self, x):
        return self.out(x.flatten(1)) + torch.rand(1)


class Branches(Coin):
    def forward(self, x):
        x = self.out(x.flatten(1))
        return x if x.sum() > 0 else -x


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


class Fourier(nn.Module):
    """Random features, kept as a buffer, that no row holds."""

    def __init__(self, generator=None):
        super().__init__()
        self.register_buffer("waves", torch.randn(64, 8, generator=generator))
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.out((x.flatten(1) @ self.waves).sin())


class Attribute(Fourier):
    """The same, kept as a plain attribute."""

    def __init__(self):
        nn.Module.__init__(self)
        self.waves, self.out = torch.randn(64, 8), nn.Linear(8, CLASSES)


class Number(Coin):
    """A random number that is no tensor at all."""

    def __init__(self):
        super().__init__()
        self.heat = float(torch.rand(()))

    def forward(self, x):
        return self.heat * self.out(x.flatten(1))


def half_frozen(std=0.0):
    """A first layer that is not trained: the same in all, or with std > 0 drawn anew."""
    layers = flat(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    nn.init.constant_(layers[1].weight, 0.01)
    nn.init.normal_(layers[1].bias, std=std)
    layers[1].requires_grad_(False)
    return layers


def spectral(norm):
    return lambda: flat(norm(nn.Linear(64, CLASSES)))


FIXED = chain()
WRONG = [
    (lambda: 3, "make.. gave a int"),
    (lambda: flat(nn.Linear(64, 3), nn.BatchNorm1d(3)), "batch statistics in .*GroupNorm"),
    (lambda: flat(nn.LazyLinear(3)), "lazy layers"),
    (lambda: flat(), "wants parameters of 32-bit"),
    (lambda: flat(nn.Linear(64, 3).double()), "wants parameters of 32-bit"),
    (lambda: flat(nn.Linear(10, 3)), "does not take images of"),
    (lambda: nn.Conv2d(1, 3, 3), "want n x classes"),
    (lambda: FIXED, "the same weights twice"),
    (Coin, "vmap"),
    (Branches, "vmap"),
    (Fourier, r"two Fourier .* are two networks: \['waves'\]"),
    (Attribute, r"are two networks: \['waves'\]"),
    (Number, "two Number .* are two networks: something"),
    (lambda: half_frozen(1.0), r"are two networks: \['1.bias'\]"),
    (spectral(nn.utils.parametrizations.spectral_norm), "are two networks: .*_u"),
    (spectral(nn.utils.spectral_norm), "are two networks: .*weight_u"),
]


@pytest.mark.parametrize(("make", "words"), WRONG)
def test_what_cannot_be_a_network_is_told_why(make, words):
    with pytest.raises(ConfigError, match=words):
        network(make)


def seeded():
    return Fourier(stream(0, "waves"))


def test_what_a_row_does_not_hold_may_stay_where_it_is_the_same_in_all():
    for make, names in ((seeded, {"out"}), (half_frozen, {"3"})):
        net = network(make)
        assert {name.split(".")[0] for name in net.shapes} == names
        row = net.untrained(stream(3))
        said = net.logits(row[None], images())[0]
        torch.testing.assert_close(net.module(row)(images()), said, atol=1e-5, rtol=1e-4)


def test_frozen_layers_are_not_trained():
    net = network(half_frozen)
    rows = zoo.train(CONFIG, splits(), [0, 1], network=net)["w"][:, -1]
    first, trained = half_frozen()[1], net.module(rows[0])[1]
    assert torch.equal(trained.weight, first.weight) and not trained.weight.requires_grad
    assert not torch.equal(rows[0], net.untrained(stream(0, "stripes", "init")))


def test_other_images_and_classes_are_refused():
    net = network(chain)
    with pytest.raises(ConfigError, match=r"takes \(1, 8, 8\), got \(3, 8, 8\)"):
        net.logits(net.untrained(stream(0))[None], torch.zeros(2, 3, SIZE, SIZE))
    four = recipes.Splits(*(splits().train,) * 3, 4, "made up")
    with pytest.raises(ConfigError, match="says 3 classes, the images are of 4"):
        zoo.train(CONFIG, four, [0], network=net)
