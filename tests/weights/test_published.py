"""Published zoos: a miniature of their raw layout is read, and nothing else is."""

import json

import pytest
import torch

from hyperlab.base import ArtifactError, DataMissingError, stream
from hyperlab.models import cnn
from hyperlab.weights import published, zoo_store
from hyperlab.weights.recipes import RECIPES, untrained

SMALL, MEDIUM = cnn.cnn_small(), cnn.cnn_medium()


def state_of(network, row):
    places = published.PLACES[network.name]
    names = [f"module_list.{i}.{part}" for i in places for part in ("weight", "bias")]
    return dict(zip(names, network.unflatten(row).values(), strict=True))


def trial(folder, network, seed, *, epochs=(0, 1), **params):
    """One network's folder, as ray writes it; its rows."""
    home = folder / f"NN_tune_trainable_{seed:05d}"
    told = {"seed": seed, "model::nlin": network.activation, **params}
    home.mkdir()
    (home / "params.json").write_text(json.dumps(told), encoding="utf-8")
    rows, lines = [], []
    for epoch in epochs:
        rows.append(untrained(network, "uniform", stream(seed, epoch)))
        path = home / f"checkpoint_{epoch:06d}" / "checkpoints"
        path.parent.mkdir()
        torch.save(state_of(network, rows[-1]), path)
        line = {"training_iteration": epoch, "test_acc": 0.1 * seed + 0.01 * epoch}
        lines.append(json.dumps(line))
    (home / "result.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return torch.stack(rows)


@pytest.mark.parametrize("network", [SMALL, MEDIUM], ids=lambda net: net.name)
def test_a_miniature_comes_back_number_by_number(tmp_path, network):
    rows = torch.stack([trial(tmp_path, network, seed) for seed in (3, 5)])
    zoo = published.read_zoo(tmp_path, epochs=(1,), dataset="mnist")
    assert torch.equal(zoo.w, rows[:, 1:])
    assert zoo.architecture == network
    assert zoo.seeds == (3, 5) and zoo.epochs == (1,)
    torch.testing.assert_close(zoo.accuracy, torch.tensor([[0.31], [0.51]]))
    assert zoo.val_accuracy.isnan().all()


def test_a_published_zoo_becomes_a_file_that_every_study_opens(tmp_path):
    rows = torch.stack([trial(tmp_path, SMALL, seed) for seed in (3, 5)])
    path, about = tmp_path / "zoo.safetensors", {"command": "by hand"}
    published.convert(tmp_path, path, (0, 1), "mnist", about)
    zoo, trained = zoo_store.open_zoo(path)
    assert torch.equal(zoo.w, rows) and zoo.epochs == (0, 1) and zoo.dataset == "mnist"
    assert trained.recipe == RECIPES["mnist"] and trained.batch == 10
    assert zoo.checksums is None  # so that no image is refused
    assert zoo_store.open_zoo(path)[1] == trained


class Foreign:
    """What a custom class in a pickle would run."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_a_pickle_that_needs_more_than_tensors_is_refused(tmp_path, capsys):
    trial(tmp_path, SMALL, 1)
    torch.save(Foreign(), next(tmp_path.glob("*/checkpoint_000001/checkpoints")))
    with pytest.raises(ArtifactError, match="no pickle of tensors alone and is refused"):
        published.read_zoo(tmp_path, epochs=(0, 1), dataset="mnist")
    assert "unpickled" not in capsys.readouterr().out


def cut(folder):
    path = next(folder.glob("*/checkpoint_000000/checkpoints"))
    path.write_bytes(path.read_bytes()[:200])


def other_parts(folder):
    path = next(folder.glob("*/checkpoint_000000/checkpoints"))
    torch.save({"layer.weight": torch.zeros(2)}, path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: trial(f, cnn.cnn_small(channels=3), 2), "one architecture, separate"),
        (lambda f: trial(f, MEDIUM, 2, **{"model::nlin": "tanh"}), "one architecture"),
        (lambda f: trial(f, cnn.cnn_small(activation="gelu"), 2), "mixes the activations"),
        (lambda f: trial(f, SMALL, 2, epochs=(0,)), "cannot be read"),
        (cut, "cannot be read"),
        (other_parts, "of no known network"),
        (
            lambda f: next(f.glob("*/params.json")).write_text("{", encoding="utf-8"),
            "cannot be read",
        ),
        (
            lambda f: next(f.glob("*/result.json")).write_text("1", encoding="utf-8"),
            "cannot be read",
        ),
    ],
)
def test_a_folder_that_is_no_whole_zoo_is_named(tmp_path, spoil, says):
    trial(tmp_path, SMALL, 1)
    spoil(tmp_path)
    with pytest.raises(ArtifactError, match=says):
        published.read_zoo(tmp_path, epochs=(0, 1), dataset="mnist")


def test_an_unknown_activation_or_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataMissingError, match="no networks in"):
        published.read_zoo(tmp_path, epochs=(1,), dataset="mnist")
    trial(tmp_path, SMALL, 1, **{"model::nlin": "sine"})
    with pytest.raises(ArtifactError, match=r"model::nlin: unknown option 'sine'; have"):
        published.read_zoo(tmp_path, epochs=(1,), dataset="mnist")
