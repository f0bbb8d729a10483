"""A small drawing kit for the procedural domains: curves, poses, colours, clouds, a canvas.

Points are k x 2 arrays in [-1, 1], x to the right, y down; colours are numbers in [0, 1].
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

Array = np.ndarray
Streams = Iterable[Generator]  # of each image its random generator
Pictures = Iterator[Array]  # h x w (x 3), floats around [0, 1]
OVERSAMPLING = 3  # drawn pixels per final pixel, along each axis


class Canvas:
    """An antialiased drawing of size x size pixels, grey or colour as its background is."""

    def __init__(self, size: int, background: float | Array = 0.0) -> None:
        self.half = OVERSAMPLING * size / 2
        mode = "L" if np.ndim(background) == 0 else "RGB"
        pixels = (OVERSAMPLING * size,) * 2
        self.image = Image.new(mode, pixels, _ink(background))
        self.pen = ImageDraw.Draw(self.image)

    @classmethod
    def over(cls, picture: Array) -> "Canvas":
        """A canvas that starts from a picture h x w (x 3)."""
        canvas = cls(len(picture), 0.0 if picture.ndim == 2 else np.zeros(3))
        start = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
        canvas.image = start.resize(canvas.image.size, Image.Resampling.NEAREST)
        canvas.pen = ImageDraw.Draw(canvas.image)
        return canvas

    def line(self, points: Array, colour: float | Array, width: float) -> None:
        """A stroke with round ends; the width is in the units of the points."""
        pixels, ink = self._pixels(points), _ink(colour)
        thick = max(1, round(width * self.half))
        self.pen.line(pixels.ravel().tolist(), fill=ink, width=thick)
        if thick > 2:
            for x, y in (pixels[0].tolist(), pixels[-1].tolist()):
                r = thick / 2 - 0.5
                self.pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def brush(self, points: Array, colour: float | Array, widths: Array) -> None:
        """A stroke whose width changes from point to point."""
        ink = _ink(colour)
        reach = widths[:, None] / 2
        boxes = np.concatenate([points - reach, points + reach], 1)
        for box in self._pixels(boxes).tolist():
            self.pen.ellipse(box, fill=ink)

    def fill(self, points: Array, colour: float | Array) -> None:
        """A filled polygon."""
        self.pen.polygon(self._pixels(points).ravel().tolist(), fill=_ink(colour))

    def discs(self, centres: Array, radii: float | Array, colour: float | Array) -> None:
        """Filled discs of one colour."""
        self.brush(centres, colour, 2 * np.broadcast_to(radii, len(centres)))

    def array(self) -> Array:
        """The finished picture, float32 in [0, 1], size x size (x 3)."""
        return np.asarray(self.image.reduce(OVERSAMPLING), np.float32) / 255

    def _pixels(self, points: Array) -> Array:
        return (points + 1) * self.half


def _ink(colour: float | Array) -> int | tuple[int, ...]:
    values = np.asarray(colour, float).clip(0, 1) * 255
    return int(values) if values.ndim == 0 else tuple(int(v) for v in values)


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Red, green, blue of a hue in turns, a saturation and a value."""
    ramp = np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return value * (1 + saturation * (ramp.clip(0, 1) - 1))


def between(rng: Generator, low: list[float], high: list[float]) -> Array:
    """A random colour: hue, saturation and value each between two bounds."""
    return hsv(*rng.uniform(low, high))


def tinted(rng: Generator, colour: Array, amount: float) -> Array:
    """The colour in another light: brighter or darker, a little warmer or colder."""
    gain = 1 + amount * rng.normal() + 0.4 * amount * rng.normal(size=3)
    return (colour * gain).clip(0, 1)


@lru_cache(maxsize=64)
def _spline_matrix(n_controls: int, n_points: int) -> Array:
    """Catmull-Rom: curve points = matrix @ control points, through every control point."""
    place = np.linspace(0, n_controls - 1, n_points)
    left = np.minimum(place.astype(int), n_controls - 2)
    t = (place - left)[:, None]
    before, at = -t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3
    after, beyond = t + 4 * t**2 - 3 * t**3, t**3 - t**2
    basis = 0.5 * np.concatenate([before, at, after, beyond], axis=1)
    matrix = np.zeros((n_points, n_controls))
    for shift in range(4):
        column = (left + shift - 1).clip(0, n_controls - 1)
        np.add.at(matrix, (np.arange(n_points), column), basis[:, shift])
    return matrix


