"""A style is one look for a whole task."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.tasks.styles import OPERATIONS, Operation, Style, random_style

IMAGES = torch.rand(12, 3, 32, 32, generator=stream(0, "images"))


def one_of(name):
    """A style of one operation with random numbers."""
    return Style((Operation(name, OPERATIONS[name].draw(stream(1, name), 1.0)),), seed=3)


def test_the_empty_style_changes_nothing_and_strength_zero_gives_it():
    assert random_style(stream(0, "style"), 0.0).operations == Style().operations == ()
    assert torch.equal(Style().apply(IMAGES), IMAGES)


def test_more_strength_means_more_operations():
    def mean(strength):
        drawn = [random_style(stream(i, "style"), strength) for i in range(200)]
        return sum(len(style.operations) for style in drawn) / 200

    assert 2 < mean(1.0) < 5
    assert mean(0.5) < mean(1.0) < mean(2.0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_images_keeps_their_range_and_is_the_same_in_any_batch(
    name,
):
    style = one_of(name)
    styled = style.apply(IMAGES)
    assert (styled.shape, styled.dtype) == (IMAGES.shape, torch.float32)
    assert 0 <= styled.min() <= styled.max() <= 1
    assert (styled - IMAGES).abs().mean() > 0.005
    alone = torch.cat([style.apply(image[None]) for image in IMAGES])
    torch.testing.assert_close(alone, styled, rtol=0, atol=1e-5)


def test_the_same_generator_gives_the_same_style():
    assert random_style(stream(5, "a")) == random_style(stream(5, "a"))
    assert random_style(stream(5, "a")) != random_style(stream(5, "b"))


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_random_styles_keep_the_range_whatever_their_strength(strength):
    for seed in range(40):
        styled = random_style(stream(seed, "range"), strength).apply(IMAGES[:3])
        assert styled.isfinite().all()
        assert styled.min() >= 0
        assert styled.max() <= 1


def test_four_quarter_turns_and_two_inversions_are_the_identity():
    turn, invert = Operation("quarter", (1.0, 0.0)), Operation("invert", ())
    styled = Style((turn, invert, turn, turn, invert, turn)).apply(IMAGES)
    torch.testing.assert_close(styled, IMAGES)


def test_a_turn_by_ninety_degrees_is_a_quarter_turn():
    turned = Style((Operation("turn", (90.0, 1.0, 0.0)),)).apply(IMAGES)
    ways = [torch.rot90(IMAGES, k, (2, 3)) for k in (1, 3)]
    assert min((turned - way).abs().max() for way in ways) < 1e-4


def test_recolouring_maps_black_and_white_to_the_two_colours():
    style = Style((Operation("recolour", (0.1, 0.2, 0.3, 0.7, 0.8, 0.9)),))
    black, white = style.apply(torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]))
    torch.testing.assert_close(black[:, 0, 0], torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(white[:, 0, 0], torch.tensor([0.7, 0.8, 0.9]))


def test_blurring_keeps_a_flat_image_and_calms_noise():
    blur = Style((Operation("blur", (1.2,)),))
    flat = torch.full((1, 3, 16, 16), 0.4)
    torch.testing.assert_close(blur.apply(flat), flat)
    assert blur.apply(IMAGES).std() < 0.5 * IMAGES.std()


def test_noise_depends_on_the_seed_of_the_style_alone():
    noise = (Operation("noise", (0.3,)),)
    one, again, other = (Style(noise, seed=seed).apply(IMAGES) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_what_is_no_batch_of_colour_images_no_operation_and_no_strength_is_refused():
    bytes_ = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    for images in (torch.rand(3, 32, 32), torch.rand(2, 1, 8, 8), bytes_):
        with pytest.raises(ConfigError, match="n x 3 x h x w"):
            Style().apply(images)
    with pytest.raises(ConfigError, match=r"'sepia'.*'blur'"):
        Operation("sepia", ())
    with pytest.raises(ConfigError, match="-1"):
        random_style(stream(0, "style"), -1.0)
