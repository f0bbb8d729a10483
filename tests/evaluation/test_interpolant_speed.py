import bench_interpolants
import torch

from hyperlab.base import stream


def test_every_library_gives_the_same_answers_and_a_time():
    thetas = torch.randn(18, 6, 5, generator=stream(0)).cumsum(1)
    rows = bench_interpolants.compare(
        thetas, torch.rand(18, generator=stream(1)), repeats=1
    )
    assert {"hyperlab", "scipy"} <= set(rows)
    for row in rows.values():
        assert row["difference"] < 1e-5
        assert row["from_records_s"] > 0 and row["prepared_s"] > 0
    assert rows["hyperlab"]["from_records_ratio"] == 1
