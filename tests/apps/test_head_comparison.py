"""The state behind the comparison of heads, and the wires to its controls."""

import pytest
import torch

from hyperlab.apps import head_comparison
from hyperlab.base import ConfigError
from hyperlab.evaluation import heads as study
from tests.apps.states import compared, head_parts


@pytest.fixture
def state():
    return compared()


def test_the_chosen_heads_have_the_smallest_support_loss(state):
    drawn, _ = state.judged()
    assert drawn.loss.shape == (20,)
    rest = torch.ones(20, dtype=bool)
    rest[state.best(drawn)] = False
    assert drawn.loss[state.best(drawn)].max() <= drawn.loss[rest].min()


def test_the_mean_head_and_the_prototypes_are_the_studys(state):
    _, support, query, _ = head_parts()
    state.task = 1
    wanted = study.cosines(support, query)[1]
    assert state.prototypes() == pytest.approx(float(wanted))
    mean = state.heads().mean(0, keepdim=True)
    _, others = state.judged()
    assert torch.equal(
        others["mean of the drawn heads"].accuracy, state.judge(mean).accuracy
    )


def test_a_support_of_another_task_gives_other_heads(state):
    own = state.heads()
    state.given = "another task's"
    assert (state.heads() - own).norm() > 0
    assert "told another task's support" in state.read_out()


def test_what_is_not_there_is_refused(state):
    made, support, query, _ = head_parts()
    with pytest.raises(ConfigError, match="two or more tasks"):
        head_comparison.HeadState(made, support[:1], query[:1], ["a"])
