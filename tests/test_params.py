"""Parameter subsets, on a model with every kind of name, and LoRA."""

import pytest
import torch
from timm import create_model
from torch import nn

from hyperlab import params
from hyperlab.base import ConfigError, stream
from hyperlab.params import ParamSubset

PREDICATES = [
    params.qkv_biases,
    params.qv_biases,
    params.all_biases,
    params.norms,
    params.head,
    params.everything,
]


@pytest.fixture(scope="module")
def small():
    """A model with every kind of name that a subset looks for."""
    attn = nn.Module()  # of a kind that gives queries, keys and values in this order
    attn.qkv = nn.Linear(4, 12)
    block = nn.ModuleDict({"attn": attn, "norm1": nn.LayerNorm(4)})
    parts = {"blocks": nn.ModuleList([block]), "norm": nn.LayerNorm(4)}
    return nn.ModuleDict(parts | {"head": nn.Linear(4, 4)})


def test_vit_small_has_13824_qkv_biases_9216_of_queries_and_values():
    with torch.device("meta"):  # shapes without numbers
        model = create_model("vit_small_patch16_224", pretrained=False)
    subset = ParamSubset.select(model, params.qkv_biases)
    assert (subset.n_params, len(subset.names), set(subset.sizes)) == (13_824, 12, {1152})
    assert ParamSubset.select(model, params.qv_biases).n_params == 9_216


@pytest.mark.parametrize("match", PREDICATES, ids=lambda match: match.__name__)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_unflattened_numbers_flatten_to_themselves(small, match, batch):
    subset = ParamSubset.select(small, match)
    theta = torch.randn(*batch, subset.n_params, generator=stream(0, "theta"))
    whole = subset.unflatten(theta)
    for name, tensor in whole.items():
        assert tensor.shape == (*batch, *subset.base[name].shape)
    assert torch.equal(subset.flatten(whole), theta)
    last = (-1,) * len(batch)
    one = {name: tensor[last] for name, tensor in whole.items()}
    assert torch.equal(subset.flatten(one), theta[last])


def test_thirds_that_do_not_move_keep_their_numbers(small):
    subset = ParamSubset.select(small, params.qv_biases)
    whole = subset.unflatten(torch.zeros(2, subset.n_params))["blocks.0.attn.qkv.bias"]
    q, k, v = whole.chunk(3, -1)
    assert not q.any() and not v.any()
    assert torch.equal(k[1], small["blocks"][0]["attn"].qkv.bias.chunk(3)[1])


def test_qv_and_qkv_subsets_mean_the_same_model(small):
    qkv, qv = (
        ParamSubset.select(small, match) for match in (params.qkv_biases, params.qv_biases)
    )
    (name,) = qkv.names
    state = {name: torch.randn(12, generator=stream(0, "state"))}
    state[name][4:8] = qkv.base[name][4:8]
    both = [subset.unflatten(subset.flatten(state))[name] for subset in (qkv, qv)]
    assert torch.equal(*both)


def test_gradients_reach_every_number_that_moves(small):
    subset = ParamSubset.select(small, params.qv_biases)
    theta = subset.flatten(subset.base).requires_grad_()
    whole = subset.unflatten(theta)["blocks.0.attn.qkv.bias"]
    (gradient,) = torch.autograd.grad(whole.square().sum(), theta)
    torch.testing.assert_close(gradient, 2 * theta.detach())


def test_subsets_name_what_they_say(small):
    found = {match.__name__: ParamSubset.select(small, match).names for match in PREDICATES}
    assert found["qkv_biases"] == ("blocks.0.attn.qkv.bias",)
    assert found["head"] == ("head.weight", "head.bias")
    assert set(found["norms"]) == {
        f"{layer}.{kind}"
        for layer in ("norm", "blocks.0.norm1")
        for kind in ("weight", "bias")
    }
    assert all(name.endswith(".bias") for name in found["all_biases"])
    assert not {*found["all_biases"], *found["everything"]} & set(found["head"])


@pytest.mark.parametrize("n", [11, 13])
def test_a_theta_of_the_wrong_length_is_refused(small, n):
    subset = ParamSubset.select(small, params.qkv_biases)
    with pytest.raises(ConfigError, match=f"theta has {n} numbers; this subset has 12"):
        subset.unflatten(torch.zeros(n))


def test_a_subset_that_selects_nothing_is_refused_with_some_names(small):
    with pytest.raises(ConfigError, match=r"selects no parameter; .*attn\.qkv"):
        ParamSubset.select(small, lambda name: "adapter" in name)


def test_calling_with_other_numbers_leaves_the_model_as_it_was():
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    subset = ParamSubset.select(layer, lambda name: True)
    x = torch.ones(1, 3)
    assert not subset.call(layer, torch.zeros(8), x).any()
    assert torch.equal(layer.weight, before)


class TestLoRA:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    x = torch.rand(7, 6, generator=stream(0, "x"))

    def adapted(self):
        return params.with_lora(
            self.net, rank=2, match=lambda name: True, generator=stream(0, "lora")
        )

    def test_it_starts_as_the_same_function(self):
        assert torch.equal(self.adapted()(self.x), self.net(self.x))

    def test_it_is_one_predicate_more(self):
        subset = ParamSubset.select(self.adapted(), params.lora)
        assert subset.n_params == 2 * (6 + 5) + 2 * (5 + 4)

    def test_its_factors_add_a_low_rank_product(self):
        model = self.adapted()
        model[0].lora_b.data = torch.rand(5, 2, generator=stream(1, "b"))
        product = 8 / 2 * model[0].lora_b @ model[0].lora_a
        torch.testing.assert_close(
            model[0](self.x), self.net[0](self.x) + self.x @ product.T
        )

    def test_the_original_has_no_factors(self):
        self.adapted()
        with pytest.raises(ConfigError):
            ParamSubset.select(self.net, params.lora)

    def test_no_layer_to_adapt_is_an_error(self):
        with pytest.raises(ConfigError, match="no linear layer"):
            params.with_lora(self.net, match=lambda name: False, generator=stream(0))
