"""Procedural classes that fill the image: textures, land cover, radiographs, blood cells."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from .canvas import (
    Array,
    Canvas,
    Pictures,
    Streams,
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

Pattern = Callable[[Array, Array, Generator], Array]  # (u, v, image's generator) -> [0, 1]


def _smooth(x: Array, sharpness: float) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * sharpness * x)


def _stripes(klass: Generator) -> Pattern:
    duty, sharp = klass.uniform(-0.6, 0.6), klass.uniform(2, 12)
    second = klass.uniform(0, 0.5)
    return lambda u, v, _: _smooth(np.sin(u) + second * np.sin(2.5 * u) + duty, sharp)


def _checks(klass: Generator) -> Pattern:
    aspect, sharp, soft = klass.uniform(0.5, 2), klass.uniform(2, 10), klass.random() < 0.5
    if soft:
        return lambda u, v, _: _smooth(np.sin(u) + np.sin(aspect * v), sharp)
    return lambda u, v, _: _smooth(np.sin(u) * np.sin(aspect * v) * 2, sharp)


def _dots(klass: Generator) -> Pattern:
    radius, shift = klass.uniform(0.8, 2.4), klass.choice([0.0, np.pi])

    def pattern(u: Array, v: Array, _: Generator) -> Array:
        u = u + shift * (np.floor(v / (2 * np.pi)) % 2)
        x, y = u % (2 * np.pi) - np.pi, v % (2 * np.pi) - np.pi
        return _smooth(radius - np.sqrt(x * x + y * y), 4.0)

    return pattern


def _waves(klass: Generator) -> Pattern:
    height, rate = klass.uniform(0.5, 2), klass.uniform(0.5, 1.5)
    sharp = klass.uniform(1, 8)
    return lambda u, v, _: _smooth(np.sin(u + height * np.sin(rate * v)), sharp)


def _weave(klass: Generator) -> Pattern:
    gap = klass.uniform(0.2, 0.8)

    def pattern(u: Array, v: Array, _: Generator) -> Array:
        over = (np.floor(u / np.pi) + np.floor(v / np.pi)) % 2
        across, along = np.abs(np.sin(u)) ** gap, np.abs(np.sin(v)) ** gap
        return np.where(over > 0, across, 0.6 * along)

    return pattern


def _bricks(klass: Generator) -> Pattern:
    aspect, mortar = klass.uniform(1.5, 3.5), klass.uniform(0.06, 0.2)

    def pattern(u: Array, v: Array, rng: Generator) -> Array:
        row = np.floor(v / np.pi)
        place = u / (aspect * np.pi) + 0.5 * (row % 2)
        tone = 0.75 + 0.25 * np.sin(12.9 * np.floor(place) + 78.2 * row + rng.uniform(0, 6))
        return tone * ((v / np.pi % 1 > mortar * 1.5) & (place % 1 > mortar))

    return pattern


def _pebbles(klass: Generator) -> Pattern:
    edge, n = klass.random() < 0.5, int(klass.integers(8, 50))

    def pattern(u: Array, _: Array, rng: Generator) -> Array:
        size = len(u)
        seeds = rng.uniform(-1.1, 1.1, (2, n, 1, 1)).astype(np.float32)
        distance = ((grid(size)[:, None] - seeds) ** 2).sum(0)
        nearest = np.sqrt(np.partition(distance, 1, axis=0)[:2])
        gap = (nearest[1] - nearest[0]) * np.sqrt(n)
        return (gap * 2.5).clip(0, 1) if edge else 1 - (nearest[0] * np.sqrt(n)).clip(0, 1)

    return pattern


def _cloudy(klass: Generator) -> Pattern:
    fine, coarse = int(klass.integers(8, 26)), int(klass.integers(3, 8))
    sharp, stretch = klass.uniform(2, 14), int(klass.integers(1, 4))

    def pattern(u: Array, _: Array, rng: Generator) -> Array:
        size = len(u)
        field = clouds(rng, size * stretch, fine)[:size, :size] + clouds(rng, size, coarse)
        return _smooth(field - field.mean(), sharp)

    return pattern


PATTERNS = (_stripes, _checks, _dots, _waves, _weave, _bricks, _pebbles, _cloudy)


def textures(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Describable textures: stripes, checks, dots, waves, weaves, bricks, pebbles, fog."""
    pattern = PATTERNS[klass.integers(len(PATTERNS))](klass)
    rate, angle = klass.uniform(7, 22), klass.uniform(0, np.pi)
    palette = [between(theme, [0.0, 0.05, 0.2], [1.0, 0.7, 1.0]) for _ in range(5)]
    first, second = (palette[i] for i in klass.choice(5, 2, replace=False))
    warp, grain = klass.choice([0.0, 0.5, 1.2]), klass.uniform(0.01, 0.06)
    for rng in rngs:
        x, y = grid(size)
        turn, step = angle + rng.normal() * 0.2, rate * np.exp(rng.normal() * 0.15)
        u = step * (np.cos(turn) * x + np.sin(turn) * y) + rng.uniform(0, 12) + 60
        v = step * (np.cos(turn) * y - np.sin(turn) * x) + rng.uniform(0, 12) + 60
        bend = warp * clouds(rng, size, 5) * 3
        mask = pattern(u + bend, v + bend, rng)[:, :, None]
        low, high = tinted(rng, first, 0.2), tinted(rng, second, 0.2)
        yield lit(rng, (low + (high - low) * mask).astype(np.float32), 0.2, grain)


