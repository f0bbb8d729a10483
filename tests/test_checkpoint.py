"""Every network as a file: it comes back, and what is missing, damaged or foreign is named."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hyperlab import checkpoint
from hyperlab.base import ArtifactError, ConfigError, DataMissingError, stream
from hyperlab.hyperflow import drift, jacobian_flow
from hyperlab.models import backbones, cnn, own, targets
from hyperlab.nn import lent
from hyperlab.weights import context, zoo_store
from hyperlab.weights.context import SetConfig
from hyperlab.weights.zoo import Zoo
from tests.tiny import tiny_flow, tiny_net, tiny_target

ABOUT = {"command": "by hand"}
BUILT = ("config", "shape", "target")
SETTINGS = (*BUILT, "epochs", "seeds", "dataset", "checksums")
TARGET, NET = tiny_target(), cnn.cnn_small()
W = torch.randn(6, NET.n_params, generator=stream(0, "w"))
SETS = SetConfig(n_classes=4, label=8, hidden=16)


class Case(NamedTuple):
    """A kind of network: one of it, how it is saved and loaded, and how one comes by another."""

    make: Callable[[], object]
    save: Callable[[object, Path], None]
    load: Callable[[Path], object]
    remedy: str
    half: bool = False  # saved in half precision


def seeded(make):
    """A module whose numbers are random, each of its buffers too."""
    with lent(stream(0, "seeded")):
        return make()


def set_encoder():
    net = seeded(lambda: context.SetEncoder(8, SETS))
    net.target = "tiny"
    return net


def population(network, w):
    g = stream(0, "scores")
    scores = {name: torch.rand(*w.shape[:2], generator=g) for name in zoo_store.SCORES}
    sums = {"images": "1", "labels": "2"}
    seeds = tuple(range(len(w)))
    return Zoo(network, w, (2, 5), seeds, dataset="digits", checksums=sums, **scores)


CASES = {
    "drift network": Case(
        lambda: seeded(lambda: tiny_net(TARGET, seed=0)),
        lambda net, path: drift.save(net, path, ABOUT),
        drift.load,
        r"shipped are \['linear'\], or run: python data_scripts/train_drift\.py",
        half=True,
    ),
    "Jacobian flow": Case(
        lambda: tiny_flow(TARGET),
        lambda net, path: jacobian_flow.save(net, path, ABOUT),
        jacobian_flow.load,
        r"run: python data_scripts/learn_jacobian\.py STORE",
        half=True,
    ),
    "set encoder": Case(
        set_encoder,
        lambda net, path: context.save(net, path, ABOUT),
        context.load,
        r"run: python data_scripts/train_context\.py",
        half=True,
    ),
    "zoo": Case(
        lambda: population(NET, W.unflatten(0, (3, 2))),
        lambda zoo, path: zoo_store.save_zoo(zoo, path, about=ABOUT),
        zoo_store.load_zoo,
        r"run: python data_scripts/train_zoo\.py",
    ),
    "backbone": Case(
        lambda: TARGET.model,
        lambda model, path: checkpoint.save(path, targets.KIND, model, {}, ABOUT),
        lambda path: targets.read_weights(path, tiny_target(seed=1).model),
        r"run: python data_scripts/pretrain_backbone\.py",
    ),
}
each_kind = pytest.mark.parametrize("kind", CASES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Kind -> the file of one such network."""
    home = tmp_path_factory.mktemp("networks")
    files = {kind: home / f"{kind}.safetensors" for kind in CASES}
    for kind, path in files.items():
        CASES[kind].save(CASES[kind].make(), path)
    return files


def content(path):
    """What a file holds: its kind, its specification and its tensors."""
    found = checkpoint.load(path, path.stem, lambda found: found, "")
    return found.spec, found.tensors


def tensors_of(network):
    """All numbers by name."""
    if isinstance(network, nn.Module):
        return network.state_dict()
    host = getattr(network.architecture, "model", nn.Module())
    scores = {name: getattr(network, name) for name in ("w", *zoo_store.SCORES)}
    return {**scores, **host.state_dict()}


@each_kind
def test_a_saved_network_comes_back(saved, kind):
    case = CASES[kind]
    one, two = case.make(), case.load(saved[kind])
    close = 1e-3 if case.half else 0
    found = tensors_of(two)
    for name, x in tensors_of(one).items():
        torch.testing.assert_close(found[name], x, atol=close, rtol=close)
    for name in SETTINGS:
        assert getattr(one, name, None) == getattr(two, name, None)
    assert not getattr(two, "training", False)


