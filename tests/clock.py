"""A loop whose seconds pass when nothing is left to do: what takes time takes exactly that."""

import asyncio


class Loop(asyncio.SelectorEventLoop):
    """It begins at second 0; other threads cost no time."""

    def __init__(self):
        super().__init__()
        self.now, self.look = 0.0, self._selector.select
        self._selector.select = self.wait

    def time(self):
        return self.now

    def wait(self, seconds):
        """What has come by now; where nothing has, the time goes on."""
        come = self.look(seconds and 0)
        if not come and seconds:
            self.now += seconds
        return come


def run(walk):
    """`asyncio.run` on such a loop."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(walk)
