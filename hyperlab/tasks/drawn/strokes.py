"""Procedural classes made of lines: scripts, letters, sketches, circuits, plants.

A recipe decides first what its class and its domain fix, from their own random generators
(`klass`, `theme`); then it draws a picture for the generator of each image.
"""

import numpy as np
from numpy.random import Generator

from .canvas import (
    Array,
    Canvas,
    Pictures,
    Pose,
    Streams,
    blurred,
    hsv,
    lit,
    ring,
    spline,
    star,
    tinted,
    turned,
)


def _walk(klass: Generator, n: int, cells: int = 4) -> Array:
    """n different lattice points, each near the one before it more often than not."""
    line = np.linspace(-0.65, 0.65, cells)
    lattice = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    path = [int(klass.integers(len(lattice)))]
    while len(path) < n:
        distance = np.linalg.norm(lattice - lattice[path[-1]], axis=1)
        weight = np.exp(-(((distance - 0.7) / 0.35) ** 2))
        weight[path] = 0
        path.append(int(klass.choice(len(lattice), p=weight / weight.sum())))
    return lattice[path] + klass.normal(size=(n, 2)) * 0.06


def _arc(klass: Generator) -> Array:
    start, sweep = klass.uniform(0, 6.28), klass.choice([-1, 1]) * klass.uniform(3, 6.3)
    angles = start + sweep * np.linspace(0, 1, 6)
    radii = klass.uniform(0.2, 0.45, 2)
    centre = klass.uniform(-0.35, 0.35, 2)
    return centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1)


def _skeleton(klass: Generator, n_strokes: int, round_share: float) -> list[Array]:
    """Control points of each stroke of a character."""
    kinds = klass.random(n_strokes) < round_share
    return [_arc(klass) if r else _walk(klass, int(klass.integers(2, 5))) for r in kinds]


