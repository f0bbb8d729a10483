"""Usual choices of parameters, family by family: found by what modules do, or refused."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from hyperlab import params
from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow import adapt
from hyperlab.models import backbones, belonging, targets
from hyperlab.models.backbones import Backbone
from hyperlab.params import ParamSubset

SMALL = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}
SWIN = {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (1, 1)}
FAMILIES = {
    "vit_tiny_patch16_224": SMALL,
    "vit_small_patch16_18x2_224": SMALL,  # parallel blocks
    "vit_relpos_base_patch32_plus_rpn_256": SMALL | {"img_size": 64},
    "vit_base_patch16_rope_224": SMALL,
    "deit_tiny_distilled_patch16_224": SMALL,
    "samvit_base_patch16": SMALL | {"global_attn_indexes": (1,), "img_size": 64},
    "cait_xxs24_224": SMALL,
    "swin_tiny_patch4_window7_224": SWIN | {"num_heads": (2, 2)},
    "beit_base_patch16_224": SMALL,
    "eva02_tiny_patch14_224": SMALL | {"img_size": 28},
    "vit_base_patch16_dinov3_qkvb": SMALL,
    "swinv2_tiny_window8_256": SWIN | {"num_heads": (2, 2)},
    "tiny_vit_5m_224": {
        "embed_dims": (16, 16, 32, 32),
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 2, 2),
    },
}
APART = ("beit_base_patch16_224", "eva02_tiny_patch14_224", "swinv2_tiny_window8_256")


def made(name):
    """A small network of a family without weights of others, its parameters all at random."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        model = timm.create_model(name, pretrained=False, num_classes=0, **FAMILIES[name])
    for key, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=stream(0, key))
        p.data = p.data + noise * (0.3 if p.ndim == 1 else p.shape[-1] ** -0.5)
    return model.eval().requires_grad_(False)


def images(name, n=2):
    size = FAMILIES[name].get("img_size", 224)
    return torch.rand(n, 3, size, size, generator=stream(0, "x"))


def joints(model):
    """Attentions whose joint projection may be taken apart, by name."""
    for name, layer in model.named_modules():
        kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
        if kind in params.JOINT and isinstance(getattr(layer, "qkv", None), nn.Linear):
            yield name, layer


