"""Images as squares of 8-bit pixels: one rule for arrays, for files and for whole domains."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from ..base import ArtifactError, ConfigError, Progress
from ..identity import checksum
from .parts import File, Record, reading

TOPS = (1, 255, 4_095, 65_535)  # of whole numbers what is white: masks, 8, 12 and 16 bits
GREY, PALETTE = ("1", "L", "LA", "La"), ("P", "PA")  # pixel kinds of Pillow
LEAST_SIDE = 4  # pixels; of less nothing can be seen
LIMIT_BYTES = 4 * 2**30  # images of one domain in memory; more are decoded on demand


def require_size(size: int) -> None:
    """An error unless images can have that size."""
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"size is a number of pixels, 1 or more; got {size!r}")


def as_bytes(images: np.ndarray, where: Path) -> UInt8[Tensor, " n c h w"]:
    """N x H x W (x C) numbers as uint8 N x C x H x W.

    Floating ones count from 0 to 1, whole ones from 0 to 255, or to 1 where none is above; those
    of 16 bits to the first of TOPS that holds them all.
    """
    images = images[..., None] if images.ndim == 3 else images
    form = images.ndim == 4 and images.shape[-1] in (1, 3) and 0 not in images.shape[1:]
    if not form or images.dtype.kind not in "buif":
        raise ConfigError(
            f"{where}: images are {images.dtype} {images.shape}; want N x H x W (x 1 or 3)"
        )
    if n_bad := (~np.isfinite(images)).any(axis=(1, 2, 3)).sum():
        raise ConfigError(f"{where}: {n_bad} of {len(images)} images hold NaN or infinity")
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    tops = TOPS[:1] if images.dtype.kind in "bf" else TOPS[:2]
    tops = TOPS if images.dtype == np.uint16 else tops
    if not 0 <= low <= high <= tops[-1]:
        raise ConfigError(
            f"{where}: {images.dtype} pixels from {low} to {high} leave the range 0 to "
            f"{tops[-1]}; save them as uint8, or as floating ones from 0 to 1"
        )
    top = next(top for top in tops if high <= top)
    if top != 255:
        images = np.round(images.astype(np.float32) * (255 / top))
    return torch.from_numpy(images.astype(np.uint8)).permute(0, 3, 1, 2)


def fit(images: UInt8[Tensor, " n c h w"], size: int) -> UInt8[Tensor, " n c size size"]:
    """Cut the middle square out of each image and resample it (antialiased bilinear)."""
    side = min(images.shape[-2:])
    top, left = ((n - side) // 2 for n in images.shape[-2:])
    images = images[..., top : top + side, left : left + side]
    if side == size:
        return images.contiguous()
    small = images.new_empty(*images.shape[:2], size, size)
    for rows, chunk in zip(small.split(2048), images.split(2048), strict=True):
        new = functional.interpolate(
            chunk.float(), (size, size), mode="bilinear", antialias=True
        )
        rows.copy_(new.round_().clamp_(0, 255))
    return small


class Decoded(NamedTuple):
    """An image, what was changed in words, and the brightest pixel before, if of 16 bits."""

    pixels: UInt8[Tensor, " c size size"]
    changes: list[str]
    brightest: int = 0


def decode(file: File, size: int, *, top: int = TOPS[-1]) -> Decoded:
    """The middle square of an image, upright, resampled to `size`; grey or RGB.

    Args:
        top: the pixel of 16 bits that becomes white, see `eight_bit`.
    """
    with file.open("rb") as stream, Image.open(stream) as image:
        if min(image.size) < LEAST_SIDE:
            raise ConfigError(
                f"{image.width} x {image.height} pixels; want {LEAST_SIDE} or more each way"
            )
        frames = getattr(image, "n_frames", 1)
        upright = ImageOps.exif_transpose(image)
    plain, change = eight_bit(upright, top=top)
    small = ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.atleast_3d(np.array(small))).permute(2, 0, 1).contiguous()
    changes = [f"the first of {frames} pictures" if frames > 1 else "", change]
    brightest = int(upright.getextrema()[1]) if upright.mode.startswith("I") else 0
    return Decoded(pixels, list(filter(None, changes)), brightest)


def eight_bit(image: Image.Image, *, top: int = TOPS[-1]) -> tuple[Image.Image, str]:
    """The image as grey or RGB of 8 bits, and in words what that took.

    Transparent parts are laid on white. Masks of 0 and 1 become black and white.

    Args:
        top: the pixel of 16 bits that becomes white: 65535, or 4095 for a camera of 12 bits.

    Raises:
        ConfigError: whole numbers outside 0 to `top`, or floating ones outside 0 to 1.
    """
    if image.mode[0] in "IF":
        return _scaled(image, 1 if image.mode == "F" else top)
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


@dataclass(frozen=True, eq=False)
class OnDemand:
    """Image files that are decoded when they are asked for: a domain larger than memory."""

    files: Sequence[File]
    size: int
    dtype: str = "uint8"

    def __len__(self) -> int:
        return len(self.files)

    @property
    def checksum(self) -> str:
        """Of the files, none of them decoded: names, sizes and times of change; a zip's own."""
        once = cache(checksum)

        def stamp(file: File) -> object:
            if isinstance(file, zipfile.Path):
                return file.at, file.root.getinfo(file.at).CRC
            if isinstance(file, Record):
                return file.offset, file.length, once(file.path)
            return file

        return checksum(self.size, [stamp(file) for file in self.files])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), 3, self.size, self.size

    def __getitem__(self, rows: Int64[Tensor, " m"]) -> UInt8[Tensor, " m 3 h w"]:
        images = [_decode(self.files[row], self.size) for row in rows.tolist()]
        return torch.stack([image.expand(3, -1, -1) for image in images])

    def only(self, rows: Int64[Tensor, " m"]) -> "OnDemand":
        """Some of the files, still undecoded."""
        return replace(self, files=[self.files[row] for row in rows.tolist()])


def decode_all(
    files: Sequence[File], size: int, progress: Progress
) -> UInt8[Tensor, " n c h w"] | OnDemand:
    """Read image files: middle square, resampled to `size`; one channel if all are grey.

    More than LIMIT_BYTES of images are left on disk and decoded when they are asked for.
    """
    if len(files) * 3 * size**2 > LIMIT_BYTES:
        return OnDemand(files, size)
    items = progress(files, total=len(files), desc="images")
    return stacked([_decode(file, size) for file in items], size)


def stacked(
    images: Sequence[UInt8[Tensor, " _ h w"]], size: int
) -> UInt8[Tensor, " n c size size"]:
    """One tensor of grey and coloured images; one channel if all are grey."""
    channels = max(map(len, images), default=1)
    rows = [image.expand(channels, -1, -1) for image in images]
    return torch.stack(rows) if rows else torch.empty(0, 1, size, size, dtype=torch.uint8)


def _decode(file: File, size: int) -> UInt8[Tensor, " c h w"]:
    try:
        with reading(file):
            return decode(file, size).pixels
    except ConfigError as error:
        raise ArtifactError(f"{file}: {error}") from error
