"""The state behind the comparison of heads, and the wires to its controls."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.study import heads as study
from hyperlab.views.apps import head_comparison
from hyperlab.weights import head_generators, heads
from hyperlab.weights.flow import FlowConfig

BASE = heads.BaseConfig(steps=20)


def tasks(n, k, seed=0):
    centres = torch.randn(n, 5, 1, 4, generator=stream(0, "centres", n))
    return centres + 0.6 * torch.randn(n, 5, k, 4, generator=stream(seed, "images"))


@pytest.fixture(scope="module")
def parts():
    """A generator fitted to a few tasks of noise."""
    support, many = tasks(30, 2), tasks(30, 12, seed=1)
    whiten = heads.Whitening.fit(many)
    told, start = heads.tell(whiten(support), BASE)
    found = heads.HeadSet(told, start, heads.fit_heads(whiten(many)))
    flow = FlowConfig(prior="normal", width=16, depth=1, steps=40)
    config = head_generators.GeneratorConfig(latent=3, flow=flow)
    made = head_generators.fit_generator(
        found, whiten, BASE, config, generator=stream(0, "made")
    )
    return made, support[:3], many[:3], ["a", "b", "c"]


@pytest.fixture
def state(parts):
    return head_comparison.HeadState(*parts)


def test_the_chosen_heads_have_the_smallest_support_loss(state):
    drawn, _ = state.found()
    assert drawn.loss.shape == (20,)
    rest = torch.ones(20, dtype=bool)
    rest[state.best(drawn)] = False
    assert drawn.loss[state.best(drawn)].max() <= drawn.loss[rest].min()


def test_the_mean_head_and_the_prototypes_are_the_studys(state, parts):
    _, support, query, _ = parts
    state.task = 1
    wanted = study.cosines(support, query)[1]
    assert state.prototypes() == pytest.approx(float(wanted))
    mean = state.heads().mean(0, keepdim=True)
    _, others = state.found()
    assert torch.equal(
        others["mean of the drawn heads"].accuracy, state.judge(mean).accuracy
    )


def test_a_support_of_another_task_gives_other_heads(state):
    own = state.heads()
    state.told = "another task's"
    assert (state.heads() - own).norm() > 0
    assert "told another task's support" in state.read_out()


def test_the_controls_move_the_state_and_the_picture(state):
    view = head_comparison.head_comparison(state)
    figure, words = view.views
    traces = {trace.name: trace for trace in figure.data}
    state.n, state.top = 7, 2
    assert len(traces["drawn heads"].x) == 7
    assert len(traces["chosen by the support"].x) == 2
    assert "7 heads" in words.value and "2 chosen" in words.value
    view.rows[0].children[0].value = 2
    assert state.task == 2 and "Task 2 (c)" in words.value


def test_what_is_not_there_is_refused(state, parts):
    with pytest.raises(ConfigError, match="tasks 0 to 2"):
        state.task = 3
    with pytest.raises(ConfigError, match="two or more tasks"):
        head_comparison.HeadState(parts[0], parts[1][:1], parts[2][:1], ["a"])
