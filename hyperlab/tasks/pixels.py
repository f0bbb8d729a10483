"""One image file of any kind as square pixels of 8 bits: the rule of every reader of files."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from ..base import ConfigError
from .formats import TOPS, File

GREY, PALETTE = ("1", "L", "LA", "La"), ("P", "PA")  # pixel kinds of Pillow
LEAST_SIDE = 4  # pixels; of less nothing can be seen


class Decoded(NamedTuple):
    """An image, what was changed in words, and the brightest pixel before, if of 16 bits."""

    pixels: UInt8[Tensor, " c size size"]
    changes: list[str]
    brightest: int = 0


def decode(file: File, size: int, *, top: int = TOPS[-1]) -> Decoded:
    """The middle square of an image, upright, resampled to `size`; grey or RGB.

    Args:
        top: the pixel of 16 bits that becomes white, see `eight_bit`.

    Raises:
        ConfigError: the image is tiny, or its pixels are no brightnesses.
        Exception: Pillow's, if the file is damaged or no image.
    """
    with file.open("rb") as stream, Image.open(stream) as image:
        if min(image.size) < LEAST_SIDE:
            raise ConfigError(
                f"{image.width} x {image.height} pixels; want {LEAST_SIDE} or more each way"
            )
        frames = getattr(image, "n_frames", 1)
        changes = [f"the first of {frames} pictures"] if frames > 1 else []
        upright = ImageOps.exif_transpose(image)
    plain, change = eight_bit(upright, top=top)
    small = ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small))
    pixels = pixels[None] if plain.mode == "L" else pixels.permute(2, 0, 1).contiguous()
    deep = upright.mode.startswith("I")
    brightest = int(upright.getextrema()[1]) if deep else 0
    return Decoded(pixels, changes + ([change] if change else []), brightest)


def eight_bit(image: Image.Image, *, top: int = TOPS[-1]) -> tuple[Image.Image, str]:
    """The image as grey or RGB of 8 bits, and in words what that took.

    Transparent parts are laid on white. Masks of 0 and 1 become black and white.

    Args:
        top: the pixel of 16 bits that becomes white: 65535, or 4095 for a camera of 12 bits.

    Raises:
        ConfigError: whole numbers outside 0 to `top`, or floating ones outside 0 to 1.
    """
    if image.mode.startswith("I"):
        return _scaled(image, top)
    if image.mode == "F":
        return _scaled(image, 1)
    grey = image.mode in GREY
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(rgba)
        clear = rgba.getextrema()[3][0] < 255
        change = "transparent parts laid on white" if clear else ""
        image = ground
    elif image.mode in PALETTE:
        change = "palette replaced by its colours"
    else:
        change = "" if grey or image.mode.startswith("RGB") else f"{image.mode} made RGB"
    plain = image.convert("L" if grey else "RGB")
    if np.max(plain.getextrema()) != 1:
        return plain, change
    return plain.point(lambda value: 255 * value), "0 and 1 made black and white"


def _scaled(image: Image.Image, top: int) -> tuple[Image.Image, str]:
    pixels = np.asarray(image).astype(np.float64)
    low, high = pixels.min(), pixels.max()
    if not 0 <= low <= high <= top:
        raise ConfigError(
            f"pixels of kind {image.mode!r} from {low:g} to {high:g}; want 0 to {top}, or save "
            "it as 8-bit"
        )
    small = np.round(pixels * (255 / top))
    kind = "floating" if image.mode == "F" else "16-bit"
    words = f"{kind} pixels; the brightest, {high:g}, became {small.max():.0f}"
    return Image.fromarray(small.astype(np.uint8)), words