EARTH = np.array(  # crop, meadow, forest, soil, sand, water, asphalt, roof, straw, wetland
    [
        [0.45, 0.5, 0.25], [0.35, 0.5, 0.3], [0.15, 0.28, 0.2], [0.5, 0.38, 0.3],
        [0.7, 0.6, 0.5], [0.12, 0.25, 0.38], [0.45, 0.45, 0.47], [0.7, 0.55, 0.5],
        [0.6, 0.55, 0.38], [0.25, 0.35, 0.32],
    ]
)  # fmt: skip
SHADOW = np.full(3, 0.2)


def _parcels(rng: Generator, size: int, n: int, regular: float, angle: float) -> Array:
    """The number of the field of each pixel: a Voronoi map of a bent lattice."""
    side = int(np.ceil(np.sqrt(n)))
    spots = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, side)] * 2)).reshape(2, -1)
    spots = spots + rng.normal(size=spots.shape) * (1.2 - regular) / side
    x, y = grid(size)
    c, s = np.cos(angle), np.sin(angle)
    place = np.stack([c * x + s * y, (c * y - s * x)])[:, None]
    away = np.abs(place - spots[:, :, None, None].astype(np.float32))
    distance = away.max(0) if regular > 0.5 else (away**2).sum(0)
    return distance.argmin(0)