def spline(controls: Array, n_points: int = 24) -> Array:
    """A smooth curve through the control points."""
    return _spline_matrix(len(controls), n_points) @ controls


@lru_cache(maxsize=64)
def ring(n_points: int) -> Array:
    """Points of the unit circle, the first at the top."""
    angles = 2 * np.pi * np.arange(n_points) / n_points
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1)


def star(n_tips: int, depth: float) -> Array:
    """A regular polygon (depth 1) or a star whose notches lie at `depth` of the radius."""
    points = ring(2 * n_tips).copy()
    points[1::2] *= depth if depth < 1 else np.cos(np.pi / n_tips)
    return points


@lru_cache(maxsize=16)
def _waves(n_points: int, n_waves: int) -> Array:
    angles = 2 * np.pi * np.arange(n_points) / n_points * np.arange(1, n_waves + 1)[:, None]
    return np.concatenate([np.cos(angles), np.sin(angles)])


def blob(weights: Array, n_points: int = 40) -> Array:
    """A closed curve r = 1 + sum of waves; `weights` has the cosines', then the sines'."""
    radius = 1 + weights @ _waves(n_points, len(weights) // 2)
    return ring(n_points) * radius[:, None]


def wobble(rng: Generator, n_waves: int, amount: float) -> Array:
    """Random weights for `blob`, fading with the frequency."""
    fade = amount / np.tile(np.arange(1, n_waves + 1), 2)
    return rng.normal(size=2 * n_waves) * fade


def turned(points: Array, angle: float) -> Array:
    """Points rotated about the origin, in radians."""
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


class Pose:
    """A random affine map near the identity: where a thing stands, and how big."""

    def __init__(
        self, rng: Generator, turn: float, zoom: float, shift: float, shear: float = 0.0
    ) -> None:
        dice = rng.normal(size=6).clip(-2, 2)
        angle, size = turn * dice[0], np.exp(zoom * dice[1])
        c, s = size * np.cos(angle), size * np.sin(angle)
        bend = np.array([[1 + shear * dice[5], shear * dice[2]], [0, 1 - shear * dice[5]]])
        self.matrix = bend @ np.array([[c, s], [-s, c]])
        self.offset = shift * dice[3:5]
        self.size = size

    def __call__(self, points: Array) -> Array:
        return points @ self.matrix + self.offset


@lru_cache(maxsize=64)
def _stretch(size: int, cells: int) -> Array:
    """Linear interpolation from `cells` knots to `size` pixels."""
    place = np.linspace(0, cells - 1, size)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells))).astype(np.float32)


def clouds(rng: Generator, size: int, cells: int) -> Array:
    """A smooth random field in [0, 1] with `cells` knots along each side."""
    up = _stretch(size, cells)
    return up @ rng.random((cells, cells), dtype=np.float32) @ up.T


@lru_cache(maxsize=8)
def grid(size: int) -> Array:
    """The pixel centres, 2 x size x size: x, then y."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    return np.stack(np.meshgrid(line, line))


def spread(mask: Array, colour: Array) -> Array:
    """A grey mask times a colour."""
    return mask[:, :, None] * np.asarray(colour, np.float32)


def lit(rng: Generator, picture: Array, light: float, noise: float) -> Array:
    """The picture under a light that falls off in a random direction, with sensor noise."""
    size = len(picture)
    a, b, gain = rng.normal(size=3).clip(-2, 2) * light
    shade = 1 + gain + 0.5 * (a * grid(size)[0] + b * grid(size)[1])
    shade = shade if picture.ndim == 2 else shade[:, :, None]
    speckle = rng.standard_normal(picture.shape, dtype=np.float32)
    return picture * shade + noise * speckle


def blurred(picture: Array, amount: float) -> Array:
    """A light blur: the mean with the four neighbours, weighted."""
    if amount <= 0:
        return picture
    padded = np.pad(picture, ((1, 1), (1, 1)) + ((0, 0),) * (picture.ndim - 2), mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return (1 - amount) * picture + amount * around / 4
