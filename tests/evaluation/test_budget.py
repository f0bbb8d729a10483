"""The closed forms say what the counter counts."""

import math

import pytest
import torch

from hyperlab import params
from hyperlab.base import ConfigError
from hyperlab.evaluation import budget, cost
from hyperlab.evaluation.audit import MODELS
from hyperlab.hyperflow import adapt
from hyperlab.hyperflow.context import assemble
from hyperlab.hyperflow.jacobian_flow import JacobianFlow
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.models import targets
from hyperlab.tasks.episodes import LabelledImages

each_backbone = pytest.mark.parametrize("backbone", MODELS)


def on_meta(backbone):
    name, size = MODELS[backbone]
    target = targets.load(name, pretrained=False).to("meta")
    return target, budget.BACKBONES[backbone], size


@each_backbone
def test_a_look_at_an_image_is_exact(backbone):
    target, vit, size = on_meta(backbone)
    image = torch.zeros(1, 3, size, size, device="meta")
    look = cost.count(lambda: target.block_features(image), target.model)
    seen = cost.count(lambda: target.features(target.theta0, image), target.model)
    assert (look.flops, seen.flops) == (vit.forward(size), vit.features(size))


@each_backbone
@pytest.mark.parametrize("what", ["everything", "biases"])
def test_a_gradient_step_is_within_a_thousandth(backbone, what):
    target, vit, size = on_meta(backbone)
    match = params.everything if what == "everything" else params.qkv_biases
    support = LabelledImages(torch.zeros(10, 3, size, size), torch.arange(5).repeat(2), 5)
    tuning = [
        adapt.FineTuning(name="", match=match, config=TeacherConfig(steps=k, views=2))
        for k in (1, 2)
    ]
    view = target.moving(match)
    one, two = (cost.count(lambda m=m: m(view, support), target.model) for m in tuning)
    assert two.flops - one.flops == pytest.approx(20 * vit.tuning(size, what), rel=1e-3)


@each_backbone
@pytest.mark.parametrize("n_images", [20, 60])
def test_the_drift_is_within_a_hundredth_and_the_push_exact(backbone, n_images):
    vit = budget.BACKBONES[backbone]
    shape, sizes = budget.drift_shape(vit), {"n_images": n_images, "n_way": 20}
    net, labels = JacobianFlow(shape).eval(), torch.arange(20).repeat(n_images // 20)
    context = assemble(
        torch.rand(n_images, vit.depth, 2, vit.width),
        torch.rand(n_images, vit.width),
        labels,
    )
    flow = adapt.LearnedFlow(net=net)
    drift = cost.count(lambda: flow.follow(net.theta0, context), net).flops
    assert drift == pytest.approx(budget.drift_flops(shape, **sizes), rel=0.01)
    push = lambda: targets.prototypes(net.features(context, net.theta0), labels, 20)
    assert cost.count(push, net).flops == budget.push_flops(shape, **sizes)


def test_the_known_figures_come_out():
    vit = budget.BACKBONES["ViT-S/16"]
    textbook = vit.forward(224) - 2 * 384**2  # without the head
    assert textbook == 9_196_996_608
    assert 3 * textbook - vit.first(224) == pytest.approx(27.475e9, rel=1e-4)


def test_a_plan_is_the_sum_of_its_parts_and_a_bounded_look_stays_bounded():
    spare = {"max_images": 100, "push": True}
    many, few = (budget.Plan(n_images=n, **spare) for n in (400, 100))
    assert many.flow() == few.flow()
    assert many.fine_tuning() == 4 * few.fine_tuning()
    again = budget.Plan().flow()
    assert again["context"] == 4 * many.flow()["context"]
    assert again["class means"] > 0.9 * again["context"]


def test_it_pays_off_where_both_have_cost_the_same_and_never_without_a_saving():
    after = budget.break_even(100.0, rival=3.0, own=1.0)
    assert 100 + after * 1 == after * 3
    assert budget.break_even(1.0, rival=1.0, own=1.0) == math.inf


def test_an_unknown_backbone_is_named():
    with pytest.raises(ConfigError, match="ViT-S/16"):
        _ = budget.Plan(backbone="ResNet-18").vit
