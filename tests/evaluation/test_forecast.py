import plan_collection
import pytest
from bench_collection import VIT_S


def row(backbone="vit_micro", size=32, steps=20, seconds=10.0):
    facts = {"backbone": backbone, "image_size": size, "kind": "5-way 5-shot", "tasks": 5}
    return facts | {"steps": steps, "ways": {"loop": {}, "ours": {"seconds": seconds}}}


def test_as_many_steps_as_measured_take_as_long_as_measured():
    assert plan_collection.forecast("x", row()).cpu_s == pytest.approx(2.0)


def test_more_steps_take_longer_but_for_the_last_loss():
    assert 4.0 > plan_collection.forecast("x", row(steps=10)).cpu_s > 3.7


def test_a_trajectory_takes_its_knots_and_its_context():
    knots = 21 * 1_728 * 4
    context = 25 * (14 * 96 + 96) * 2
    assert plan_collection.forecast("x", row()).n_bytes == knots + context


def test_the_table_has_a_row_for_every_plan():
    machine = {"cores": 2, "cpu": "a processor"}
    plans = {"small": row(), "large": row(VIT_S, 128, steps=2, seconds=60)}
    text = plan_collection.markdown(
        {"machine": machine, "recording": plans}, "python plan.py"
    )
    assert "| small, 20 steps | 33 min / " in text
    assert "| large, 50 steps | " in text and "40,000" in text
