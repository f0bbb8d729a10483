from types import SimpleNamespace

import pytest

from hyperlab.base import ConfigError
from hyperlab.evaluation import timing


def test_the_median_ignores_one_slow_call_and_the_warm_up(monkeypatch):
    clock, naps = [0.0], iter([9.0, 2.0, 9.0, 3.0])
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def nap():
        clock[0] += next(naps)

    assert timing.median_s(nap, repeats=3) == 3


def test_no_repeat_is_refused():
    with pytest.raises(ConfigError, match="at least one repeat, got 0"):
        timing.median_s(lambda: None, repeats=0)


def test_the_machine_and_the_versions_are_named():
    assert timing.machine()["cores"] >= 1 and timing.machine()["cpu"]
    found = timing.versions(["torch", "no-such-package"])
    assert found["torch"][0].isdigit() and found["no-such-package"] == "absent"