@each_kind
def test_saving_it_again_changes_nothing(saved, kind, tmp_path):
    case, again = CASES[kind], tmp_path / saved[kind].name
    found = case.load(saved[kind])
    case.save(found, again)
    (spec, tensors), (spec_again, tensors_again) = map(content, (saved[kind], again))
    assert spec_again == spec and tensors_again.keys() == tensors.keys()
    for name, x in tensors.items():
        assert torch.equal(tensors_again[name], x)


@each_kind
def test_a_missing_file_says_how_one_is_come_by(kind, tmp_path):
    with pytest.raises(
        DataMissingError, match=f"no {kind} at .*none; .*{CASES[kind].remedy}"
    ):
        CASES[kind].load(tmp_path / "none")


def cut(keep):
    return lambda path: path.write_bytes(path.read_bytes()[:keep])


def with_a_tensor_of_another_shape(path):
    spec, tensors = content(path)
    largest = max(tensors, key=lambda name: tensors[name].numel())
    tensors[largest] = tensors[largest].flatten()[:-1]
    checkpoint.save(path, path.stem, tensors, spec)


def with_a_garbled_specification(path):
    save_file(content(path)[1], path, {"kind": path.stem, "spec": "{not json"})


def without_its_sizes(path):
    checkpoint.save(path, path.stem, content(path)[1], {})


DAMAGE = {"empty": cut(0), "begun": cut(5), "cut short": cut(-10)}
DAMAGE |= {"odd": with_a_tensor_of_another_shape, "garbled": with_a_garbled_specification}
DAMAGE["sizes"] = without_its_sizes
PAIRS = [*itertools.product(CASES, DAMAGE)]
PAIRS.remove(("backbone", "sizes"))  # its file says none


@pytest.mark.parametrize(("kind", "damage"), PAIRS)
def test_a_damaged_file_is_refused(saved, kind, damage, tmp_path):
    path = Path(shutil.copy(saved[kind], tmp_path))
    DAMAGE[damage](path)
    with pytest.raises(ArtifactError, match=f"is no whole {kind} .*{CASES[kind].remedy}"):
        CASES[kind].load(path)


@each_kind
def test_the_file_of_another_kind_is_refused_by_its_name(saved, kind, tmp_path):
    for other, path in saved.items():
        if other != kind:
            with pytest.raises(
                ArtifactError, match=rf"no whole {kind} \(it is a {other}\)"
            ):
                CASES[kind].load(path)
    save_file({"weight": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(ArtifactError, match="it is a file that names no kind"):
        CASES[kind].load(tmp_path / "foreign")


@pytest.mark.parametrize("kind", ["drift network", "Jacobian flow", "zoo"])
def test_how_a_network_came_to_be_is_read_from_its_file(saved, kind):
    assert checkpoint.about(saved[kind]) == ABOUT


def test_a_zoo_in_half_precision_comes_back(tmp_path):
    zoo, path = CASES["zoo"].make(), tmp_path / "half"
    zoo_store.save_zoo(zoo, path, half=True)
    again = zoo_store.load_zoo(path)
    torch.testing.assert_close(again.w, zoo.w, atol=1e-3, rtol=1e-3)
    assert again.w.dtype == torch.float32 and torch.equal(again.accuracy, zoo.accuracy)


def test_a_tail_comes_back_with_its_host(tmp_path):
    host = backbones.build_norm_network(
        "test_resnet", 3, size=32, generator=stream(0, "host")
    )
    tail = population(host, torch.stack([host.w0, host.w0 + 1])[None])
    zoo_store.save_zoo(tail, tmp_path / "tail")
    again = zoo_store.load_zoo(tmp_path / "tail")
    for name, x in tensors_of(tail).items():
        assert torch.equal(tensors_of(again)[name], x)
    assert not again.architecture.model.training and again.epochs == tail.epochs


def test_a_zoo_of_a_module_of_ones_own_is_no_file(tmp_path):
    kept = own.network(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), channels=1, size=2
    )
    mine = population(kept, torch.stack([kept.w0, kept.w0])[None])
    with pytest.raises(ConfigError, match="none of .*save `w`"):
        zoo_store.save_zoo(mine, tmp_path / "zoo")
