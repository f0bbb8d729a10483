"""The rules of fine-tuning through time hold without a browser, and the view shows the state."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.study import through
from hyperlab.views.apps import through_time
from hyperlab.views.apps.through_time import ThroughState
from hyperlab.weights import encoders, flow, generate, recipes, zoo
from hyperlab.weights.generate import ThroughConfig

NET = cnn.cnn_small()
W = torch.stack([recipes.untrained(NET, "kaiming_uniform", stream(i)) for i in range(8)])
DATA = recipes.Images(
    torch.randn(30, 1, 28, 28, generator=stream(1)), torch.arange(30) % 10
)
PCA = encoders.PCA(W, 4)
CODES = PCA.encode(W)
QUICK = flow.FlowConfig(width=16, depth=1, steps=20, batch=8)
MAKER = generate.Maker(flow.fit_flow(CODES, QUICK, generator=stream(2)), PCA, NET)
CONFIG = ThroughConfig(steps=5, networks=2, batch=10, lr=1e-2)
COSTS = through.costs(MAKER, DATA, CONFIG, (0.0, 0.4, 0.8))


@pytest.fixture(autouse=True)
def few_updates(monkeypatch):
    monkeypatch.setattr(through_time, "MOST", 10)


@pytest.fixture
def state():
    return ThroughState(MAKER, CODES, (DATA, DATA), CONFIG, COSTS)


def test_a_later_stop_keeps_less_memory_and_a_shorter_gradient():
    for name in ("saved_bytes", "flops", "norm"):
        first, second, third = (row[name] for row in COSTS)
        assert first > second > third > 0


def test_steps_are_updates_of_the_package(state):
    state.step()
    assert state.done == through_time.EACH == 5
    config = replace(CONFIG, updates=5, detach=0.4)
    tuned = generate.finetune_through(
        MAKER, DATA, config, generator=stream(0, "through time")
    )
    for a, b in zip(
        tuned.flow.parameters(), state.tuning.maker.flow.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    ends = PCA.decode(state.path()[-1])
    wanted = float(zoo.accuracies(NET, ends, *DATA).mean())
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
    torch.testing.assert_close(
        state.path(),
        MAKER.flow.path(12, generator=stream(1, "through time"), steps=5),
    )


def test_a_run_goes_to_the_last_update_and_then_from_the_start(state):
    asyncio.run(state.run())
    assert [r.updates for r in state.seen[0.4]] == [0, 5, 10]
    state.step()
    assert state.done == 10
    first = state.seen[0.4]
    asyncio.run(state.run())
    assert state.seen[0.4] == first


def test_a_run_ends_when_the_stop_is_changed(state):
    async def interrupted():
        run = asyncio.create_task(state.run())
        await asyncio.sleep(0)
        state.stop = 0.0
        await run

    asyncio.run(interrupted())
    assert (state.done, len(state.seen[0.0])) == (0, 1)


def test_the_words_say_steps_memory_and_accuracy(state):
    state.step()
    words, last = state.read_out(), state.seen[0.4][-1]
    assert words.startswith("t' = 0.40: 2 of 5 steps run without gradient")
    assert f"{last.accuracy:.1%}" in words and f"{last.differ:.1%}" in words
    share = COSTS[1]["norm"] / COSTS[0]["norm"]
    assert f"{share:.0%} of the length" in words


def test_what_does_not_fit_is_named(state):
    with pytest.raises(ConfigError, match=r"no t' 0.5; have \[0.0, 0.4, 0.8\]"):
        state.stop = 0.5
    with pytest.raises(ConfigError, match="got 0 and"):
        ThroughState(MAKER, CODES, (DATA, DATA), CONFIG, [])


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_view_shows_what_the_state_says(state):
    plain = (torch.tensor([0.0, 10.0]), torch.tensor([0.1, 0.2]))
    view = through_time.through_time(state, plain)
    view.buttons["Step"].click()
    assert state.done == 5 and view.words.value == state.read_out()
    traces = {t.name: t for t in view.figure.data}
    ends = state.plane()[1][:, -1]
    np.testing.assert_allclose(np.array(traces[through_time.ENDS].x), ends[:, 0])
    view.slider.value = 0.8
    assert state.stop == 0.8 and view.words.value.startswith("t' = 0.80")
    drawn = traces[through_time.OTHERS].y
    assert [y for y in drawn if y is not None] == [r.accuracy for r in state.seen[0.4]]
    np.testing.assert_allclose(np.array(traces[through_time.PLAIN].y), plain[1])
    view.buttons["Run"].click()
    assert state.done == 10 and view.buttons["Step"].disabled
    view.buttons["Reset"].click()
    assert state.done == 0 and not view.buttons["Step"].disabled
