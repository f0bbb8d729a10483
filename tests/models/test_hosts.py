"""Norm layers of timm networks: which they are, and that a row says what the network does."""

import pytest
import timm
import torch
from torch import nn

from hyperlab.base import ConfigError, DataMissingError, stream
from hyperlab.models import backbones, cnn, targets

TINY = ("test_resnet", "test_vit", "test_convnext")
each_kind = pytest.mark.parametrize("name", TINY)


def host(name="test_resnet", seed=0, size=32):
    """A small host whose running statistics are not those of an untrained network."""
    made = backbones.build_host(name, 10, size=size, generator=stream(seed, name))
    for key, x in made.model.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            x.add_(0.1 * torch.rand(x.shape, generator=stream(seed, key)))
    return made


def images(n=4, channels=3, size=32):
    return torch.randn(n, channels, size, size, generator=stream(0, "x", n))


def rows(made, n=3):
    noise = torch.randn(n, made.n_params, generator=stream(0, "rows"))
    return made.w0 + 0.3 * noise


def loaded(made, row):
    """The whole network with a row put into it by torch's own means, ready to be trained."""
    model = backbones.build_host(
        made.name, made.n_classes, size=made.size, generator=stream(9, "x")
    ).model
    model.load_state_dict(made.model.state_dict() | made.unflatten(row))
    return model.requires_grad_(True)


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
    made = backbones.Host(name, model, 10, 224)
    assert made.n_params == n_params
    wanted = tuple(f"{norm}.{part}" for norm in norms for part in ("weight", "bias"))
    assert made.subset.names == wanted


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4),
        nn.GroupNorm(2, 4),
        timm.layers.BatchNormAct2d(4),
        timm.layers.LayerNorm2d(4),
        timm.layers.GroupNorm1(4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_norms_are_found_by_kind_not_by_name(layer):
    model = nn.Sequential(nn.LayerNorm(4), layer, nn.Linear(4, 4), nn.ReLU())
    assert backbones.last_norms(model) == ("0", "1")


def test_norms_without_weights_of_their_own_do_not_count():
    plain = nn.LayerNorm(4, elementwise_affine=False)
    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4), plain)
    assert backbones.last_norms(model) == ("0", "1")
    with pytest.raises(ConfigError, match=r"want 2 normalisation layers.*\['0'\]"):
        backbones.last_norms(nn.Sequential(nn.LayerNorm(4), plain))


@each_kind
def test_many_rows_say_what_each_network_says_by_itself(name, monkeypatch):
    made = host(name)
    w, x = rows(made), images(5)
    with torch.no_grad():
        wanted = torch.stack([loaded(made, row).eval()(x) for row in w])
        torch.testing.assert_close(made.logits(w, x), wanted, rtol=1e-4, atol=1e-5)
        monkeypatch.setattr(backbones, "PAIRS", 6)  # two images at once
        torch.testing.assert_close(made.logits(w, x), wanted, rtol=1e-4, atol=1e-5)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3


@each_kind
def test_gradients_are_those_of_the_networks_parameters(name):
    made = host(name)
    w, x = rows(made, 2).requires_grad_(), images()
    made.logits(w, x).square().sum().backward()
    for row, found in zip(w.detach(), w.grad, strict=True):
        model = loaded(made, row).eval()
        model(x).square().sum().backward()
        wanted = made.flatten({n: p.grad for n, p in model.named_parameters()})
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@each_kind
def test_the_hosts_own_row_is_the_host_and_nothing_changes_it(name):
    made = host(name)
    before = {k: x.clone() for k, x in made.model.state_dict().items()}
    wanted = made.model(images())
    torch.testing.assert_close(
        made.logits(made.w0[None], images())[0], wanted, rtol=1e-4, atol=1e-5
    )
    made.logits(rows(made), images())
    after = made.model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.requires_grad for p in made.model.parameters())


def test_grey_images_are_seen_in_three_equal_channels():
    made, grey = host(), images(channels=1)
    w = rows(made)
    assert torch.equal(made.logits(w, grey), made.logits(w, grey.expand(-1, 3, -1, -1)))


def test_images_of_another_size_are_resized():
    made = host()
    flat = torch.full((1, 3, 28, 28), 0.5)
    torch.testing.assert_close(made.see(flat), torch.full((1, 3, 32, 32), 0.5))
    assert made.logits(rows(made), images(size=28)).shape == (3, 4, 10)


def test_both_kinds_of_network_keep_the_protocol():
    for network in (host(), cnn.cnn_small()):
        assert isinstance(network, cnn.Network)
    assert not isinstance(nn.Linear(2, 2), cnn.Network)


def test_first_weights_depend_on_the_generator_alone():
    a, b, c = (host(seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_what_does_not_fit_is_refused():
    made = host()
    with pytest.raises(ConfigError, match=f"this subset has {made.n_params}"):
        made.logits(torch.zeros(2, 5), images())
    with pytest.raises(ConfigError, match="takes 1 or 3 channels, got 2"):
        made.logits(rows(made), images(channels=2))


def test_an_unknown_network_is_answered_with_its_neighbours():
    with pytest.raises(ConfigError, match="no network 'resnet19'.*'resnet18'"):
        backbones.build_host("resnet19", 10, generator=stream(0, "x"))


def test_pretrained_weights_that_cannot_be_fetched_are_missing_data(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(DataMissingError, match="no weights of 'resnet18'"):
        backbones.build_host("resnet18", 10, pretrained=True, generator=stream(0, "x"))