def characters(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Handwritten characters, bright on dark; a domain may hang them from a bar."""
    bar, round_share = theme.random() < 0.4, theme.uniform(0.2, 0.6)
    pen, slant = theme.uniform(0.12, 0.2), theme.normal() * 0.15
    strokes = _skeleton(klass, int(klass.integers(2, 4)), round_share)
    strokes += [np.array([[-0.75, -0.75], [0.75, -0.75]])] if bar else []
    for rng in rngs:
        pose, canvas = Pose(rng, 0.16, 0.15, 0.12, 0.2), Canvas(size)
        width, ink = pen * np.exp(rng.normal() * 0.25), rng.uniform(0.8, 1)
        for stroke in strokes:
            controls = stroke + rng.normal(size=stroke.shape) * 0.08
            controls = controls + rng.normal(size=2) * 0.05
            controls[:, 0] -= slant * controls[:, 1]
            canvas.line(pose(spline(controls)), ink, width)
        yield blurred(canvas.array(), rng.uniform(0, 0.6))


def runes(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Thin scribbled symbols, black on white and without greys, as a pen on a tablet."""
    round_share = theme.uniform(0.1, 0.7)
    strokes = _skeleton(klass, int(klass.integers(2, 5)), round_share)
    frame = klass.uniform(0.75, 1.1)
    pen = theme.uniform(0.05, 0.1)
    for rng in rngs:
        pose, canvas = Pose(rng, 0.14, 0.17, 0.14, 0.15), Canvas(size)
        for stroke in strokes:
            drift = rng.normal(size=stroke.shape) * 0.06 + rng.normal(size=2) * 0.06
            canvas.line(pose(frame * spline(stroke + drift)), 1.0, pen)
        yield 1.0 - (canvas.array() > 0.25)


def _bar(start: Array, end: Array, width: float) -> Array:
    """A thick segment as a polygon; its flat ends reach out by half the width."""
    along = (end - start) / (np.linalg.norm(end - start) + 1e-9) * width / 2
    side = np.array([-along[1], along[0]])
    start, end = start - along, end + along
    return np.stack([start + side, end + side, end - side, start - side])


def _segments(klass: Generator) -> list[tuple[Array, bool]]:
    """The bones of a letter: straight bars and bowls between nodes of a 3 x 3 lattice."""
    nodes = np.stack(np.meshgrid([-0.5, 0, 0.5], [-0.75, 0, 0.75]), -1).reshape(-1, 2)
    bars = [(0, 6), (2, 8), (1, 7), (0, 2), (3, 5), (6, 8), (0, 8), (2, 6), (0, 4), (2, 4)]
    bars += [(6, 4), (8, 4), (3, 6), (5, 8), (0, 3), (2, 5), (1, 4), (4, 7), (1, 3), (5, 7)]
    picks = klass.choice(len(bars), int(klass.integers(2, 5)), replace=False)
    bones = [(nodes[list(bars[i])], False) for i in picks]
    if klass.random() < 0.5:
        top, side = klass.choice([-0.75, 0.0]), klass.choice([-1, 1])
        angles = np.linspace(0, np.pi, 9)
        x, y = side * (np.sin(angles) - 0.5), top + (1 - np.cos(angles)) * 0.375
        bones.append((np.stack([x, y], 1), True))
    return bones


def glyphs(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Printed letters of an unknown alphabet, each image in another typeface."""
    bones, small = _segments(klass), theme.uniform(0.75, 0.95)
    for rng in rngs:
        weight, contrast = rng.uniform(0.1, 0.4), rng.uniform(0.35, 1.1)
        slant, serif = rng.normal() * 0.2, rng.random() < 0.4
        pose, canvas = Pose(rng, 0.1, 0.15, 0.12), Canvas(size)
        wide, tall = rng.uniform(0.7, 1.4), rng.uniform(0.8, 1.1)
        shape = small * np.array([[wide, 0], [-slant, tall]])
        for bone, is_round in bones:
            points = pose((bone + rng.normal(size=2) * 0.04) @ shape)
            if is_round:
                canvas.brush(spline(points, 30), 1.0, weight * _thinning(contrast))
                continue
            upright = abs(bone[0, 0] - bone[1, 0]) < 0.4
            canvas.fill(_bar(*points, weight if upright else weight * contrast), 1.0)
            for end in points if serif and upright else ():
                reach = np.array([0.6 * weight + 0.06, 0.0])
                canvas.fill(_bar(end - reach, end + reach, 0.1), 1.0)
        picture = canvas.array()
        yield _hollow(picture) if rng.random() < 0.15 else picture


def _thinning(contrast: float) -> Array:
    """Relative widths along a bowl: thin where it runs across, thick where it runs down."""
    return contrast + (1 - contrast) * np.sin(np.linspace(0, np.pi, 30))


def _hollow(letter: Array) -> Array:
    """The outline of a letter."""
    padded = np.pad(letter, 1)
    across = np.minimum(padded[1:-1, :-2], padded[1:-1, 2:])
    return letter - np.minimum(across, np.minimum(padded[:-2, 1:-1], padded[2:, 1:-1]))


def cursive(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Brush-written syllables: one long looping stroke, sometimes a second, short one."""
    loops, pen = theme.uniform(0.1, 0.35), theme.uniform(0.16, 0.26)
    n = int(klass.integers(4, 8))
    long = np.stack([klass.uniform(-0.6, 0.6, n), np.linspace(-0.7, 0.7, n)], 1)
    long += klass.normal(size=(n, 2)) * loops
    long = turned(long, klass.choice([0.0, 0.5, -0.5, 1.57]))
    strokes = [long] + [_walk(klass, 3, 3) for _ in range(klass.integers(0, 3))]
    press = [klass.uniform(0.5, 1.3, 5)[:, None] for _ in strokes]
    for rng in rngs:
        pose, canvas = Pose(rng, 0.15, 0.12, 0.08, 0.2), Canvas(size)
        width = pen * np.exp(rng.normal() * 0.25)
        for stroke, force in zip(strokes, press, strict=True):
            controls = stroke + rng.normal(size=stroke.shape) * 0.1
            widths = spline(force * rng.uniform(0.7, 1.3, (5, 1)), 44)[:, 0] * width
            path, ink = pose(spline(controls, 44)), rng.uniform(0.85, 1)
            canvas.line(path, ink, widths.min())
            canvas.brush(path, ink, widths)
        yield canvas.array()


def _primitive(klass: Generator) -> Array:
    """A closed or open outline around the origin, of about unit size."""
    kind = klass.integers(6)
    if kind == 0:
        return np.concatenate([ring(24), ring(24)[:1]]) * klass.uniform(0.6, 1.2, 2)
    if kind in (1, 2):
        corners = star(int(klass.integers(3, 6)), 1.0)[::2]
        corners = turned(corners, klass.choice([0.0, 0.785]))
        return np.concatenate([corners, corners[:1]]) * klass.uniform(0.6, 1.3, 2)
    if kind == 3:
        x = np.linspace(-1, 1, int(klass.integers(4, 9)))
        return np.stack([x, 0.4 * (-1.0) ** np.arange(len(x))], 1)
    if kind == 4:
        angles = np.linspace(0, np.pi * klass.uniform(0.7, 1.6), 12)
        angles = angles + klass.uniform(0, 6.28)
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    return turned(np.array([[-1.0, 0.0], [1.0, 0.0]]), klass.uniform(0, 3.14))


def sketches(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Hasty line drawings: a big shape and smaller ones in, on and beside it."""
    pen = theme.uniform(0.06, 0.13)
    parts = [(_primitive(klass), klass.uniform(-0.15, 0.15, 2), klass.uniform(0.55, 0.75))]
    parts += [
        (_primitive(klass), klass.uniform(-0.6, 0.6, 2), klass.uniform(0.12, 0.35))
        for _ in range(klass.integers(2, 5))
    ]
    mirrored = [klass.random() < 0.35 for _ in parts]
    for rng in rngs:
        pose, canvas = Pose(rng, 0.1, 0.12, 0.08, 0.15), Canvas(size)
        width = pen * np.exp(rng.normal() * 0.2)
        for i, (outline, centre, scale) in enumerate(parts):
            if i and rng.random() < 0.12:
                continue
            shape = turned(outline, rng.normal() * 0.12) * scale
            shape = shape * np.exp(rng.normal(size=2) * 0.15)
            shape = shape + centre + rng.normal(size=2) * 0.08
            shape = shape + rng.normal(size=shape.shape) * 0.025
            for side in (1.0, -1.0)[: 1 + mirrored[i]]:
                canvas.line(pose(shape * [side, 1.0]), 1.0, width)
        yield canvas.array()


def circuits(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Printed circuits and transit maps: right-angled routes between pads."""
    board, trace = hsv(theme.random(), 0.6, 0.35), hsv(theme.random(), 0.3, 0.85)
    pads = _walk(klass, int(klass.integers(4, 8)), 5)
    square, bend = klass.random(len(pads)) < 0.4, klass.random(len(pads)) < 0.5
    chips = klass.uniform(-0.6, 0.4, (int(klass.integers(0, 3)), 2))
    sizes = klass.uniform(0.2, 0.5, (len(chips), 2))
    for rng in rngs:
        pose = Pose(rng, 0.08, 0.1, 0.1, 0.05)
        canvas = Canvas(size, tinted(rng, board, 0.2))
        nodes = pads + rng.normal(size=pads.shape) * 0.06
        ink, width = tinted(rng, trace, 0.15), rng.uniform(0.07, 0.13)
        stray = rng.uniform(-1, 1, (2, 2))
        for i, (start, end) in enumerate(zip(nodes, [*nodes[1:], stray[0]], strict=True)):
            corner = np.where([bend[i], not bend[i]], start, end)
            canvas.line(pose(np.stack([start, corner, end])), ink, width)
        for spot, extent in zip(chips, sizes, strict=True):
            corners = spot + extent * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
            canvas.fill(pose(corners), np.full(3, 0.1))
        for i, node in enumerate(nodes):
            canvas.fill(pose(node + 0.16 * (star(4, 1.0) if square[i] else ring(12))), ink)
            canvas.discs(pose(node[None]), np.array([0.06]), board * 0.4)
        yield lit(rng, canvas.array(), 0.15, 0.02)


def plants(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Branching plants grown by a rewriting rule, before a sky or a wall."""
    sky = hsv(theme.random(), theme.uniform(0.05, 0.35), theme.uniform(0.75, 0.95))
    n, angle = int(klass.integers(2, 4)), klass.uniform(0.25, 0.85)
    ratio, lean = klass.uniform(0.6, 0.8), klass.normal() * 0.15
    depth, droop = int(klass.integers(3, 6 if n == 2 else 5)), klass.uniform(-0.15, 0.3)
    bark = hsv(0.08, 0.5, klass.uniform(0.2, 0.5))
    leaf = hsv(klass.uniform(0, 0.45), 0.7, 0.6)
    leaf_size = klass.choice([0.0, 0.06, 0.1])
    for rng in rngs:
        canvas = Canvas(size, tinted(rng, sky, 0.06))
        pose = Pose(rng, 0.1, 0.12, 0.1)
        tips, length = np.array([[0.0, 0.85]]), 1.5 * (1 - ratio) / (1 - ratio**depth)
        heading, width = np.array([lean + rng.normal() * 0.08]), rng.uniform(0.1, 0.16)
        for level in range(depth):
            steps = np.stack([np.sin(heading), -np.cos(heading)], 1)
            ends = tips + steps * length * np.exp(rng.normal(size=(len(tips), 1)) * 0.15)
            ink = bark + (leaf - bark) * level / depth
            for start, end in zip(pose(tips), pose(ends), strict=True):
                canvas.line(np.stack([start, end]), ink, width)
            fan = angle * np.linspace(-1, 1, n)
            heading = (heading[:, None] * (1 + droop) + fan).ravel()
            heading = heading + rng.normal(size=len(heading)) * 0.12
            tips, length, width = np.repeat(ends, n, 0), length * ratio, width * 0.7
        if leaf_size:
            canvas.discs(pose(tips[::n]), leaf_size, tinted(rng, leaf, 0.15))
        yield lit(rng, canvas.array(), 0.08, 0.02)
