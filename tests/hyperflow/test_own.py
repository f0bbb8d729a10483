"""A reader's folder and any timm network go the whole way: collect, learn, step."""

import pytest
import torch
from PIL import Image

from hyperlab.apps.bench import Bench
from hyperlab.apps.stepper import Stepper
from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow import adapt, collect, jacobian, jacobian_flow, training
from hyperlab.hyperflow.collect import CollectConfig
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.models import backbones
from hyperlab.tasks import own, roles
from tests.tiny import tiny_target

CONFIG = CollectConfig(
    role="own_train",
    protocol="own",
    other="own",
    styled=0.5,
    n_tasks=6,
    batch=2,
    teacher=TeacherConfig(steps=2, lr=0.01, optimiser="adam"),
)


@pytest.fixture
def folder(tmp_path):
    """Six classes of seven images, and a file that is no image."""
    g = stream(0, "pictures")
    for k in range(6):
        (tmp_path / "mine" / f"class{k}").mkdir(parents=True)
        for i in range(7):
            grain = torch.randint(0, 60, (12, 12, 3), generator=g) + 30 * k
            picture = Image.fromarray(grain.byte().numpy())
            picture.save(tmp_path / "mine" / f"class{k}" / f"{i}.png")
    (tmp_path / "mine" / "class0" / "cut.png").write_bytes(b"\x89PNG")
    return tmp_path / "mine"


def conv():
    whole = backbones.load("test_resnet", generator=stream(0))
    return whole.moving(backbones.subsets(whole.model)["last two norms"])


@pytest.mark.parametrize("make", [tiny_target, conv])
def test_a_folder_is_collected_learned_from_and_stepped(folder, tmp_path, make):
    target = make()
    store = collect.collect(target, tmp_path / "store", CONFIG, root=folder)
    data = store.read()
    assert data.domains == ("mine",) and len(data) == 6
    redrawn = list(collect.redrawn(store, root=folder))
    assert all(torch.equal(path, data.thetas[i]) for i, (_, path) in enumerate(redrawn))
    few, g = jacobian.JacobianConfig.at("smoke"), stream(0, "own")
    seen = jacobian.gather(target, redrawn, few, generator=g)
    learned = jacobian.fit_jacobian(seen, few, token_size=data.token_size, generator=g)
    config = training.DriftConfig(steps=3, batch=2, width=16)
    flow = jacobian_flow.fit_pace(data, learned)
    flow.correction, _ = training.fit_drift(data, config, correcting=flow, generator=g)
    net, _ = training.fit_drift(data, config, generator=g)
    bench = Bench(
        target=target,
        nets={"own": net, "flow": flow},
        domains={"mine": lambda: own.part(folder, "own_test")},
        draw=own.draw,
        teacher=CONFIG.teacher,
    )
    state = Stepper(bench)
    state.steps, state.method = 2, "euler"
    state.step()
    state.step()
    path = adapt.LearnedFlow(net=net, steps=2, method="euler").path(
        target, state.task.episode.support
    )
    torch.testing.assert_close(state.readings[-1].theta, path[-1])
    assert "of 12 query images right" in state.query_words()


def test_a_folder_without_two_halves_is_one_clear_error(folder, tmp_path):
    for k in range(3):
        (folder / f"class{k}").rename(tmp_path / f"away{k}")
    with pytest.raises(ConfigError, match="halves need four"):
        list(collect.draw_tasks(CONFIG, 0, root=folder))


def test_the_tasks_of_a_folder_come_from_one_half_of_its_classes(folder):
    train = set(
        roles.open_source(roles.Source("mine"), "own_train", root=folder).class_names
    )
    tasks = [t for b in range(3) for t in collect.draw_tasks(CONFIG, b, root=folder)]
    assert {name for task in tasks for name in task.episode.classes} <= train
    assert {task.episode.domain for task in tasks} == {"mine"}
