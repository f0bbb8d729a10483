"""Work of an app that goes on while the page stays alive."""

import asyncio
from collections.abc import Callable, Coroutine


class Job:
    """One asyncio task at a time: a new one ends the one before.

    Args:
        failed: gets what a task raised; without it nobody would hear of it.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.task: asyncio.Task | None = None
        self.failed = failed

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
