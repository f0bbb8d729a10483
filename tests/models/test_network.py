"""Networks as rows of numbers: many at once say what each says alone, however it is written."""

import pytest
import timm
import torch
from torch import nn

from hyperlab.base import ConfigError, stream
from hyperlab.models import backbones, cnn, own, targets
from hyperlab.models.backbones import NormNetwork
from hyperlab.models.cnn import Architecture, Network
from hyperlab.models.network import FlatNetwork
from tests.models.test_own import MODULES, network
from tests.tiny import modules


def host(name="test_resnet", seed=0, size=32):
    """A small host whose running statistics are not those of an untrained network."""
    made = backbones.build_norm_network(name, 10, size=size, generator=stream(seed, name))
    for key, x in made.model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            x.add_(0.1 * torch.rand(x.shape, generator=stream(seed, key)))
    return made


FAST = {"small": cnn.cnn_small, "medium": cnn.cnn_medium}
RELU = {"relu": lambda: cnn.cnn_medium(activation="relu")}
HOSTS = {n: (lambda n=n: host(n)) for n in ("test_resnet", "test_vit", "test_convnext")}
OWN = {name: (lambda make=make: network(make)) for name, make in MODULES.items()}
KINDS = FAST | RELU | HOSTS | OWN
each_network = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
each_host = pytest.mark.parametrize("name", HOSTS)


def rows(net, n=3):
    if isinstance(net, own.OwnNetwork):
        return torch.stack([net.untrained(stream(seed)) for seed in range(n)])
    noise = 0.3 * torch.randn(n, net.n_params, generator=stream(0, net.name))
    return noise + net.w0 if isinstance(net, NormNetwork) else noise.double()


def images(net, n=5, channels=None, size=None):
    height, width = getattr(net, "shape", None) or (size or net.size,) * 2
    shape = (n, channels or getattr(net, "channels", 3), height, width)
    x = torch.randn(shape, generator=stream(0, "x", n))
    return x.double() if isinstance(net, Architecture) else x


def alone(net, row):
    """The network of a row by torch's own means, and the name of each of its parts there."""
    state = net.unflatten(row)
    if isinstance(net, Architecture):
        model, places = modules(net)
        model = model.double()  # where no two pixels are the largest of a pool
        model.load_state_dict({places[name]: x for name, x in state.items()})
    elif isinstance(net, NormNetwork):
        g = stream(9, "x")
        model = backbones.build_norm_network(net.name, 10, size=net.size, generator=g).model
        model.load_state_dict(net.model.state_dict() | state)
    else:
        model = net.module(row)
    places = places if isinstance(net, Architecture) else {name: name for name in state}
    return model.eval().requires_grad_(True), places


@each_network
def test_many_rows_say_and_learn_what_each_network_does_by_itself(make, monkeypatch):
    net = make()
    w, x = rows(net).requires_grad_(), images(net)
    logits = net.logits(w, x)
    (gradients,) = torch.autograd.grad(logits.square().sum(), w)
    for row, found, gradient in zip(w.detach(), logits, gradients, strict=True):
        model, places = alone(net, row)
        wanted = model(x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        wanted.square().sum().backward()
        grads = {name: model.get_parameter(place).grad for name, place in places.items()}
        torch.testing.assert_close(gradient, net.flatten(grads), rtol=1e-3, atol=1e-4)
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    monkeypatch.setattr(backbones, "PAIRS", 6)  # of a host: two images at once
    torch.testing.assert_close(net.logits(w, x), logits, rtol=1e-4, atol=1e-5)


@each_network
def test_a_row_goes_to_named_tensors_and_back_and_has_its_length(make):
    net = make()
    w = rows(net)
    assert isinstance(net, Network) and not isinstance(nn.Linear(2, 2), Network)
    assert torch.equal(net.flatten(net.unflatten(w)), w)
    assert torch.equal(net.flatten(net.unflatten(w[0])), w[0])
    with pytest.raises(ConfigError, match=f" has {net.n_params}"):
        net.logits(w[:, :5], images(net))


@pytest.mark.parametrize("fast", FAST.values(), ids=FAST)
def test_the_zoos_networks_are_flat_networks_written_out(fast):
    fast = fast()
    plain = own.network(lambda: modules(fast)[0], channels=fast.channels, size=fast.size)
    assert [*plain.shapes.values()] == [*fast.shapes.values()]
    w, x = rows(fast), images(fast, 4)
    grads = []
    for net in (fast, plain):
        leaf = w.clone().requires_grad_()
        logits = net.logits(leaf, x)
        grads.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), leaf)))
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted)


