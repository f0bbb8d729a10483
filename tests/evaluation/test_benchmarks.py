"""Meta-Dataset and CDFSL from their official folders to a table, with a timm backbone."""

from dataclasses import replace

import pytest
import report
import torch

from hyperlab.base import stream
from hyperlab.evaluation import experiments
from hyperlab.hyperflow import collect, jacobian, jacobian_flow, training
from hyperlab.hyperflow.adapt import LearnedFlow, NoAdaptation
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.models import targets
from hyperlab.params import ParamSubset, qkv_biases
from hyperlab.tasks import roles
from tests.tasks.miniatures import place


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("md_aircraft", "md_omniglot", "md_ilsvrc_2012"):
        place(name, root)
    place("crop_disease", root, n=25)
    return root


@pytest.fixture(scope="module")
def target():
    """The architecture of ViT-S/16, smaller, with random weights: no download."""
    torch.manual_seed(0)
    options = {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 2}
    model = targets.build("vit_small_patch16_224", pretrained=False, **options)
    return targets.Target("vit_s", model, ParamSubset.select(model, qkv_biases))


def test_from_official_records_to_a_table_of_unseen_classes(root, target, tmp_path):
    config = collect.CollectConfig(
        role="meta_dataset_train",
        protocol="Meta-Dataset",
        mixed=0.0,
        styled=0.0,
        n_tasks=6,
        batch=2,
        teacher=TeacherConfig(steps=3, lr=0.001, optimiser="adam"),
    )
    assert config.max_support == 500
    store = collect.collect(target, tmp_path / "store", config, root=root)
    data = store.read()
    assert len(data) == 6 and set(data.domains) == {
        s.name for s in roles.present("meta_dataset_train", root=root)
    }
    plan = replace(jacobian.JacobianConfig.at("smoke"), n_tasks=6)
    told = {"generator": stream(0, "test")}
    looks = jacobian.gather(target, collect.redrawn(store, root=root), plan, **told)
    learned = jacobian.fit_jacobian(looks, plan, token_size=48, **told)
    net, _ = training.fit_drift(data, training.DriftConfig(steps=2, batch=2), **told)
    flow = jacobian_flow.fit_pace(data, learned)
    tasks = experiments.EvalConfig(
        role="meta_dataset_test", protocol="Meta-Dataset", n_tasks=2
    )
    flows = [
        LearnedFlow(net=h, steps=1, name=name) for h, name in ((net, "h"), (flow, "J"))
    ]
    compared = [NoAdaptation(), *flows]
    table = experiments.evaluate(target, compared, tasks, root=root)
    assert len(table) == 3 * 2 * 3
    report.write(table, tmp_path / "table", report.about(tasks))
    assert "md_ilsvrc_2012" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_cdfsl_is_evaluated_by_its_own_protocol(root, target):
    tasks = experiments.EvalConfig(role="cdfsl", protocol="CDFSL 5-shot", n_tasks=2)
    table = experiments.evaluate(target, [NoAdaptation()], tasks, root=root)
    assert set(table["n_support"]) == {25} and set(table["n_way"]) == {5}
    assert set(table["domain"]) == {"crop_disease"}
