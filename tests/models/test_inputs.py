"""A backbone sees images as its weights were trained to; a size it cannot take is refused."""

from dataclasses import replace

import pytest
import timm
import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torchvision.transforms.functional import pil_to_tensor

from hyperlab.base import ConfigError, stream
from hyperlab.models import backbones, targets
from hyperlab.models.inputs import Inputs
from hyperlab.weights import recipes, tails, zoo_store

CPU = torch.device("cpu")
OWN = {  # mean, deviation, interpolation and pixels of the weights' own data configuration
    "vit_small_patch16_224.dino": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
    "vit_base_patch16_384.augreg_in21k_ft_in1k": ((0.5,) * 3, (0.5,) * 3, 384),
    "vit_base_patch32_clip_224.openai": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
        224,
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_inputs_are_those_of_the_weights(name):
    mean, std, size = OWN[name]
    assert targets.own_inputs(name) == (size, Inputs(mean, std, "bicubic"))
    assert targets.own_inputs(name, 64) == (64, Inputs(mean, std, "bicubic"))


def test_vit_micro_keeps_what_it_was_trained_with_bit_for_bit():
    target = targets.load("vit_micro")
    images = torch.rand(3, 3, 32, 32, generator=stream(0, "x"))
    assert torch.equal(target.prepare(images), (images - 0.5) / 0.25)


def test_a_loaded_target_prepares_images_by_its_configuration():
    target = targets.load("vit_tiny_patch16_224", pretrained=False, image_size=32)
    config = resolve_model_data_config(target.model)
    images = torch.rand(2, 3, 32, 32, generator=stream(0, "x"))
    mean, std = (torch.tensor(config[k])[:, None, None] for k in ("mean", "std"))
    torch.testing.assert_close(target.prepare(images), (images - mean) / std)
    assert target.inputs.interpolation == config["interpolation"]


def test_any_backbone_prepares_images_by_its_configuration_and_size():
    target = backbones.load("test_resnet", generator=stream(0))
    assert target.image_size == 160
    white = torch.ones(1, 3, 20, 20)
    torch.testing.assert_close(target.prepare(white), torch.ones(1, 3, 160, 160))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_images_are_resized_as_pillow_does(mode):
    noise = torch.randint(0, 256, (3, 40, 30), generator=stream(0, "x")).byte()
    picture = Image.fromarray(noise.permute(1, 2, 0).numpy())
    wanted = pil_to_tensor(picture.resize((16, 16), getattr(Image, mode.upper()))) / 255
    found = Inputs(interpolation=mode).resized(noise[None] / 255, 16)[0]
    torch.testing.assert_close(found, wanted, atol=2 / 255, rtol=0)


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (
            lambda: targets.load("vit_micro", image_size=48),
            "takes images of 32 pixels, got 48",
        ),
        (
            lambda: targets.load("vit_tiny_patch16_224", pretrained=False, image_size=40),
            "patches of 16 pixels, and 40 is no multiple of that; take a larger size, e.g. 48",
        ),
        (
            lambda: targets.load("vit_base_patch16_sapiens2"),
            "1024 x 768 pixels; give one size",
        ),
        (lambda: targets.load("vit_tiny_patch16_224.augrag"), "no network .*augreg"),
        (
            lambda: backbones.build_norm_network(
                "test_vit", 3, size=20, generator=stream(0)
            ),
            "patches of 16 pixels, and 20",
        ),
        (lambda: Inputs(interpolation="lanczos"), "no interpolation 'lanczos'; have"),
    ],
)
def test_a_size_or_network_that_cannot_be_honoured_is_refused_at_load(load, says):
    with pytest.raises(ConfigError, match=says):
        load()


@pytest.fixture
def fetched(monkeypatch):
    """Every timm network counts as pretrained: random weights stand for those of its maker."""
    create = timm.create_model

    def instead(name, *, pretrained, **options):
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", instead)


def test_a_host_with_weights_of_timms_sees_plain_images_in_its_own_way(fetched, tmp_path):
    splits = recipes.load(recipes.RECIPES["digits"]).first(20, 2)
    config = tails.NormConfig.at("smoke")
    config = replace(config, pretrained=True, size=None, epochs=1)
    config = replace(config, tail=replace(config.tail, n=1))
    tail = tails.train_tail(config, "digits", splits)
    host, prepared = tail.architecture, splits.train.images[:3]
    recipe = recipes.RECIPES["digits"]
    plain = (prepared * recipe.spread + recipe.centre).expand(-1, 3, -1, -1)
    size, inputs = targets.own_inputs("test_resnet")
    assert host.size == size == 160
    torch.testing.assert_close(host.see(prepared), inputs(plain, size, CPU))
    zoo_store.save_zoo(tail, tmp_path / "tail.safetensors")
    again = zoo_store.load_zoo(tmp_path / "tail.safetensors").architecture
    assert torch.equal(again.see(prepared), host.see(prepared))
    with pytest.raises(ConfigError, match=r"want images that were in \[0, 1\]"):
        tails.train_norms(config, splits)