def answers(model, attention, x, third, sizes):
    """What an attention gives when a third of its joint projection is moved at its token 1."""
    noise = torch.randn(attention.qkv.out_features // 3, generator=stream(0, "delta"))
    found = []

    def move(_layer, _inputs, out, size=0):
        out = out.clone()
        flat = out.view(len(out), -1, out.shape[-1])
        flat[:, 1, third * len(noise) : (third + 1) * len(noise)] += size * noise
        return out

    for size in sizes:
        hooks = [
            attention.qkv.register_forward_hook(partial(move, size=size)),
            attention.register_forward_hook(
                lambda _m, _i, out: found.append(out.flatten(1, -2))
            ),
        ]
        model(x)
        for hook in hooks:
            hook.remove()
    return found


@pytest.mark.parametrize("name", list(FAMILIES)[:8])
def test_thirds_of_a_joint_projection_are_queries_keys_and_values(name):
    """A query moves its own token alone; what a value adds is linear; a key is neither."""
    model, x = made(name), images(name, 1)
    found = list(joints(model))
    assert found
    for _, attention in found[:2]:
        for third, what in enumerate("qkv"):
            plain, once, twice = answers(model, attention, x, third, (0, 1, 2))
            moved = (once - plain)[0].norm(dim=-1) > 1e-6
            linear = torch.allclose(twice - plain, 2 * (once - plain), atol=1e-5)
            alone = moved[1] and int(moved.sum()) == 1
            assert (alone, linear) == {"q": (True, False), "k": (False, False)}.get(
                what, (False, True)
            )


@pytest.mark.parametrize("name", list(FAMILIES)[:2])
def test_key_biases_are_inert_and_query_and_value_biases_are_not(name):
    model, x = made(name), images(name)
    both, some = (
        ParamSubset.select(model, m) for m in (params.qkv_biases, params.qv_biases)
    )
    assert some.n_params * 3 == both.n_params * 2
    plain = some.call(model, some.flatten(some.base), x)
    state = {
        n: b + torch.cat([0 * k, k, 0 * k])
        for n, b in both.base.items()
        for k in [b[: len(b) // 3]]
    }
    torch.testing.assert_close(both.call(model, both.flatten(state), x), plain)
    for k in range(0, some.n_params, some.n_params // (2 * len(some.names))):
        theta = some.flatten(some.base)
        theta[k] += 1
        assert not torch.allclose(some.call(model, theta, x), plain, atol=1e-6)


@pytest.mark.parametrize("name", [*APART, "vit_base_patch16_dinov3_qkvb"])
def test_biases_that_stand_apart_are_found_and_keys_have_none(name):
    model, x = made(name), images(name)
    biases, some = (
        ParamSubset.select(model, m) for m in (params.qkv_biases, params.qv_biases)
    )
    assert biases.names == some.names and not some.thirds
    assert {n.rpartition(".")[2] for n in some.names} == {"q_bias", "v_bias"}
    assert set(some.names) < set(ParamSubset.select(model, params.all_biases).names)
    plain = model(x)
    for one in some.names:
        part = ParamSubset.select(model, lambda n, one=one: n == one)
        assert not torch.allclose(part.call(model, 1 + part.flatten(part.base), x), plain)


@pytest.mark.parametrize("name", [*APART, "vit_base_patch16_dinov3_qkvb"])
def test_low_rank_factors_of_layers_that_are_never_called_are_refused(name):
    model, x = made(name), images(name)
    with pytest.raises(ConfigError, match="would do nothing in .*qkv"):
        params.with_lora(model, generator=stream(0), trial=x)
    subset = ParamSubset.select(model, lambda _: True)
    size = FAMILIES[name]["img_size"]
    target = Backbone(name, model, subset, image_size=size, dim=32, depth=2)
    lora = adapt.FineTuning(name="LoRA", match=params.lora, rank=2)
    with pytest.raises(ConfigError, match="would do nothing"):
        lora.view(target)


@pytest.mark.parametrize("name", list(FAMILIES)[:8])
def test_low_rank_factors_of_every_other_family_change_the_output(name):
    model, x = made(name), images(name)
    factored = params.with_lora(model, generator=stream(0), trial=x).requires_grad_(False)
    plain = model(x)
    torch.testing.assert_close(factored(x), plain)
    for key, layer in factored.named_modules():
        if isinstance(layer, params.LoRALinear):
            layer.lora_b += torch.randn(layer.lora_b.shape, generator=stream(0, key))
            assert not torch.allclose(factored(x), plain, atol=1e-6), key
            layer.lora_b.zero_()


def test_head_by_head_projections_are_not_taken_apart():
    model = made("tiny_vit_5m_224")
    with pytest.raises(ConfigError, match="order Attention keeps queries, keys and values"):
        ParamSubset.select(model, params.qv_biases)
    part = lambda name: (1,) if params.qkv_biases(name) else False
    with pytest.raises(ConfigError, match="take qkv_biases"):
        ParamSubset.select(model, part)
    assert "query and value biases" not in backbones.subsets(model)
    assert "qkv biases" in backbones.subsets(model)


def test_two_projections_in_one_are_not_taken_apart():
    model = timm.create_model("vit_base_patch16_siglip_224", num_classes=0, **SMALL)
    with pytest.raises(ConfigError, match=r"attn_pool\.kv\.bias is the bias of two"):
        ParamSubset.select(model, params.qv_biases)


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", *FAMILIES])
def test_norms_are_all_layers_that_normalise_whatever_they_are_called(name):
    size = {} if name in FAMILIES else {"num_classes": 0}
    model = made(name) if name in FAMILIES else timm.create_model(name, **size)
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
    layers = [n for n, m in model.named_modules() if isinstance(m, kinds)]
    wanted = {
        f"{n}.{p}" for n in layers for p, _ in model.get_submodule(n).named_parameters()
    }
    assert set(ParamSubset.select(model, params.norms).names) == wanted


def test_norms_of_the_course_are_the_26_layer_norms_still():
    model = targets.build("vit_micro")
    assert ParamSubset.select(model, params.norms).n_params == 13 * 2 * 96


def test_only_the_linear_map_of_a_head_is_a_head():
    model = timm.create_model("test_convnext", num_classes=3)
    assert ParamSubset.select(model, params.head).names == (
        "head.fc.weight",
        "head.fc.bias",
    )
    kept = {
        p: ParamSubset.select(model, p).names
        for p in (params.all_biases, params.everything)
    }
    assert all("head.norm.bias" in names for names in kept.values())
    assert not any("head.fc.bias" in names for names in kept.values())
    bare = timm.create_model("test_convnext", num_classes=0)
    with pytest.raises(ConfigError, match="selects no parameter"):
        ParamSubset.select(bare, params.head)


SUPPORTED = {
    "vit_small_patch16_18x2_224": {},
    "vit_base_patch16_xp_224": {},  # attention and MLP side by side
    "vit_relpos_base_patch16_cls_224": {},
    "vit_base_patch16_rope_224": {},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28},
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_kinds_of_vision_transformers_that_are_targets_say_what_timm_says(name):
    options = SMALL | SUPPORTED[name]
    model = targets.build(name, pretrained=False, **options)
    plain = timm.create_model(name, pretrained=False, num_classes=0, **options).eval()
    plain.load_state_dict({k: x for k, x in model.state_dict().items() if k[:5] != "head."})
    subset, size = ParamSubset.select(model, params.norms), options["img_size"]
    target = targets.tried(targets.Target(name, model, subset, image_size=size))
    x = torch.rand(2, 3, size, size, generator=stream(0, "x"))
    found = target.features(target.theta0, x)
    torch.testing.assert_close(found, plain(target.prepare(x)), atol=1e-5, rtol=1e-4)
    assert belonging.weights_fingerprint(target).startswith(name)


@pytest.mark.parametrize(
    "name", ["vit_relpos_small_patch16_224", "vit_pwee_patch16_reg1_gap_256"]
)
def test_vision_transformers_without_a_class_token_are_refused_at_load(name):
    with pytest.raises(
        ConfigError, match=f"{name} has no class token.*models.backbones.load"
    ):
        targets.load(name, subset=params.norms, pretrained=False, image_size=32)
