"""The stepper's rules hold without a browser, and its view shows what the state says."""

import asyncio
import re
import subprocess
import sys

import pytest
import torch

from hyperlab import solvers
from hyperlab.apps import bench as benches
from hyperlab.apps import query_picture, stepper
from hyperlab.apps.app import App
from hyperlab.apps.bench import Task
from hyperlab.apps.stepper import Stepper
from hyperlab.base import ConfigError
from hyperlab.hyperflow import adapt, teacher
from hyperlab.hyperflow.teacher import Supports
from hyperlab.tasks import roles
from hyperlab.tasks.domains import Domain
from tests.apps.states import TARGET, bench, noise, stepped
from tests.apps.watched import run_before_a_page
from tests.tiny import tiny_net, tiny_target


@pytest.fixture
def state():
    return stepped()


def test_steps_follow_the_same_path_as_the_method_of_adaptation(state):
    for method in solvers.STEPS:
        state.method, state.steps = method, 3
        for _ in range(3):
            state.step()
        hyperflow = adapt.LearnedFlow(net=state.bench.nets["C"], steps=3, method=method)
        path = hyperflow.path(TARGET, state.task.episode.support)
        torch.testing.assert_close(torch.stack([r.theta for r in state.readings]), path)
        assert [r.t for r in state.readings] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_length_factor_multiplies_the_drift(state):
    state.steps, state.length = 1, 2.0
    state.step()
    once = {"steps": 1, "method": "euler", "length": 2.0}
    hyperflow = adapt.LearnedFlow(net=state.bench.nets["C"], **once)
    path = hyperflow.path(TARGET, state.task.episode.support)
    torch.testing.assert_close(state.readings[-1].theta, path[-1])


def test_a_reading_is_what_the_target_and_the_teacher_measure(state):
    state.step()
    now, task = state.readings[-1], state.task
    assert now.accuracy == pytest.approx(TARGET.accuracy(now.theta, task.episode))
    right = now.guesses == task.episode.query.labels
    assert now.accuracy == pytest.approx(right.float().mean().item())
    supports = Supports.join([task.episode.support])
    loss = teacher.losses(TARGET, now.theta[None], supports, task.views[None])
    assert now.loss == pytest.approx(loss.item(), rel=1e-4)


def test_the_true_run_is_bias_tuning_from_theta0_to_its_end(state):
    tuned = adapt.bias_tuning(steps=4, views=1)(TARGET, state.task.episode.support)
    truth = state.task.truth
    assert [reading.t for reading in truth] == [0, 0.25, 0.5, 0.75, 1]
    assert torch.equal(truth[0].theta, TARGET.theta0)
    torch.testing.assert_close(truth[-1].theta, tuned)
    assert state.task.true_at(0.8) is truth[3]


def test_the_plane_holds_theta0_and_shows_most_of_the_true_run(state):
    plane, truth = state.task.plane, torch.stack([r.theta for r in state.task.truth])
    assert torch.equal(plane.to_plane(TARGET.theta0), torch.zeros(2))
    assert 0.8 < plane.share(truth[-1] - truth[0]) <= 1.0001
    assert plane.variance(truth) > 0.7


def test_an_untrained_network_goes_nowhere_and_changes_no_guess():
    state = Stepper(bench(nets={"untrained": tiny_net(TARGET)}))
    state.step()
    assert torch.equal(state.readings[1].theta, TARGET.theta0)
    assert state.readings[1].accuracy == state.readings[0].accuracy


def test_stepping_goes_on_past_the_end_of_the_flow_and_stops_at_two(state):
    state.steps = 2
    lefts = []
    for _ in range(6):
        lefts.append(state.left)
        state.step()
    assert lefts == [2, 1, 2, 1, 0, 0]
    assert [r.t for r in state.readings] == [0, 0.5, 1, 1.5, 2]


def test_run_takes_the_steps_to_the_next_whole_t(state):
    state.steps = 3
    state.step()
    asyncio.run(state.run())
    assert state.done == 3
    asyncio.run(state.run())
    assert state.done == 6


def test_reset_goes_back_and_keeps_the_path_that_was_there(state):
    state.step()
    state.step()
    path = state.readings
    state.reset()
    kept = (("C, euler, 40 steps", path),)
    assert state.done == 0 and state.before == kept
    state.reset()
    assert state.before == kept


def test_the_last_three_paths_stay_with_the_settings_that_made_them(state):
    for method in ("euler", "heun", "rk4", "chebyshev"):
        state.method = method
        state.step()
    state.reset()
    labels = [f"C, {method}, 40 steps" for method in ("chebyshev", "rk4", "heun")]
    assert [path.label for path in state.before] == labels
    last = state.before[0].readings[-1]
    assert f"{labels[0]}: {last.accuracy:.0%} at t = 0.025" in state.before_words()
    state.forget()
    assert state.before == () and state.before_words() == ""


def test_words_and_pictures_tell_the_chosen_moment(state):
    for _ in range(3):
        state.step()
    assert state.shown == 3
    state.shown = 1
    assert state.now is state.readings[1] and state.previous is state.readings[0]
    assert "1 of 40 euler steps, 1 calls" in state.plane_words()
    state.shown = 50
    assert state.shown == 3
    state.shown = 1
    state.step()
    assert state.shown == 4
    state.reset()
    assert state.shown == 0


