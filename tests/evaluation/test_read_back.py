"""What is read back belongs to the images, labels, backbone and settings of now."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import study
import torch
from compare_generators import GeneratorsConfig
from PIL import Image

from hyperlab.base import ArtifactError, ConfigError
from hyperlab.evaluation import experiments
from hyperlab.evaluation.experiments import EvalConfig
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.adapt import NoAdaptation
from hyperlab.hyperflow.controls import WrongSupport
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.tasks import domains, pixels, roles
from hyperlab.tasks.episodes import Episode, LabelledImages
from hyperlab.weights import recipes, zoo_store
from hyperlab.weights.originals import images_of
from hyperlab.weights.zoo import ZooConfig
from tests.tiny import tiny_target

CONFIG = EvalConfig(role="own", protocol="own", n_tasks=2)
PLAN = collect.CollectConfig(
    role="own",
    protocol="own",
    other="own",
    n_tasks=2,
    batch=2,
    teacher=TeacherConfig(steps=1, views=1),
)


def pack(folder, *, seed=0, labels=None):
    """A pack `data.npz` of six classes of ten images; each class a grey of its own, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60) // 10 if labels is None else labels
    images = rng.normal(40 * (np.arange(60) // 10)[:, None, None], 30, (60, 16, 16))
    folder.mkdir(exist_ok=True)
    path = folder / "data.npz"
    np.savez(path, images=images.clip(0, 255).astype(np.uint8), labels=labels)
    return path


@dataclass(frozen=True)
class Watched(NoAdaptation):
    """No adaptation that counts how often it is asked."""

    name: str = "no adaptation"
    _asked = 0

    def __call__(self, target, support):
        type(self)._asked += 1
        return target.theta0


@pytest.fixture(autouse=True)
def asked():
    """How often `Watched` was asked."""
    Watched._asked = 0
    roles.kept.cache_clear()
    yield lambda: Watched._asked
    roles.kept.cache_clear()


def table(root, folder=None, methods=(Watched(),), **changes):
    config = replace(CONFIG, **changes)
    return experiments.evaluate(tiny_target(), methods, config, folder=folder, root=root)


def test_two_packs_of_one_name_have_a_table_each(tmp_path):
    paths = [pack(tmp_path / str(seed), seed=seed) for seed in range(2)]
    for path in (*paths, paths[0]):
        found, fresh = table(path, tmp_path / "rows"), table(path)
        pd.testing.assert_frame_equal(found, fresh)
    marks = [set(table(path)["made_by"]) for path in paths]
    assert not marks[0] & marks[1]


def test_mended_labels_give_a_new_accuracy(tmp_path, caplog):
    wrong = np.random.default_rng(1).permutation(np.arange(60) // 10)
    path, rows = pack(tmp_path / "own", labels=wrong), tmp_path / "rows"
    before = table(path, rows)["accuracy"].mean()
    pack(tmp_path / "own")
    after = table(path, rows)["accuracy"].mean()
    assert after == table(path)["accuracy"].mean() > before + 0.3
    assert "measured anew; first data, task 0, no adaptation: images" in caplog.text


def test_what_has_not_changed_is_read_back(tmp_path, asked):
    path = pack(tmp_path / "own")
    first = table(path, tmp_path / "rows")
    n = asked()
    pd.testing.assert_frame_equal(table(path, tmp_path / "rows"), first)
    pack(tmp_path / "own")  # the same bytes at another time
    pd.testing.assert_frame_equal(table(path, tmp_path / "rows"), first)
    assert asked() == n == len(first)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"labels": torch.tensor([1, 0])}, {"labels"}),
        ({"images": torch.zeros(2, 3, 4, 4)}, {"images"}),
    ],
)
def test_the_parts_of_a_task_say_what_has_changed(change, names):
    plain = LabelledImages(torch.ones(2, 3, 4, 4), torch.tensor([0, 1]), 2)
    one, two = (
        experiments.task_parts(Episode(support, plain, "a", ("b", "c")))
        for support in (plain, replace(plain, **change))
    )
    assert {name for name in one if one[name] != two[name]} == names


def test_a_row_names_backbone_input_method_and_data(tmp_path):
    table(pack(tmp_path / "own"), tmp_path / "rows")
    (path,) = (tmp_path / "rows").iterdir()
    made_of = json.loads(path.read_text(encoding="utf-8").splitlines()[0])["made_of"]
    assert {"target", "input", "method", "images", "labels"} <= set(made_of)
    target = tiny_target()
    small = replace(target, image_size=8)
    one, two = (experiments.parts(t, NoAdaptation()) for t in (target, small))
    assert {name for name in one if one[name] != two[name]} == {"input"}


def test_rows_of_another_lender_are_made_anew():
    control = WrongSupport(method=Watched())
    trial = next(
        experiments.trials(EvalConfig(protocol="5-way 1-shot", only=("digits", "circuits")))
    )
    itself = replace(trial, lend=lambda: trial.episode)
    lent = [experiments._lent(control, t) for t in (trial, itself)]
    assert lent[0] != lent[1] and not experiments._lent(Watched(), trial)


