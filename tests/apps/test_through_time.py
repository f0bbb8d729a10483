"""The rules of fine-tuning through time hold without a browser, and the view shows the state."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperlab.apps import through_time
from hyperlab.apps.app import App
from hyperlab.apps.through_time import ThroughState
from hyperlab.base import ConfigError, stream
from hyperlab.weights import generate, zoo
from tests.apps.states import IMAGES, NET, THROUGH, through_parts, tuned

MAKER, CODES, COSTS = through_parts()


@pytest.fixture(autouse=True)
def few_updates(monkeypatch):
    monkeypatch.setattr(through_time, "MOST", 10)


@pytest.fixture
def state():
    return tuned()


def test_a_later_stop_keeps_less_memory_and_a_shorter_gradient():
    for name in ("saved_bytes", "flops", "norm"):
        first, second, third = (row[name] for row in COSTS)
        assert first > second > third > 0


def test_steps_are_updates_of_the_package(state):
    state.step()
    assert state.done == through_time.EACH == 5
    config = replace(THROUGH, updates=5, detach=0.4)
    tuned = generate.finetune_through(
        MAKER, IMAGES, config, generator=stream(0, "through time")
    )
    for a, b in zip(
        tuned.flow.parameters(), state.tuning.maker.flow.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    ends = MAKER.encoder.decode(state.path()[-1])
    wanted = float(zoo.accuracies(NET, ends, *IMAGES).mean())
    assert state.seen[0.4][-1].accuracy == pytest.approx(wanted)


def test_the_generator_that_was_given_stays_as_it_is(state):
    before = [p.clone() for p in MAKER.flow.parameters()]
    state.step()
    assert all(map(torch.equal, before, MAKER.flow.parameters()))


def test_another_stop_starts_anew_and_keeps_what_was_seen(state):
    state.step()
    kept = state.seen[0.4]
    state.stop = 0.8
    assert (state.done, state.knot) == (0, 4)
    assert state.seen[0.4] == kept and len(state.seen[0.8]) == 1
    np.testing.assert_allclose(
        state.path(), MAKER.flow.path(12, generator=stream(1, "through time"), steps=5)
    )


def test_a_run_goes_to_the_last_update_and_then_from_the_start(state):
    asyncio.run(state.run())
    assert [r.updates for r in state.seen[0.4]] == [0, 5, 10]
    state.step()
    assert state.done == 10
    first = state.seen[0.4]
    asyncio.run(state.run())
    assert state.seen[0.4] == first


def test_the_words_say_steps_memory_and_accuracy(state):
    state.step()
    words, last = state.read_out(), state.seen[0.4][-1]
    assert words.startswith("t' = 0.40: 2 of 5 steps run without gradient")
    assert f"{last.accuracy:.1%}" in words and f"{last.differ:.1%}" in words
    share = COSTS[1]["norm"] / COSTS[0]["norm"]
    assert f"{share:.0%} of the length" in words


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="got 0 and"):
        ThroughState(MAKER, CODES, (IMAGES, IMAGES), THROUGH, [])


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_view_shows_what_the_state_says(state):
    box = App(state)
    box.buttons["step"].click()
    traces = {t.name: t for t in box.figure.data}
    assert state.done == 5 and "After 5 updates" in box.words.value
    ends = state.plane()[1][:, -1]
    np.testing.assert_allclose(np.array(traces[through_time.ENDS].x), ends[:, 0])
    box.controls["stop"].value = 0.8
    assert "0.80: 4 of 5 steps run" in box.words.value
    drawn = traces[through_time.OTHERS].y
    assert [y for y in drawn if y is not None] == [r.accuracy for r in state.seen[0.4]]
    np.testing.assert_allclose(np.array(traces[through_time.PLAIN].y), state.plain[1])
    box.buttons["run"].click()
    assert state.done == 10 and box.buttons["step"].disabled
    box.buttons["reset"].click()
    assert state.done == 0 and not box.buttons["step"].disabled