def land_cover(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Land from above: parcels, forests, water, roads and roofs, placed anew each time."""
    haze, tone = theme.uniform(0.0, 0.3), theme.normal(size=3) * 0.04
    colours = EARTH[klass.choice(len(EARTH), int(klass.integers(2, 5)), replace=False)]
    colours = (colours + klass.normal(size=colours.shape) * 0.04 + tone).clip(0, 1)
    share = klass.dirichlet(np.full(len(colours), 0.8))
    n_parcels, regular = int(klass.integers(4, 30)), klass.random()
    n_roads = int(klass.choice([0, 0, 1, 2, 4]))
    n_roofs = int(klass.choice([0, 0, 0, 5, 14, 28]))
    river, grain = klass.random() < 0.25, klass.uniform(0.01, 0.12)
    roof = EARTH[[4, 6, 7][klass.integers(3)]] + 0.15
    for rng in rngs:
        angle = rng.uniform(0, 3.14)
        kinds = rng.choice(len(colours), 64, p=share)
        tones = colours[kinds] * np.exp(rng.normal(size=(64, 1)) * 0.1)
        land = tones[_parcels(rng, size, n_parcels, regular, angle)]
        land = land * (1 + grain * 3 * (clouds(rng, size, 16) - 0.5)[:, :, None])
        canvas = Canvas.over(land)
        if river:
            _river(canvas, rng)
        headings = angle + rng.choice([0, 1.57], n_roads)
        for heading in headings + rng.normal(size=n_roads) * 0.1:
            along = np.array([np.cos(heading), np.sin(heading)])
            middle = rng.uniform(-0.7, 0.7, 2)
            grey = np.full(3, rng.uniform(0.5, 0.75))
            canvas.line(np.stack([middle - 3 * along, middle + 3 * along]), grey, 0.07)
        for _ in range(int(n_roofs * rng.uniform(0.6, 1.3))):
            _roof(canvas, rng, roof, angle)
        picture = canvas.array() * (1 - haze) + haze * 0.55
        yield blurred(lit(rng, picture.astype(np.float32), 0.12, grain * 0.4), 0.4)


def _river(canvas: Canvas, rng: Generator) -> None:
    t = np.linspace(-1.2, 1.2, 24)
    middle, height = rng.uniform(-0.4, 0.4), rng.uniform(0.1, 0.4)
    bend = middle + height * np.sin(3 * t + rng.uniform(0, 6))
    path = np.stack([t, bend], 1)[:, :: rng.choice([-1, 1])]
    canvas.line(path, tinted(rng, EARTH[5], 0.15), rng.uniform(0.15, 0.35))


def _roof(canvas: Canvas, rng: Generator, colour: Array, angle: float) -> None:
    box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(0.04, 0.13, 2)
    corners = turned(box, angle) + rng.uniform(-1, 1, 2)
    canvas.fill(corners + 0.03, SHADOW)
    canvas.fill(corners, tinted(rng, colour, 0.2))


def radiographs(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Grey shadows of a body: two lungs, ribs, a heart, and soft opacities."""
    gap, tall = klass.uniform(0.3, 0.55), klass.uniform(0.4, 0.9)
    wide = klass.uniform(0.15, 0.38)
    heart, side = klass.uniform(0.1, 0.4), klass.uniform(-0.3, 0.3)
    n_ribs, rib = klass.uniform(8, 20), klass.uniform(0.05, 0.25)
    spots = klass.uniform(-0.6, 0.6, (int(klass.integers(0, 4)), 2))
    dense, body = klass.uniform(0.15, 0.45), theme.uniform(0.55, 0.75)
    for rng in rngs:
        x, y = grid(size) * np.exp(rng.normal() * 0.08) + rng.normal(size=(2, 1, 1)) * 0.06
        x = x + 0.1 * rng.normal() * y
        picture = body - 0.25 * (x * x) ** 2
        picture = picture + rib * 0.5 * np.sin(n_ribs * (y + 0.5 * x * x))
        for s in (-1, 1):
            depth = ((x - s * gap) / wide) ** 2 + ((y + 0.05) / tall) ** 2
            picture = picture - rng.uniform(0.3, 0.45) * _smooth(1 - depth, 6.0)
        beat = ((x - side - rng.normal() * 0.04) / heart) ** 2
        beat = beat + ((y - 0.3) / (heart * 1.3)) ** 2
        picture = picture + 0.35 * _smooth(1 - beat, 5.0) + 0.3 * np.exp(-((x / 0.12) ** 2))
        for spot in spots + rng.normal(size=spots.shape) * 0.08:
            away = (x - spot[0]) ** 2 + (y - spot[1]) ** 2
            picture = picture + dense * rng.uniform(0.6, 1.3) * np.exp(-away / 0.05)
        yield lit(rng, picture.astype(np.float32), 0.12, 0.03)


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


def cells(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Stained blood cells: nucleus, plasma and granules among pale red cells."""
    plasma = between(klass, [0.7, 0.1, 0.75], [1.0, 0.4, 0.95])
    stain = between(klass, [0.65, 0.35, 0.4], [0.88, 0.75, 0.7])
    grain_ink = between(klass, [0.6, 0.3, 0.4], [1.1, 0.7, 0.9])
    lobes, n_grains = _nucleus(klass), int(klass.choice([0, 0, 12, 30]))
    radius, n_cells = klass.uniform(0.4, 0.85), int(klass.choice([1, 1, 1, 2, 4]))
    glass = between(theme, [0.9, 0.05, 0.82], [1.15, 0.18, 0.95])
    red = between(theme, [0.95, 0.15, 0.75], [1.05, 0.35, 0.9])
    for rng in rngs:
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
        yield lit(rng, picture, 0.06, 0.02)


def scenery(rng: Generator, size: int, base: Array, contrast: float) -> Array:
    """A cluttered background: soft patches of colour around `base`."""
    coarse, fine = clouds(rng, size, 4), clouds(rng, size, 12)
    other = tinted(rng, base[::-1], 0.3)
    mask = (contrast * (coarse - 0.5) * 2 + 0.5).clip(0, 1)
    picture = spread(1 - mask, base) + spread(mask, other)
    return picture * (0.8 + 0.4 * fine)[:, :, None]
