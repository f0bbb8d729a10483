"""Procedural classes that show one thing: a sign, a garment, a hand, a face, a fruit, a leaf ..."""

import numpy as np
from numpy.random import Generator

from .canvas import (
    Array,
    Canvas,
    Pictures,
    Pose,
    Streams,
    between,
    blob,
    blurred,
    clouds,
    grid,
    hsv,
    lit,
    ring,
    spline,
    spread,
    star,
    tinted,
    turned,
    wobble,
)
from .textures import scenery

PAINTS = np.array(  # red, blue, yellow, white, green, black, orange
    [
        [0.8, 0.1, 0.12], [0.1, 0.25, 0.7], [0.95, 0.8, 0.15], [0.95, 0.95, 0.95],
        [0.1, 0.5, 0.25], [0.08, 0.08, 0.1], [0.95, 0.5, 0.1],
    ]
)  # fmt: skip
BARK = np.array([0.3, 0.2, 0.1])
MIDRIB = np.stack([np.zeros(9), np.linspace(-0.7, 1.0, 9)], 1)
SHAPES = (ring(24), star(3, 1.0), turned(star(3, 1.0), np.pi), star(4, 1.0), star(8, 1.0))
SHAPES += (turned(star(4, 1.0), np.pi / 4), star(5, 0.5), star(6, 1.0), star(8, 0.7))


def _symbol(klass: Generator) -> list[Array]:
    """Polygons of a pictogram within about half the unit square."""
    kind = klass.integers(4)
    if kind == 0:
        x = [0, 0.7, 0.25, 0.25, -0.25, -0.25, -0.7]
        arrow = np.stack([x, [-1, -0.2, -0.2, 1, 1, -0.2, -0.2]], 1)
        return [turned(arrow, klass.integers(8) * np.pi / 4) * 0.6]
    if kind == 1:
        bar = np.array([[-1, -0.2], [1, -0.2], [1, 0.2], [-1, 0.2]])
        angles = klass.choice(4, int(klass.integers(1, 4)), replace=False) * np.pi / 4
        return [turned(bar, angle) * 0.7 for angle in angles]
    n = int(klass.integers(1, 4))
    shapes = [SHAPES[i] for i in klass.choice(len(SHAPES), n)]
    spots = klass.uniform(-0.35, 0.35, (n, 2)) * (n > 1)
    return [s * klass.uniform(0.2, 0.45) + c for s, c in zip(shapes, spots, strict=True)]


