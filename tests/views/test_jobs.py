"""A run waits its turn: for the pace, and for the page."""

import asyncio
import time

import pytest

from hyperlab.views.apps.jobs import turns


def took(turn, n):
    async def walk():
        begun = time.monotonic()
        for _ in range(n):
            await turn()
        return time.monotonic() - begun

    return asyncio.run(walk())


def test_the_first_turn_comes_at_once_and_others_no_faster_than_the_pace():
    paces = iter((20, 10, 10))
    assert 0.15 <= took(turns(lambda: next(paces)), 3) < 0.4
    assert took(turns(), 100) < 0.1


@pytest.mark.parametrize(("pace", "least"), [(1000, 0.09), (20, 0.10)])
def test_no_turn_comes_before_the_last_picture_is_drawn(pace, least):
    async def drawn():
        await asyncio.sleep(0.03)

    assert least <= took(turns(lambda: pace, drawn), 3) < 0.3