def test_frozen_parameters_are_no_part_of_a_row():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    found = FlatNetwork("two layers", model, 2)
    assert found.n_params == 6 and torch.equal(found.w0[:4], model[1].weight.flatten())
    with pytest.raises(ConfigError, match="theta has 5 numbers; this subset has 6"):
        found.logits(torch.zeros(2, 5), torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize(
    ("make", "options", "n"),
    [
        (cnn.cnn_small, {}, 2464),
        (cnn.cnn_small, {"channels": 3}, 2864),
        (cnn.cnn_medium, {}, 10853),
        (cnn.cnn_medium, {"channels": 1}, 10565),
        (cnn.cnn_medium, {"n_classes": 100}, 12743),
    ],
)
def test_the_sizes_of_the_zoos_networks_are_the_published_ones(make, options, n):
    assert make(**options).n_params == n


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        (lambda: cnn.cnn_small().unflatten(torch.zeros(2463)), "2464 weights, got rows of"),
        (
            lambda: cnn.cnn_small().logits(torch.zeros(1, 2464), torch.zeros(2, 3, 28, 28)),
            r"takes \(1, 28, 28\), got \(3, 28, 28\)",
        ),
        (lambda: cnn.cnn_small(activation="sine"), "unknown option 'sine'.*tanh"),
        (
            lambda: host().logits(rows(host()), images(host(), channels=2)),
            "takes 1 or 3 channels, got 2",
        ),
        (
            lambda: backbones.build_norm_network("resnet19", 10, generator=stream(0)),
            "no network 'resnet19'.*'resnet18'",
        ),
    ],
)
def test_what_does_not_fit_is_named(refused, says):
    with pytest.raises(ConfigError, match=says):
        refused()


@pytest.mark.parametrize(
    ("name", "norms", "n_params"),
    [
        ("resnet18", ("layer4.1.bn1", "layer4.1.bn2"), 2_048),
        ("vit_base_patch16_224", ("blocks.11.norm2", "norm"), 3_072),
        ("convnext_tiny", ("stages.3.blocks.2.norm", "head.norm"), 3_072),
    ],
)
def test_the_last_two_norms_are_the_papers_and_as_many_numbers(name, norms, n_params):
    with torch.device("meta"):  # shapes without numbers
        model = targets.classifier(name, 10, size=224, pretrained=False)
    assert backbones.last_norms(model) == norms
    made = NormNetwork(name, model, 10, 224)
    assert made.n_params == n_params
    wanted = tuple(f"{norm}.{part}" for norm in norms for part in ("weight", "bias"))
    assert made.subset.names == wanted


NORMS = [nn.BatchNorm1d(4), nn.GroupNorm(2, 4), timm.layers.BatchNormAct2d(4)]
NORMS += [timm.layers.LayerNorm2d(4), timm.layers.GroupNorm1(4)]


@pytest.mark.parametrize("layer", NORMS, ids=lambda layer: type(layer).__name__)
def test_norms_with_weights_of_their_own_are_found_by_kind_not_by_name(layer):
    plain = nn.LayerNorm(4, elementwise_affine=False)
    model = nn.Sequential(nn.LayerNorm(4), layer, nn.Linear(4, 4), nn.ReLU(), plain)
    assert backbones.last_norms(model) == ("0", "1")
    with pytest.raises(ConfigError, match=r"want 2 normalisation layers.*\['0'\]"):
        backbones.last_norms(nn.Sequential(nn.LayerNorm(4), plain))


@each_host
def test_the_hosts_own_row_is_the_host_and_nothing_changes_it(name):
    made = host(name)
    before = {k: x.clone() for k, x in made.model.state_dict().items()}
    x = images(made)
    found = made.logits(made.w0[None], x)[0]
    torch.testing.assert_close(found, made.model(x), rtol=1e-4, atol=1e-5)
    made.logits(rows(made), x)
    after = made.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.requires_grad for p in made.model.parameters())


def test_a_host_sees_grey_images_in_three_channels_and_resizes_the_others():
    made = host()
    w, grey = rows(made), images(made, channels=1)
    assert torch.equal(made.logits(w, grey), made.logits(w, grey.expand(-1, 3, -1, -1)))
    flat = torch.full((1, 3, 28, 28), 0.5)
    torch.testing.assert_close(made.see(flat), torch.full((1, 3, 32, 32), 0.5))
    assert made.logits(w, images(made, 4, size=28)).shape == (3, 4, 10)


def test_first_weights_depend_on_the_generator_alone():
    a, b, c = (host(seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)
