"""Procedural classes of biology: blood cells, fruits, leaves."""

import numpy as np
from numpy.random import Generator

from .canvas import (
    Array,
    Canvas,
    Painter,
    Pose,
    between,
    blob,
    blurred,
    clouds,
    grid,
    lit,
    ring,
    spread,
    tinted,
    turned,
    wobble,
)

BARK = np.array([0.3, 0.2, 0.1])
MIDRIB = np.stack([np.zeros(9), np.linspace(-0.7, 1.0, 9)], 1)


def _nucleus(klass: Generator) -> Array:
    """Centres and radii (x, y, r) of the discs that make a nucleus, round or lobed."""
    kind, n = klass.integers(4), int(klass.integers(2, 6))
    if kind == 0:
        return np.array([[0.0, 0.0, klass.uniform(0.4, 0.85)]])
    if kind == 1:
        angles = klass.uniform(0, 6.28) + np.arange(n) * klass.uniform(0.9, 1.4)
        return np.stack([0.4 * np.cos(angles), 0.4 * np.sin(angles), np.full(n, 0.3)], 1)
    if kind == 2:
        angles = np.linspace(0, klass.uniform(2, 4.5), 8)
        return np.stack([0.45 * np.cos(angles), 0.45 * np.sin(angles), np.full(8, 0.28)], 1)
    centres, radii = klass.uniform(-0.4, 0.4, (n, 2)), klass.uniform(0.1, 0.35, (n, 1))
    return np.concatenate([centres, radii], 1)


def cells(klass: Generator, theme: Generator) -> Painter:
    """Stained blood cells: nucleus, plasma and granules among pale red cells."""
    plasma = between(klass, [0.7, 0.1, 0.75], [1.0, 0.4, 0.95])
    stain = between(klass, [0.65, 0.35, 0.4], [0.88, 0.75, 0.7])
    grain_ink = between(klass, [0.6, 0.3, 0.4], [1.1, 0.7, 0.9])
    lobes, n_grains = _nucleus(klass), int(klass.choice([0, 0, 12, 30]))
    radius, n_cells = klass.uniform(0.4, 0.85), int(klass.choice([1, 1, 1, 2, 4]))
    glass = between(theme, [0.9, 0.05, 0.82], [1.15, 0.18, 0.95])
    red = between(theme, [0.95, 0.15, 0.75], [1.05, 0.35, 0.9])

    def paint(rng: Generator, size: int) -> Array:
        canvas = Canvas(size, tinted(rng, glass, 0.04))
        for spot in rng.uniform(-1.1, 1.1, (int(rng.integers(2, 6)), 1, 2)):
            canvas.fill(ring(20) * 0.4 + spot, red)
            canvas.fill(ring(12) * 0.15 + spot, red * 0.5 + glass * 0.5)
        tones = [tinted(rng, c, 0.08) for c in (plasma, stain, grain_ink)]
        middle = rng.normal(size=2) * 0.12
        for i in range(n_cells):
            scale, centre = radius * rng.uniform(0.85, 1.15) / n_cells**0.4, middle
            if n_cells > 1:
                centre = middle + 0.55 * turned(ring(n_cells), rng.random())[i]
            canvas.fill(blob(wobble(rng, 3, 0.06)) * scale + centre, tones[0])
            core = turned(lobes[:, :2], rng.uniform(0, 6.28))
            core = core + rng.normal(size=core.shape) * 0.06
            canvas.discs(core * scale + centre, lobes[:, 2] * scale, tones[1])
            if n_grains:
                dust = rng.normal(size=(n_grains, 2)) * 0.4 * scale + centre
                canvas.discs(dust, 0.045, tones[2])
        picture = blurred(blurred(canvas.array(), 0.8), rng.uniform(0, 1))
        return lit(rng, picture, 0.06, 0.02)

    return paint


