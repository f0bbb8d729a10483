"""Any timm network is a target: what it says, what of it moves, and that many tasks may differ."""

import pytest
import torch

from hyperlab import params
from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow.collect import token_size
from hyperlab.hyperflow.context import encode
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune
from hyperlab.models import backbones
from tests.tiny import support

NAMES = ("test_resnet", "test_convnext", "test_vit", "test_efficientnet_gn")
CHOICES = {  # network -> the usual subsets that it has
    "test_resnet": {"norms", "last two norms", "all biases", "everything"},
    "test_vit": {"qkv biases", "query and value biases", "norms", "last two norms"}
    | {"all biases", "everything"},
    "test_nfnet": {"all biases", "everything"},
}


def target(name, what="norms", size=32):
    whole = backbones.load(name, size=size, generator=stream(0, name))
    return whole.moving(backbones.subsets(whole.model)[what])


@pytest.mark.parametrize("name", NAMES)
def test_features_of_many_thetas_are_those_of_each(name):
    t = target(name)
    thetas = t.theta0 + 0.1 * torch.randn(2, len(t.theta0), generator=stream(0))
    images = support(size=32).images
    task = torch.tensor([0, 1, 0, 1, 1, 0])
    together = t.features(thetas, images, task)
    for k in range(2):
        alone = t.features(thetas[k], images[task == k])
        torch.testing.assert_close(together[task == k], alone, atol=1e-4, rtol=1e-3)
    assert t.features(t.theta0, images).shape == (6, t.dim)


@pytest.mark.parametrize("name", NAMES)
def test_a_context_has_the_announced_sizes_and_depends_on_the_image(name):
    t = target(name)
    context = encode(t, support(size=32))
    inputs, dim = t.context_sizes
    assert context.features.shape == (6, inputs) and context.residual.shape == (6, dim)
    assert len(context.features.unique(dim=0)) == 6
    features = t.features(t.theta0, support(size=32).images)
    middle = context.features[:, -2 * dim : -dim]
    torch.testing.assert_close(middle, features, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("what", ["norms", "last two norms", "all biases"])
def test_fine_tuning_lowers_the_support_loss_of_every_task(what):
    t, supports = target("test_resnet", what), [support(seed=s, size=32) for s in range(2)]
    config = TeacherConfig(steps=8, lr=0.02, optimiser="adam")
    views = [stream(0, k) for k in range(2)]
    *_, (last, _) = fine_tune(t, Supports.join(supports), config, views)
    for theta, some in zip(last, supports, strict=True):
        assert t.support_loss(theta, some) < t.support_loss(t.theta0, some)


@pytest.mark.parametrize("name", CHOICES)
def test_the_usual_subsets_are_those_that_the_network_has(name):
    whole = backbones.load(name, generator=stream(0))
    found = backbones.subsets(whole.model)
    assert set(found) == CHOICES[name]
    for match in found.values():
        t = whole.moving(match)
        assert t.subset.n_params % token_size(t) == 0
        assert all(size % token_size(t) == 0 for size in t.subset.sizes)


def test_batch_norms_are_norms_by_kind_and_not_by_name():
    whole = backbones.load("test_resnet", generator=stream(0))
    assert not any(map(params.norms, whole.subset.names))
    assert whole.moving(backbones.subsets(whole.model)["norms"]).subset.n_params == 2080


def test_random_weights_come_from_the_stream_alone():
    first, same, other = (
        backbones.load("test_resnet", generator=stream(seed)).theta0 for seed in (0, 0, 1)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_what_cannot_be_a_target_is_told_why():
    with pytest.raises(ConfigError, match="no network 'resnet81'"):
        backbones.load("resnet81", generator=stream(0))
    with pytest.raises(ConfigError, match="take a larger size"):
        backbones.load("test_vit", size=8, generator=stream(0))
    t = target("test_resnet")
    with pytest.raises(ConfigError, match="need `task`"):
        t.features(t.theta0.expand(2, -1), support(size=32).images)
    with pytest.raises(ConfigError, match="theta has 5 numbers"):
        t.features(torch.zeros(2, 5), support(size=32).images, torch.zeros(6).long())
