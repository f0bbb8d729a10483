"""The state behind the map of networks, its figure, and the wires to its controls."""

import pytest
import torch

from hyperlab.apps import network_map
from hyperlab.apps.app import App
from hyperlab.base import ConfigError
from hyperlab.views import figures
from hyperlab.weights import zoo
from tests.apps.states import COLOURS, MAPPED, NET, NETWORKS, PLACES, PLANES, mapped

N, W = 6, NETWORKS[:6]


@pytest.fixture
def state():
    return mapped()


def test_the_chosen_network_is_evaluated_once_and_the_same_as_in_a_zoo(state, monkeypatch):
    asked, predict = [], network_map.predict
    monkeypatch.setattr(
        network_map, "predict", lambda *args: asked.append(1) or predict(*args)
    )
    for i in (0, 4, 0):
        state.chosen = i
        assert state.accuracy() == float(zoo.accuracies(NET, W[[i]], *MAPPED)[0])
    assert len(asked) == 2


def test_the_mean_over_classes_weighted_by_their_images_is_the_accuracy(state):
    per_class, counts = state.per_class(), MAPPED[1].bincount()
    assert per_class[9].isnan()  # of which there is no image
    mean = (per_class[:9] * counts).sum() / counts.sum()
    assert float(mean) == pytest.approx(state.accuracy())


def test_the_words_say_what_is_known_and_what_was_tried(state):
    state.chosen = 2
    worst = state.per_class()[:9].argmin()
    assert state.read_out() == (
        f"Network 2, seed 2: epoch 2, kind new. Tried now on 40 images, it is right on "
        f"{state.accuracy():.1%}; worst on class {worst} with "
        f"{state.per_class()[worst]:.0%}."
    )


def test_words_make_groups_and_numbers_one_group(state):
    assert state.groups("kind") == {"old": [0, 1, 3], "new": [2, 4], "a < b": [5]}
    assert state.groups("epoch") == {"epoch": [*range(N)]}


def points(figure):
    """The traces of networks that are shown."""
    return [trace for trace in figure.data[:-3] if trace.visible]


def test_every_word_has_a_colour_a_marker_and_an_entry_in_the_legend(state):
    state.colour = "kind"
    shown = points(state.drawn())
    assert [trace.name for trace in shown] == ["old", "new", "a < b"]
    assert all(trace.showlegend for trace in shown)
    for look in ("color", "symbol"):
        assert len({trace.marker[look] for trace in shown}) == 3
    assert shown[2].text[0] == "<b>5: seed 5</b><br>epoch: 5<br>kind: a &lt; b"


def test_forty_nine_words_look_different():
    words = [f"kind {i}" for i in range(49)]
    state = network_map.MapState(
        NET,
        W[:1].expand(49, -1),
        MAPPED,
        {"PCA": (torch.zeros(49, 2), ("x", "y"))},
        {"kind": words},
        words,
    )
    looks = [trace.marker for trace in points(state.drawn())]
    assert len({(look.color, look.symbol) for look in looks}) == 49
    assert {look.color for look in looks} == set(figures.OKABE_ITO)


def test_numbers_have_a_colour_bar_and_no_entry_in_the_legend(state):
    (shown,) = points(state.drawn())
    assert shown.marker.color.tolist() == list(range(N))
    assert shown.marker.colorbar.title.text == "epoch" and not shown.showlegend


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_network_stands_at_its_place_and_the_chosen_one_is_ringed(
    state, plane, colour
):
    state.plane, state.colour, state.chosen = plane, colour, 3
    figure = state.drawn()
    where, titles = PLANES[plane]
    found = {
        i: (x, y)
        for trace in points(figure)
        for i, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    assert found == {i: tuple(place) for i, place in enumerate(where.tolist())}
    axes = figure.layout.xaxis.title.text, figure.layout.yaxis.title.text
    assert axes == titles
    ring, picture, bars = figure.data[-3:]
    assert (*ring.x, *ring.y) == found[3]
    assert picture.z.tolist() == state.filters().tolist()
    torch.testing.assert_close(torch.tensor(bars.y), state.per_class(), equal_nan=True)


def click(view, trace, point):
    """What the browser sends when a point is clicked."""
    points = {"trace_indexes": [trace], "point_indexes": [point], "xs": [0], "ys": [0]}
    view._js2py_pointsCallback = {
        "event_type": "plotly_click",
        "points": points,
        "device_state": None,
        "selector": None,
    }


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_click_chooses_the_network_that_was_clicked(state):
    view, words = (box := App(state)).figure, box.words
    state.colour = "kind"
    for number, trace in enumerate(view.data[:-3]):
        if not trace.visible:
            continue
        for place, i in enumerate(trace.customdata):
            click(view, number, place)
            assert state.chosen == i and f"Network {i}, seed {i}" in words.value
            assert (*view.data[-3].x, *view.data[-3].y) == tuple(PLACES[0, i].tolist())
            assert view.data[-2].z.tolist() == state.filters().tolist()


@pytest.mark.usefixtures("unchecked_shapes")
def test_where_there_is_one_plane_and_one_colour_nothing_is_to_be_chosen():
    state = mapped(planes={"PCA": PLANES["PCA"]}, colours={"epoch": range(N)})
    assert list(state.rows) == [["chosen", "or click a point"]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"w": W[:0]}, "one or more networks, planes and colours, got 0, 2 and 2"),
        ({"planes": {}}, "got 6, 0 and 2"),
        ({"w": W[:, :99]}, "2464 weights, got rows of 99"),
        (
            {"planes": {"PCA": (PLACES[0, :5], ("x", "y"))}},
            r"plane 'PCA': want 6 x 2 places, got \(5, 2\)",
        ),
        (
            {"colours": {"epoch": [1, 2]}},
            "colour 'epoch': want one for each of 6 networks, got 2",
        ),
        ({"names": ["a"]}, "names: want one for each of 6 networks, got 1"),
        ({"colours": {"kind": ["a", 1, 2, 3, 4, 5]}}, "all numbers or all words"),
    ],
)
def test_what_does_not_fit_is_named(changed, said):
    with pytest.raises(ConfigError, match=said):
        mapped(**changed)
