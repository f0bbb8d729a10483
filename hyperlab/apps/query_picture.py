"""The query images of a task: what each is taken for, and what changed. HTML, sent at each step."""

import html
from functools import lru_cache

import torch

from hyperlab.apps.bench import Reading, Task
from hyperlab.views import figures, images

TILE = 76  # pixels of an image with its frame, less where the window is narrow
RIGHT, WRONG = figures.OKABE_ITO[2], figures.OKABE_ITO[1]
GRID = (
    "display:grid;gap:2px;align-items:center;justify-content:start;padding:4px;"
    "background:white;color:black;"
    "font:14px/18px sans-serif;grid-template-columns:auto repeat({columns},minmax(0,{tile}px))"
)
IMAGE = '<img decoding="sync" alt="" style="{look}" src="{source}">'
LOOK = "width:100%;display:block;image-rendering:pixelated"


def query_html(task: Task, now: Reading, was: Reading, *, words: str) -> str:
    """The query images, a row per class; below each what it is taken for, and whether rightly.

    Wrong ones have a frame and a cross; those that the step made right a frame and a tick.
    """
    labels, tiles = task.episode.query.labels, _tiles(task)
    rows = [torch.nonzero(labels == c).flatten().tolist() for c in range(len(task.tags))]
    cells = []
    for c, row in enumerate(rows):
        cells.append(f'<div style="grid-column:1">class {html.escape(task.tags[c])}</div>')
        for i in row:
            right, was_right = (int(r.guesses[i]) == c for r in (now, was))
            tag = task.tags[int(now.guesses[i])]
            cells.append(_cell(tiles[i], tag, right=right, new=right and not was_right))
    look = GRID.format(columns=max(map(len, rows)), tile=TILE)
    words, cells = html.escape(words), "".join(cells)
    return f'<div role="img" aria-label="{words}" style="{look}">{cells}</div>'


def _cell(tile: str, tag: str, *, right: bool, new: bool) -> str:
    colour, sign = (RIGHT, "✓") if right else (WRONG, "✗")
    frame = colour if new or not right else "transparent"
    words = f'<b style="color:{colour}">{sign}</b> {html.escape(tag)}'
    return f'<div style="border:3px solid {frame}">{tile}{words}</div>'


@lru_cache(maxsize=2)
def _tiles(task: Task) -> list[str]:
    """The query images as they are shown, made once a task."""
    sources = map(images.data_uri, task.episode.query.images)
    return [IMAGE.format(look=LOOK, source=source) for source in sources]
