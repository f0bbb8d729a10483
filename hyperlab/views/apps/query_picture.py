"""The query images of a task as one picture: what each is taken for, and what changed."""

import base64
import html
import io
from functools import lru_cache

import torch
from PIL import Image, ImageDraw, ImageFont

from hyperlab.views import figures, sheets
from hyperlab.views.apps.stepper_state import Stepper, Task

TILE, CAPTION, EDGE = 64, 20, 6  # pixels of an image, of the words below it, around both
RIGHT, WRONG = figures.OKABE_ITO[2], figures.OKABE_ITO[1]


def query_picture(state: Stepper) -> Image.Image:
    """The query images, a row per class; below each what it is taken for, and whether rightly.

    Wrong ones have a frame and a cross; those that the step made right a frame and a tick.
    """
    task, now, was = state.task, state.now, state.previous
    query, tiles = task.episode.query, _tiles(task)
    rows = [torch.nonzero(query.labels == c).flatten().tolist() for c in range(query.n_way)]
    head, width, height = 90, TILE + 2 * EDGE, TILE + CAPTION + 2 * EDGE
    size = (head + width * max(map(len, rows)), height * len(rows))
    picture = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for c, row in enumerate(rows):
        name = f"class {task.tags[c]}"
        pen.text((4, height * (c + 0.5)), name, fill="black", font=font, anchor="lm")
        for column, i in enumerate(row):
            corner = (head + width * column, height * c)
            right, was_right = (bool(r.guesses[i] == c) for r in (now, was))
            frame = WRONG if not right else RIGHT if not was_right else "white"
            box = (*corner, corner[0] + width - 2, corner[1] + height - 2)
            pen.rectangle(box, outline=frame, width=3)
            picture.paste(tiles[i], (corner[0] + EDGE - 1, corner[1] + EDGE - 1))
            foot = (corner[0] + EDGE, corner[1] + EDGE + TILE + CAPTION // 2)
            _mark(pen, foot, right=right)
            words, at = task.tags[int(now.guesses[i])], (foot[0] + 22, foot[1])
            pen.text(at, words, fill="black", font=font, anchor="lm")
    return picture


@lru_cache(maxsize=2)
def _tiles(task: Task) -> list[Image.Image]:
    """The query images as they are pasted, drawn once a task."""
    tiles = [Image.fromarray(sheets.pixels(image)) for image in task.episode.query.images]
    return [tile.resize((TILE, TILE), Image.Resampling.NEAREST) for tile in tiles]


def _mark(pen: ImageDraw.ImageDraw, foot: tuple[int, int], *, right: bool) -> None:
    x, y = foot[0] + 3, foot[1]
    if right:
        strokes = [(x, y), (x + 4, y + 5), (x + 12, y - 5)]
        pen.line(strokes, fill=RIGHT, width=3)
    else:
        for end in (5, -5):
            pen.line([(x, y - end), (x + 10, y + end)], fill=WRONG, width=3)


def picture_html(picture: Image.Image, words: str) -> str:
    """The picture inside HTML, with words for those who do not see it."""
    file = io.BytesIO()
    picture.save(file, format="jpeg", quality=90, subsampling=0)  # a tenth of PNG's time
    source = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return f'<img style="max-width:100%" alt="{html.escape(words)}" src="{source}">'
