"""Work of an app that goes on while the page stays alive."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager

import torch

ON_THE_WAY = 2  # pictures that the page may be behind
BREATH_S = 0.01  # for messages: a press on Pause waits behind what the page answers
Turn = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """The turn of a run that nobody watches; others get theirs meanwhile."""
    await asyncio.sleep(0)


@contextmanager
def beside_the_page() -> Iterator[None]:
    """Leave a processor core to the browser: threads of two that share one wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def turns(pace: Callable[[], float] = lambda: math.inf, drawn: Turn = at_once) -> Turn:
    """What a run awaits before each picture: so the page is never behind.

    Args:
        pace: pictures a second, asked anew for each.
        drawn: returns when the last picture is on the screen.
    """
    due, on_the_way = 0.0, deque()

    async def turn() -> None:
        nonlocal due
        now = asyncio.get_running_loop().time
        if len(on_the_way) == ON_THE_WAY:
            await on_the_way.popleft()
        await asyncio.sleep(max(BREATH_S, due - now()))
        due = now() + 1 / pace()
        on_the_way.append(asyncio.ensure_future(drawn()))  # asks when the run next awaits

    return turn


class Job:
    """One asyncio task at a time: a new one ends the one before.

    Args:
        failed: gets what a task raised; without it nobody would hear of it.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.task: asyncio.Task | None = None
        self.failed = failed

    @property
    def going(self) -> bool:
        """Whether a task is at work."""
        return self.task is not None and not self.task.done()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Begin `work` on the kernel's loop; where no loop runs, do all of it now."""
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(work)
            return
        self.task = loop.create_task(work)
        self.task.add_done_callback(self._ended)

    def stop(self) -> None:
        """End the task, if one runs."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def _ended(self, task: asyncio.Task) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)
            raise error