def test_a_line_brings_back_task_settings_and_path(state):
    state.open("sand", 2)
    state.method, state.steps = "heun", 5
    for _ in range(4):
        state.step()
    state.shown = 2
    box, ends = App(Stepper(state.bench)), state.readings[-1].theta
    box.go(App(state).line.value)
    other = box.state
    assert other.place == ["sand", 2] and (other.done, other.shown) == (4, 2)
    assert torch.equal(other.readings[-1].theta, ends)


@pytest.mark.parametrize(
    ("name", "value"), [("net", "L"), ("method", "rk4"), ("steps", 5), ("length", 2.0)]
)
def test_every_setting_begins_a_new_path(state, name, value):
    state.step()
    state.set_trait(name, value)
    assert state.done == 0 and len(state.before[0].readings) == 2


def test_a_task_is_known_by_its_domain_and_number(state):
    def images():
        return state.task.episode.query.images

    first = images()
    state.step()
    state.open("sand", 3)
    other = images()
    assert (state.done, state.before) == (0, ())
    state.open("paper", 0)
    assert torch.equal(images(), first)
    state.open("sand", 3)
    assert torch.equal(images(), other) and not torch.equal(other, first)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda s: s.open("snow", 0), r"unknown option 'snow'; have \['paper', 'sand'\]"),
        (lambda s: s.open("paper", -1), "numbered from 0, got -1"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_is_lost(state, act, said):
    state.step()
    with pytest.raises(ConfigError, match=said):
        act(state)
    assert (state.task.domain, state.net, state.done) == ("paper", "C", 1)


def test_a_network_of_another_target_is_refused():
    other = tiny_net(tiny_target(lambda name: name.endswith("norm.weight")))
    with pytest.raises(
        ConfigError,
        match=rf"\['mine'\] do not move the target's {TARGET.subset.n_params} numbers",
    ):
        bench(nets={"mine": other})


def test_the_read_outs_say_what_the_pictures_show(state):
    assert "The plane shows" in state.plane_words() and "cosine" not in state.plane_words()
    state.method = "rk4"
    state.step()
    now = state.readings[-1]
    assert "1 of 40 rk4 steps, 4 calls of network C" in state.plane_words()
    assert f"Query accuracy {now.accuracy:.0%}" in state.accuracy_words()
    assert f"Support loss {now.loss:.3f}" in state.loss_words()
    right = round(now.accuracy * 12)
    assert f"{right} of 12 query images right" in state.query_words()
    assert re.search(r"A is paper \d, B is paper \d, C is paper \d\.$", state.query_words())


def test_domains_that_no_network_was_fitted_to_are_offered(tmp_path):
    offered = benches.unseen(tmp_path, n_classes=5, n_per_class=4)
    assert list(offered)[:4] == ["circuits", "glyphs", "digits", "plants"]
    assert set(offered) == {*list(offered)[:4], "leaves", "hands", "faces"}
    seen = {source.name for source in roles.TRAJECTORIES}
    assert not seen & set(offered)
    assert (offered["faces"]().n_classes, len(offered["faces"]().labels)) == (5, 20)
    assert offered["faces"]() is offered["faces"]()


def test_measuring_needs_no_widgets():
    module = benches.__name__
    code = (
        f"import sys, {module}; assert not {{'ipywidgets', 'plotly'}} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def drawn(box, slot="Jacobian flow", place="plane"):
    return next(t for t in box.figure.data if t.meta == f"{slot} {place}")


def test_a_click_on_a_curve_shows_that_moment_everywhere(state):
    box = App(state)
    for _ in range(3):
        box.buttons["step"].click()
    state.clicked(drawn(box, place="accuracy"), 1)
    assert state.shown == box.controls["shown"].value == 1
    rings = [drawn(box, stepper.SHOWN, place) for place in ("plane", "accuracy", "loss")]
    assert rings[1].x[0] == pytest.approx(1 / 40)
    assert rings[2].y[0] == pytest.approx(state.readings[1].loss)
    assert len(rings[0].x) == 2  # the same t of fine-tuning is ringed, too
    state.clicked(drawn(box, "fine-tuning"), 0)
    assert state.shown == 0
    box.controls["shown"].value = 3
    assert state.shown == 3
    box.controls["shown"].value = 60
    assert state.shown == box.controls["shown"].value == 3  # no further than the path


def test_the_buttons_step_run_and_reset_what_is_drawn(state):
    box = App(state)
    state.steps, state.pace = 3, 15
    assert len(drawn(box).x) == 1
    box.buttons["step"].click()
    assert len(drawn(box).x) == 2
    box.buttons["run"].click()  # no loop runs here, so all of it happens now
    assert [len(drawn(box, place=p).x) for p in ("plane", "accuracy", "loss")] == [4] * 3
    assert drawn(box, place="accuracy").y[-1] == pytest.approx(state.readings[-1].accuracy)
    box.buttons["reset"].click()
    assert drawn(box, "before 1").name == "before: C, euler, 3 steps"
    assert (len(drawn(box).x), len(drawn(box, "before 1").x)) == (1, 4)
    assert len(drawn(box, "fine-tuning").x) == len(state.task.truth)


def test_in_a_run_the_page_gets_what_moves_and_the_figure_learns_it_in_the_end(state):
    state.steps, state.pace = 4, 15
    box = App(state)
    painted = run_before_a_page(box)
    assert [len(points[0][1]) for points in painted] == [2, 3, 4, 5]
    slots = {box.figure.data[number].legendgroup for number, _, _ in painted[-1]}
    assert slots == {"Jacobian flow", stepper.SHOWN}
    for number, x, y in painted[-1]:
        trace = box.figure.data[number]
        assert (list(trace.x), list(trace.y)) == (x, y)


def test_in_a_run_all_is_drawn_where_the_axes_have_to_move(state):
    state.steps, state.pace = 4, 15
    box = App(state)
    assert len(run_before_a_page(box, fits=False)) < 4 == state.done
    state.reset()
    run_before_a_page(box)
    # The first step past t = 1 makes its axis longer.
    assert len(run_before_a_page(box)) == 3
    assert box.figure.layout.xaxis2.range[1] > 2


def test_while_a_task_is_opened_stepping_waits_and_the_last_choice_counts(state):
    box = App(state)

    async def choose():
        box.controls["domain"].value = "sand"
        await asyncio.sleep(0)
        box.controls["number"].value = 4
        await asyncio.sleep(0)
        assert box.buttons["step"].disabled and box.buttons["run"].disabled
        assert "Fine-tuning on task 4 of sand" in box.words.value
        await box.job.task

    asyncio.run(choose())
    assert (
        state.place == ["sand", 4] == [box.controls[n].value for n in ("domain", "number")]
    )
    assert not box.buttons["step"].disabled and "Query accuracy" in box.words.value
    state.open("paper", 5)
    assert (box.controls["domain"].value, box.controls["number"].value) == ("paper", 5)


def test_another_button_gives_the_task_up_that_was_on_its_way(state):
    box = App(state)

    async def choose():
        box.controls["number"].value = 3
        await asyncio.sleep(0)
        box.buttons["pause"].click()
        await asyncio.sleep(0.1)

    asyncio.run(choose())
    assert state.place == ["paper", 0] and box.controls["number"].value == 0
    assert not box.buttons["step"].disabled and "Query accuracy" in box.words.value


def test_a_domain_that_cannot_be_opened_leaves_the_task_as_it_was(state):
    def damaged():
        raise ConfigError("the pack is damaged")

    state.bench.domains["torn"] = damaged
    box = App(state)

    async def choose():
        asyncio.get_running_loop().set_exception_handler(lambda _, c: None)
        box.controls["domain"].value = "torn"
        await asyncio.wait([box.job.task])
        await asyncio.sleep(0)

    asyncio.run(choose())
    assert "Stopped. ConfigError: the pack is damaged" in box.trouble.value
    assert (state.task.domain, box.controls["domain"].value) == ("paper", "paper")
    assert not box.buttons["step"].disabled


def test_at_the_end_there_is_nothing_left_to_press(state):
    box = App(state)
    state.steps = 1
    for _ in range(2):
        box.buttons["step"].click()
    assert box.buttons["step"].disabled and box.buttons["run"].disabled
    assert not box.buttons["reset"].disabled
    assert box.figure.layout.xaxis2.range[1] > 2


def test_all_read_outs_are_below_the_figure(state):
    box = App(state)
    assert "Query accuracy" in box.words.value and "Support loss" in box.words.value
    assert f'aria-label="{state.query_words()}' in box.views["picture"].value


def test_curves_differ_in_dash_and_marker_besides_colour():
    for channel in range(3):
        assert len({look[channel] for look in stepper.LOOKS.values()}) == len(stepper.LOOKS)


def test_the_picture_marks_what_is_right_wrong_and_newly_right(state):
    task = state.task
    labels = task.episode.query.labels
    wrong = benches.Reading(0.0, TARGET.theta0, 0.0, 0.0, (labels + 1) % 3)
    right = benches.Reading(0.1, TARGET.theta0, 1.0, 0.0, labels)
    seen = {}
    for name, readings in {
        "wrong": (wrong,),
        "new": (wrong, right),
        "right": (right,),
    }.items():
        state.readings, state.shown = readings, len(readings) - 1
        told = state.picture()
        frames = [f"solid {c}" for c in (query_picture.WRONG, query_picture.RIGHT)]
        seen[name] = [told.count(sign) for sign in ("✗", "✓", *frames)]
    n = len(labels)
    assert seen == {"wrong": [n, 0, n, 0], "new": [0, n, 0, n], "right": [0, n, 0, 0]}


def test_short_class_names_stand_for_themselves():
    digits = noise("digits")
    short = Domain("digits", digits.images, digits.labels, tuple("012345"))
    task = Task.open(bench(domains={"digits": lambda: short}), "digits", 0)
    assert task.tags == task.episode.classes
