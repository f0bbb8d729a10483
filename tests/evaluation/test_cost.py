"""Costs are counted, not guessed."""

import pytest
import torch

from hyperlab import params
from hyperlab.evaluation import budget, cost
from hyperlab.hyperflow import adapt
from hyperlab.models import targets
from tests import tiny


@pytest.mark.parametrize("size", [64, 224])
def test_counted_flops_of_a_vit_equal_the_closed_form(size):
    target = targets.load(
        "vit_small_patch16_224", subset=params.qkv_biases, pretrained=False, image_size=size
    )
    image = torch.zeros(1, 3, size, size)
    row = cost.audit(
        "forward", lambda: target.block_features(image), target.model, repeats=1
    )
    assert row.flops == budget.BACKBONES["ViT-S/16"].forward(size)


def test_the_closed_form_gives_the_known_figure():
    head = 2 * 384 * 384
    assert budget.BACKBONES["ViT-S/16"].forward(224) - head == 9_196_996_608


def test_fused_attention_is_as_it_was_afterwards():
    model = tiny.tiny_target().model
    before = [block.attn.fused_attn for block in model.blocks]
    with cost.plain_attention(model):
        assert not any(block.attn.fused_attn for block in model.blocks)
    assert [block.attn.fused_attn for block in model.blocks] == before


def test_saved_bytes_are_those_of_the_largest_graph():
    x = torch.ones(1000, requires_grad=True)
    kept = cost.saved_bytes(lambda: [(x * x).exp().sum().backward() for _ in range(3)])
    assert kept == 2 * 4000


def test_gradients_cost_memory_and_no_adaptation_costs_nothing():
    target, support = tiny.tiny_target(), tiny.support()
    none = cost.audit(
        "none", lambda: adapt.NoAdaptation()(target, support), target.model, repeats=1
    )
    tuned = cost.audit(
        "tuned",
        lambda: adapt.bias_tuning(steps=2)(target, support),
        target.model,
        repeats=1,
    )
    assert none.flops == none.saved_bytes == 0
    assert tuned.flops > 0 and tuned.saved_bytes > 0
