"""A page without a browser, for apps that run."""

import asyncio


def run_before_a_page(view, *, fits=True):
    """What a page is sent during a run that it watches; `fits` is what it answers."""
    sent, here = [], view.watch

    def page(said):
        sent.append(said)
        if "draw" in said:
            here._handle_custom_msg({"drawn": said["draw"], "fits": fits}, [])

    async def walk():
        here.send, here.watched = page, True
        view.play()
        while view.job.going:
            await asyncio.sleep(0.01)

    asyncio.run(walk())
    return [said["paint"] for said in sent if "paint" in said]