def signs(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Traffic signs: a shape, its border and pictogram, in every light and place."""
    shape, symbol = SHAPES[klass.integers(len(SHAPES))], _symbol(klass)
    rim, face, mark = (PAINTS[i] for i in klass.choice(len(PAINTS), 3, replace=False))
    border = klass.choice([0.0, 0.12, 0.22])
    street = between(theme, [0.0, 0.1, 0.3], [1.0, 0.4, 0.7])
    for rng in rngs:
        pose = Pose(rng, 0.1, 0.15, 0.12, 0.15)
        ground = tinted(rng, street, 0.3)
        canvas = Canvas.over(scenery(rng, size, ground, rng.uniform(0.3, 1)))
        canvas.fill(pose(shape * 0.8), rim)
        canvas.fill(pose(shape * 0.8 * (1 - border)), face if border else rim)
        for polygon in symbol:
            canvas.fill(pose(polygon * 0.8), mark)
        day = 0.25 + 0.75 * rng.beta(2, 1.3)
        picture = blurred(canvas.array(), rng.uniform(0, 1)) * day + rng.uniform(0, 0.1)
        yield lit(rng, picture, 0.12, rng.uniform(0.0, 0.06))


def _garment(klass: Generator) -> tuple[Array, Array | None, float]:
    """Half-widths from top to bottom, the end of a sleeve (or none), and the leg split."""
    kind = klass.integers(5)
    if kind == 0:  # trousers
        widths = np.array([0.3, 0.36, 0.4, 0.42, 0.42])
        widths = widths * klass.uniform([0.8] * 5, [1.2] * 5)
        return widths, None, klass.uniform(0.15, 0.7)
    if kind == 1:  # dress or skirt
        widths = np.array([0.3, 0.32, 0.25, 0.4, 0.5]) * klass.uniform([0.6] * 5, [1.5] * 5)
        return widths, None, 1.0
    if kind == 2:  # bag or box
        widths = np.full(5, klass.uniform(0.4, 0.8)) * klass.uniform([0.8] * 5, [1.15] * 5)
        return widths, None, 1.0
    widths = np.array([0.4, 0.42, 0.4, 0.4, 0.42]) * klass.uniform([0.75] * 5, [1.15] * 5)
    return widths, klass.uniform([0.55, -0.5], [0.9, 0.7]), 1.0


def clothes(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Garments as grey silhouettes with folds, prints, collars and sleeves."""
    widths, sleeve, split = _garment(klass)
    toe = klass.choice([0.0, 0.0, 0.0, 0.6, 0.9])  # a shoe's, to one side
    top, bottom = klass.uniform(-0.85, -0.4), klass.uniform(0.4, 0.9)
    neck, cuff = klass.choice([0.0, 0.15, 0.25]), klass.uniform(0.12, 0.25)
    strap, bands = klass.random() < 0.25, klass.choice([0.0, 0.0, 9.0, 16.0])
    backdrop, folds = theme.choice([0.0, 0.0, 0.9]), theme.uniform(0.2, 0.5)
    for rng in rngs:
        pose, canvas = Pose(rng, 0.07, 0.09, 0.07, 0.09), Canvas(size)
        half = spline((widths * np.exp(rng.normal(size=5) * 0.13))[:, None], 16)[:, 0]
        ends = top * rng.uniform(0.8, 1.1), bottom * rng.uniform(0.8, 1.1)
        height = np.linspace(*ends, 16)
        side = np.stack([half, height], 1)
        canvas.fill(pose(np.concatenate([side, side[::-1] * [-1, 1]])), 1.0)
        if toe:
            shoe = np.array([[0, 0.1], [toe, 0.35], [toe, 0.7], [-0.5, 0.7]])
            canvas.fill(pose(shoe), 1.0)
        if sleeve is not None:
            hand = sleeve + rng.normal(size=2) * 0.12
            for mirror in ([1, 1], [-1, 1]):
                arm = np.stack([side[1] * [0.75, 1], hand]) * mirror
                canvas.line(pose(arm), 1.0, cuff * 1.3)
        if split < 1:
            gap = np.array([[0, top + split], [0.1, bottom + 0.1], [-0.1, bottom + 0.1]])
            canvas.fill(pose(gap), 0.0)
        if neck:
            canvas.discs(pose(np.array([[0.0, top]])), neck * pose.size, 0.0)
        if strap:
            canvas.line(pose(ring(24)[:13] * [0.2, 0.35] + [-0.0, top]), 0.9, 0.07)
        mask, tone = canvas.array(), rng.uniform(0.35, 0.95)
        cloth = tone * (1 - folds * (clouds(rng, size, 6) - 0.3))
        cloth = cloth * (1 - (0.4 if bands else 0.0) * (np.sin(bands * grid(size)[1]) > 0))
        yield lit(rng, mask * cloth + (1 - mask) * backdrop, 0.06, 0.015)


def hands(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Hand signs: each finger stretched, bent or closed, and the fingers spread or not."""
    reach = klass.choice([0.0, 0.45, 0.9], 5, p=[0.4, 0.15, 0.45])
    spread, twist = klass.uniform(0.06, 0.3), klass.choice([-1.0, 0.0, 0.0, 1.0])
    wall = hsv(theme.random(), theme.uniform(0.02, 0.15), theme.uniform(0.65, 0.9))
    skin = hsv(theme.uniform(0.03, 0.09), theme.uniform(0.3, 0.55), theme.uniform(0.5, 0.9))
    for rng in rngs:
        pose, tone = Pose(rng, 0.1, 0.08, 0.06, 0.05), tinted(rng, skin, 0.08)
        canvas = Canvas(size, tinted(rng, wall, 0.05))
        shade, wide = tone * 0.75, rng.uniform(0.13, 0.17)
        wrist = np.array([[-0.2, 1.5], [-0.22, 0.4], [0.22, 0.4], [0.2, 1.5]])
        canvas.fill(pose(wrist), tone)
        canvas.fill(pose(blob(wobble(rng, 3, 0.03)) * [0.36, 0.38] + [0, 0.3]), tone)
        fan = np.array([-3.2, -1.5, -0.5, 0.5, 1.5]) * spread * rng.uniform(0.8, 1.2)
        fan = fan + twist * 0.3
        x = [-0.3, -0.25, -0.09, 0.08, 0.24]
        knuckles = np.stack([x, [0.35, 0.02, -0.04, -0.03, 0.04]], 1)
        for root, angle, length in zip(knuckles, fan, reach, strict=True):
            angle, length = angle + rng.normal() * 0.06, length * rng.uniform(0.85, 1.1)
            tip = root + length * 0.75 * np.array([np.sin(angle), -np.cos(angle)])
            canvas.line(pose(np.stack([root, tip])), shade, wide * 1.15)
            canvas.line(pose(np.stack([root, tip])), tone, wide * 0.85)
            if length < 0.2:
                canvas.line(pose(np.stack([root, root + [0.0, 0.2]])), shade, 0.04)
        yield lit(rng, blurred(canvas.array(), 0.6), 0.07, 0.015)


def faces(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Faces of people and creatures: head, eyes, mouth, nose, hair, ears or horns."""
    skin, hair = (between(klass, [0.0, 0.2, 0.4], [1.0, 0.7, 0.95]) for _ in range(2))
    head = np.array([klass.uniform(0.45, 0.7), klass.uniform(0.5, 0.75)])
    shape = wobble(klass, 4, 0.06) * np.repeat([0, 1], 4)[::-1]
    n_eyes, eye = int(klass.choice([1, 2, 2, 2, 3])), klass.uniform(0.06, 0.17)
    apart, smile = klass.uniform(0.2, 0.32), klass.uniform(-0.25, 0.25)
    mouth, ears = klass.uniform(0.12, 0.35), int(klass.integers(4))
    nose, fringe = int(klass.integers(3)), klass.uniform(-0.5, 0.1)
    room = between(theme, [0.0, 0.1, 0.3], [1.0, 0.5, 0.9])
    for rng in rngs:
        pose = Pose(rng, 0.13, 0.1, 0.1, 0.08)
        canvas = Canvas.over(scenery(rng, size, tinted(rng, room, 0.2), 0.5))
        tone, mane = tinted(rng, skin, 0.15), tinted(rng, hair, 0.15)
        size_of = head * np.exp(rng.normal(size=2) * 0.06)
        _ears(canvas, pose, ears, size_of, mane)
        outline = blob(shape, 32) * size_of
        canvas.fill(pose(outline), tone)
        crown = outline[outline[:, 1] < fringe * size_of[1]]
        if len(crown) > 2:
            canvas.fill(pose(crown[np.argsort(crown[:, 0])]), mane)
        look = rng.normal(size=2) * 0.03
        for x in apart * (np.arange(n_eyes) - (n_eyes - 1) / 2) * 2:
            spot = np.array([[x, -0.12]]) + rng.normal(size=2) * 0.02
            canvas.discs(pose(spot), eye, np.full(3, 0.95))
            canvas.discs(pose(spot + look), eye * 0.5, np.full(3, 0.08))
        bow = np.linspace(-1, 1, 8)
        curve = (smile + rng.normal() * 0.05) * (1 - bow**2)
        lips = np.stack([bow * mouth, 0.35 + curve], 1)
        canvas.line(pose(lips), np.array([0.5, 0.1, 0.15]), rng.uniform(0.06, 0.1))
        if nose:
            canvas.fill(pose(star(3, 1.0) * 0.08 * nose + [0, 0.1]), tone * 0.6)
        yield lit(rng, canvas.array(), 0.12, 0.02)


def _ears(canvas: Canvas, pose: Pose, kind: int, head: Array, colour: Array) -> None:
    """Kind 0 has none, 1 round ears, 2 pointed ears, 3 long ones."""
    for side in (-1, 1):
        spot = np.array([side * 0.7, -0.75]) * head
        if kind == 1:
            canvas.discs(pose(spot[None]), np.array([0.22]), colour)
        elif kind == 2:
            ear = np.array([[-0.2, 0.1], [0.2, 0.1], [side * 0.1, -0.35]])
            canvas.fill(pose(spot + ear), colour)
        elif kind == 3:
            canvas.fill(pose(spot + ring(16) * [0.12, 0.45] + [0, -0.2]), colour)


def objects(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Vehicle- and animal-like bodies with wheels or legs, wings or heads, in a scenery."""
    length, tall = klass.uniform(0.45, 0.85), klass.uniform(0.2, 0.55)
    body = blob(wobble(klass, 4, 0.12), 32) * [length, tall]
    n_feet, foot = int(klass.integers(0, 5)), klass.uniform(0.12, 0.35)
    wheel = klass.random() < 0.5
    head, up = klass.uniform(0.0, 0.3), klass.uniform(-0.5, 0.1)
    fin = klass.uniform(-0.7, 0.7, (3, 2)) * [1, 0.9]
    paint_of = between(klass, [0.0, 0.1, 0.25], [1.0, 0.8, 0.95])
    place = between(klass, [0.0, 0.1, 0.3], [1.0, 0.5, 0.85])
    varied = klass.random() < 0.4  # comes in every colour
    tone = theme.uniform(0.3, 0.8)
    for rng in rngs:
        pose, flip = Pose(rng, 0.1, 0.15, 0.12, 0.08), [rng.choice([-1, 1]), 1]
        canvas = Canvas.over(scenery(rng, size, tinted(rng, place, 0.25), tone))
        dye = between(rng, [0.0, 0.1, 0.25], [1.0, 0.8, 0.95])
        colour = tinted(rng, dye if varied else paint_of, 0.25)
        trim = colour * rng.uniform(0.4, 0.8)
        canvas.fill(pose(fin * flip), trim)
        for x in np.linspace(-0.7, 0.7, n_feet) * length if n_feet else ():
            end = np.array([x + rng.normal() * 0.05, tall * 0.6 + foot])
            if wheel:
                hub = pose(end[None] * flip - [0, foot / 2])
                canvas.discs(hub, foot * 0.7, np.full(3, 0.1))
            else:
                canvas.line(pose(np.stack([[x, 0], end]) * flip), trim, 0.12)
        canvas.fill(pose(body * flip), colour)
        window = body * [0.55, 0.5] * flip + [0, -0.25 * tall]
        canvas.fill(pose(window), colour * 0.6 + 0.35)
        if head > 0.1:
            canvas.discs(pose(np.array([[length, up]]) * flip), head, colour)
        yield lit(rng, blurred(canvas.array(), 0.5), 0.15, 0.03)


def fruits(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
    """Fruits on white: a shaded body with blush, stripes or speckles, and a stem."""
    skin, blush = (between(klass, [-0.05, 0.5, 0.35], [0.35, 0.9, 0.95]) for _ in range(2))
    outline = wobble(klass, 4, 0.05)
    aspect, mixed = klass.uniform(0.7, 1.2), klass.choice([0.0, 0.5, 1.0])
    stripes, speckle = klass.choice([0, 0, 0, 5, 9]), klass.choice([0.0, 0.1, 0.25])
    stem, gloss = klass.choice([0.0, 0.25, 0.45]), klass.uniform(0, 0.6)
    bright, fill = theme.uniform(0.9, 1.0), theme.uniform(0.75, 0.9)
    extent = [fill * min(1, aspect), fill * min(1, 1 / aspect)]
    for rng in rngs:
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
        if stem:
            canvas = Canvas.over(picture.clip(0, 1))
            twig = outer[0] * 0.8 + np.array([[0.0], [stem]]) * (outer[0] - pose.offset)
            canvas.line(twig, BARK, 0.09)
            picture = canvas.array()
        yield lit(rng, picture.astype(np.float32), 0.03, 0.01)


def _ball(x: Array, y: Array, light: Array) -> tuple[Array, Array]:
    """Shade and highlight, h x w x 1, of a ball with the light at this place."""
    depth = np.sqrt((1 - 0.8 * (x * x + y * y)).clip(0, 1))
    shade = (0.45 + 0.55 * depth + 0.25 * (x * light[0] + y * light[1])).clip(0.1, 1.15)
    shine = np.exp(-((x - light[0] * 0.6) ** 2 + (y - light[1]) ** 2) / 0.05)
    return shade[:, :, None], shine[:, :, None]


def leaves(klass: Generator, theme: Generator, rngs: Streams, size: int) -> Pictures:
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
    for rng in rngs:
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
        yield lit(rng, picture * (0.9 + 0.2 * clouds(rng, size, 8))[:, :, None], 0.1, 0.02)


def _curled(points: Array, bend: float) -> Array:
    """Points of a leaf whose midrib bends into a parabola."""
    return points + np.stack([bend * points[:, 1] ** 2, 0 * points[:, 1]], 1)