def test_another_backbone_or_other_images_have_other_own_means(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file, named = tmp_path / "own.safetensors", "~/own.safetensors"
    paths = [pack(tmp_path / str(seed), seed=seed) for seed in range(2)]
    seen = []

    def means(target, path):
        return experiments.own_means(target, CONFIG, named, n_tasks=1, root=path)["data"]

    for seed, path in ((0, paths[0]), (1, paths[0]), (1, paths[1])):
        seen.append(means(tiny_target(seed=seed), path))
        stamp = file.stat().st_mtime_ns
        assert torch.equal(means(tiny_target(seed=seed), path), seen[-1])
        assert file.stat().st_mtime_ns == stamp
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("change", ["images", "labels"])
def test_a_collection_over_changed_data_is_refused_and_says_what_changed(tmp_path, change):
    path = pack(tmp_path / "own")
    store = collect.collect(tiny_target(), tmp_path / "store", PLAN, root=path)
    assert collect.collect(tiny_target(), store.path, PLAN, root=path).missing == []
    mixed = np.roll(np.arange(60) // 10, 1)
    pack(tmp_path / "own", **({"seed": 1} if change == "images" else {"labels": mixed}))
    with pytest.raises(ArtifactError, match=rf"\({change}\.data: was '\w+', is '\w+'\)"):
        collect.collect(tiny_target(), store.path, PLAN, root=path)
    for again in (
        lambda: collect.tasks_of(store, 0, root=path),
        lambda: next(collect.redrawn(store, root=path)),
    ):
        with pytest.raises(ArtifactError, match=rf"{change}\.data: was"):
            again()


def test_a_store_without_checksums_is_not_gone_on_with(tmp_path):
    path = pack(tmp_path / "own")
    store = collect.collect(tiny_target(), tmp_path / "store", PLAN, root=path)
    del store.group.attrs["images"]
    with pytest.raises(ArtifactError, match="images: was None"):
        collect.collect(tiny_target(), store.path, PLAN, root=path)


def test_a_store_is_opened_for_its_own_backbone_and_input_alone(tmp_path):
    store = collect.collect(
        tiny_target(), tmp_path / "store", PLAN, root=pack(tmp_path / "own")
    )
    assert len(study.reopen(store.path, tiny_target()).read()) == 2
    with pytest.raises(ArtifactError, match="target: was 'tiny-"):
        study.reopen(store.path, tiny_target(seed=1))
    with pytest.raises(ArtifactError, match=r"\(input.image_size: was 16, is 8\)"):
        study.reopen(store.path, replace(tiny_target(), image_size=8))


def test_images_in_memory_are_those_of_the_files_of_now(tmp_path):
    path = pack(tmp_path / "own")
    source = roles.present("own", root=path)[0]
    first = roles.opened(source, "own", root=path, size=16)
    assert roles.opened(source, "own", root=path, size=16) is first
    pack(tmp_path / "own", seed=1)
    second = roles.opened(source, "own", root=path, size=16)
    assert second.checksums["images"] != first.checksums["images"]
    assert second.checksums["labels"] == first.checksums["labels"]


def test_images_that_are_decoded_on_demand_count_by_their_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "LIMIT_BYTES", 0)
    tiles = tmp_path / "eurosat" / "2750"
    for name in ("a", "b"):
        (tiles / name).mkdir(parents=True)
        Image.new("L", (8, 8), 99).save(tiles / name / "x.png")
    one, two = (domains.load("eurosat", root=tmp_path) for _ in range(2))
    assert isinstance(one.images, pixels.OnDemand) and one.checksums == two.checksums
    Image.new("L", (8, 8), 98).save(tiles / "b" / "x.png")
    again = domains.load("eurosat", root=tmp_path)
    assert again.checksums["images"] != one.checksums["images"]


ZOO = ZooConfig(
    recipe=replace(recipes.RECIPES["kmnist"]), n_networks=2, group=1, epochs=(1,), batch=16
)


def zoo_of(root):
    return zoo_store.train_zoo(root / "zoo", ZOO, root=root / "data")


@pytest.mark.parametrize("change", ["images", "labels"])
def test_a_zoo_over_changed_data_is_refused_and_says_what_changed(tmp_path, change):
    (tmp_path / "data").mkdir()
    pack(tmp_path / "data" / "kmnist")
    store = zoo_of(tmp_path)
    assert zoo_of(tmp_path).missing == []
    images_of(store.read(), 5, root=tmp_path / "data")
    mixed = np.roll(np.arange(60) // 10, 1)
    pack(
        tmp_path / "data" / "kmnist",
        **({"seed": 1} if change == "images" else {"labels": mixed}),
    )
    with pytest.raises(
        ArtifactError, match=rf"\(checksums\.{change}: was '\w+', is '\w+'\)"
    ):
        zoo_of(tmp_path)
    with pytest.raises(ArtifactError, match=rf"\(kmnist\.{change}: was '\w+', is"):
        images_of(store.read(), 5, root=tmp_path / "data")
    del store.group.attrs["checksums"]
    with pytest.raises(ArtifactError, match=r"kmnist\.images: was None"):
        images_of(zoo_store.ZooStore.open(store.path).read(), 5, root=tmp_path / "data")


def test_rows_of_a_study_are_kept_while_networks_images_and_settings_stay(caplog):
    zoo = zoo_store.shipped("glyphs")
    images = {"glyphs": images_of(zoo, 5)}
    config = GeneratorsConfig()
    now = study.made_of(zoo, images, config, seed=0)
    row = json.loads(json.dumps({"made_of": now}))
    assert study.current(row, now, "glyphs") and not caplog.text
    assert not study.current(None, now, "x") and not study.current({}, now, "of no word")
    other = study.made_of(zoo.of(torch.arange(50)), images, replace(config, n=3), seed=0)
    assert not study.current(row, other, "glyphs")
    assert "networks: was" in caplog.text and "config.n: was 50, is 3" in caplog.text
    with pytest.raises(ConfigError, match=r"\(networks: was '\w+', is '\w+'\)"):
        study.require_same(row, other, "glyphs")
