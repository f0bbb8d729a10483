"""A page without a browser, for apps that run."""

import asyncio


def run_before_a_page(box, *, fits=True):
    """What a page is sent during a run that it watches; `fits` is what it answers."""
    sent, page = [], box.page

    def answer(message):
        sent.append(message)
        if "draw" in message:
            page._handle_custom_msg({"drawn": message["draw"], "fits": fits}, [])

    async def walk():
        page.send, page.watched = answer, True
        box.press("run")
        while box.job.going:
            await asyncio.sleep(0.01)

    asyncio.run(walk())
    return [message["paint"] for message in sent if "paint" in message]
