"""Buttons with words on them, as every app has them."""

from collections.abc import Callable, Mapping

import ipywidgets as w


def button(words: str, act: Callable[[], None]) -> w.Button:
    """A button that does something when it is pressed."""
    made = w.Button(description=words, tooltip=words)
    made.on_click(lambda _: act())
    return made


def with_tips(tips: Mapping[str, str]) -> dict[str, w.Button]:
    """Words -> a button that says more when it is pointed at; what it does comes later."""
    return {name: w.Button(description=name, tooltip=tip) for name, tip in tips.items()}