def fruits(klass: Generator, theme: Generator) -> Painter:
    """Fruits on white: a shaded body with blush, stripes or speckles, and a stem."""
    skin, blush = (between(klass, [-0.05, 0.5, 0.35], [0.35, 0.9, 0.95]) for _ in range(2))
    outline = wobble(klass, 4, 0.05)
    aspect, mixed = klass.uniform(0.7, 1.2), klass.choice([0.0, 0.5, 1.0])
    stripes, speckle = klass.choice([0, 0, 0, 5, 9]), klass.choice([0.0, 0.1, 0.25])
    stem, gloss = klass.choice([0.0, 0.25, 0.45]), klass.uniform(0, 0.6)
    bright, fill = theme.uniform(0.9, 1.0), theme.uniform(0.75, 0.9)
    extent = [fill * min(1, aspect), fill * min(1, 1 / aspect)]

    def paint(rng: Generator, size: int) -> Array:
        pose, canvas = Pose(rng, 0.5, 0.08, 0.05), Canvas(size)
        outer = pose(blob(outline + wobble(rng, 4, 0.02)) * extent)
        canvas.fill(outer, 1.0)
        mask = canvas.array()[:, :, None]
        x, y = grid(size)
        shade, shine = _ball(x, y, rng.normal(size=2) * 0.35 + [0, -0.3])
        heading = rng.uniform(0, 6.28)
        side = 1 / (1 + np.exp(-4 * (x * np.cos(heading) + y * np.sin(heading))))
        side = mixed * side + 0.5 * (clouds(rng, size, 6) - 0.5) * (mixed > 0)
        body = spread(1 - side, tinted(rng, skin, 0.08))
        body = body + spread(side, tinted(rng, blush, 0.08))
        if stripes:
            body = body * (1 - 0.3 * (np.sin(stripes * np.arctan2(y, x)) > 0.2))[:, :, None]
        body = body * (1 - speckle * (rng.random((size, size, 1)) < 0.2)) * shade
        picture = mask * (body + gloss * shine) + (1 - mask) * bright
        if not stem:
            return lit(rng, picture.astype(np.float32), 0.03, 0.01)
        canvas = Canvas.over(picture.clip(0, 1))
        twig = outer[0] * 0.8 + np.array([[0.0], [stem]]) * (outer[0] - pose.offset)
        canvas.line(twig, BARK, 0.09)
        return lit(rng, canvas.array(), 0.03, 0.01)

    return paint


def _ball(x: Array, y: Array, light: Array) -> tuple[Array, Array]:
    """Shade and highlight, h x w x 1, of a ball with the light at this place."""
    depth = np.sqrt((1 - 0.8 * (x * x + y * y)).clip(0, 1))
    shade = (0.45 + 0.55 * depth + 0.25 * (x * light[0] + y * light[1])).clip(0.1, 1.15)
    shine = np.exp(-((x - light[0] * 0.6) ** 2 + (y - light[1]) ** 2) / 0.05)
    return shade[:, :, None], shine[:, :, None]


def leaves(klass: Generator, theme: Generator) -> Painter:
    """Leaves with veins, and with the spots, rust or scab of a disease."""
    green = between(klass, [0.15, 0.35, 0.3], [0.42, 0.7, 0.7])
    narrow, lobes = klass.uniform(0.35, 0.75), int(klass.choice([0, 0, 3, 5, 7]))
    deep = klass.uniform(0.1, 0.3) * (lobes > 0)
    teeth, veins = klass.choice([0.0, 0.03, 0.06]), int(klass.integers(0, 6))
    n_spots, spot = int(klass.choice([0, 3, 8, 20])), klass.uniform(0.03, 0.12)
    rot = between(klass, [0.0, 0.3, 0.1], [0.16, 0.9, 0.7])
    table = theme.choice([np.zeros(3), np.ones(3), np.array([0.5, 0.48, 0.52])])
    t = 2 * np.pi * np.arange(60) / 60
    radius = 1 + deep * np.cos(lobes * t) + teeth * (-1) ** np.arange(60)
    taper = narrow * (1 - 0.35 * np.cos(t))

    def paint(rng: Generator, size: int) -> Array:
        pose = Pose(rng, 0.5, 0.1, 0.08, 0.1)
        canvas = Canvas(size, tinted(rng, table, 0.05))
        outline = np.stack([np.sin(t) * taper * rng.uniform(0.85, 1.15), -np.cos(t)], 1)
        leaf, bend = tinted(rng, green, 0.15), rng.normal() * 0.15
        canvas.fill(pose(_curled(outline * radius[:, None] * 0.75, bend)), leaf)
        vein = leaf * 0.6 + 0.3
        canvas.line(pose(_curled(MIDRIB, bend)), vein, 0.05)
        for y in np.linspace(-0.35, 0.5, veins):
            for side in (-1, 1):
                rib = np.array([[0, y], [side * narrow * 0.5, y - 0.25]])
                canvas.line(pose(_curled(rib, bend)), vein, 0.03)
        if n_spots:
            places = rng.normal(size=(rng.poisson(n_spots) + 1, 2)) * [narrow * 0.3, 0.32]
            radii = spot * rng.uniform(0.5, 1.5, len(places))
            canvas.discs(pose(_curled(places, bend)), radii, tinted(rng, rot, 0.15))
        picture = canvas.array()
        return lit(rng, picture * (0.9 + 0.2 * clouds(rng, size, 8))[:, :, None], 0.1, 0.02)

    return paint


def _curled(points: Array, bend: float) -> Array:
    """Points of a leaf whose midrib bends into a parabola."""
    return points + np.stack([bend * points[:, 1] ** 2, 0 * points[:, 1]], 1)
