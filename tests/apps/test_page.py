"""A run waits its turn: for the pace, and for the page."""

import asyncio

import pytest
import torch

from hyperlab.apps.page import BREATH_S, ON_THE_WAY, beside_the_page, turns
from tests import clock


def took(turn, n):
    async def walk():
        for _ in range(n):
            await turn()
        return asyncio.get_running_loop().time()

    return clock.run(walk())


def test_the_first_turn_comes_at_once_and_others_no_faster_than_the_pace():
    paces = iter((20, 10, 10))
    assert took(turns(lambda: next(paces)), 3) == pytest.approx(BREATH_S + 1 / 20 + 1 / 10)
    # A breath each, for what else wants to be heard.
    assert took(turns(), 10) == pytest.approx(10 * BREATH_S)


def test_the_page_is_at_most_two_pictures_behind():
    async def walk():
        drawn = asyncio.Semaphore(0)
        turn, shown = turns(drawn=drawn.acquire), []

        async def run():
            for number in range(9):
                await turn()
                shown.append(number)

        task = asyncio.create_task(run())
        for seen in range(4):
            await asyncio.sleep(0.1)
            assert len(shown) == seen + ON_THE_WAY
            drawn.release()
        task.cancel()

    clock.run(walk())


def test_one_core_is_left_to_the_page():
    before = torch.get_num_threads()
    with beside_the_page():
        assert torch.get_num_threads() == max(1, before - 1)
    assert torch.get_num_threads() == before
