import compare_precision
import pytest
import torch

from hyperlab.base import stream
from hyperlab.hyperflow.teacher import TeacherConfig
from tests.tiny import support, tiny_target

TASKS = [support(seed=i) for i in range(2)]
TEACHER = TeacherConfig(steps=2, lr=0.1)


@pytest.mark.parametrize(("bits", "error"), [(10, 2**-11), (7, 2**-8)])
def test_rounding_errs_by_half_of_the_last_bit(bits, error):
    x = torch.randn(10_000, generator=stream(0))
    relative = ((compare_precision.rounded(x, bits) - x) / x).abs()
    assert error / 2 < relative.max() <= error


def test_bf16_is_what_torch_calls_so():
    x = torch.randn(10_000, generator=stream(0))
    assert torch.equal(compare_precision.rounded(x, 7), x.bfloat16().float())


def test_exact_products_change_nothing_and_shorter_numbers_more_and_more():
    target = tiny_target()
    none, some, most = (
        compare_precision.deviations(target, TASKS, TEACHER, bits).max()
        for bits in (23, 10, 7)
    )
    assert none == 0
    assert 0 < some < most


def test_the_target_is_as_before():
    target, images = tiny_target(), TASKS[0].images
    before = target.features(target.theta0, images)
    compare_precision.deviations(target, TASKS, TEACHER, 7)
    assert torch.equal(target.features(target.theta0, images), before)
