"""One interval for the whole repository, and tables that say what their figures hold."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import print_tables
import pytest
import torch
from scipy import stats

from hyperlab.base import stream
from hyperlab.evaluation import claims, experiments, tables

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
WRITTEN = {
    out: text
    for path in RESULTS.glob("*.json")
    for out, text in print_tables.texts(path).items()
}
BY_HAND = {"README.md", "CORRECTIONS.md", "domains.md"}  # the last by write_cards.py


def rows_in(found):
    """Every mapping with a unit, however deep."""
    parts = found.values() if isinstance(found, dict) else found
    if isinstance(found, dict) and "unit" in found:
        yield found
    for part in parts:
        if isinstance(part, dict | list):
            yield from rows_in(part)


UNITS = {
    path.stem: found
    for path in sorted(RESULTS.glob("*.json"))
    if (found := list(rows_in(json.loads(path.read_text(encoding="utf-8")))))
}


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 4.0], [0.1, 0.5, 0.2, 0.9], [0.1 * k for k in range(50)]]
)
def test_the_interval_is_scipys_students_t(values):
    low, high = stats.t.interval(0.95, len(values) - 1, loc=0, scale=stats.sem(values))
    assert tables.interval(values) == pytest.approx((high - low) / 2)
    assert type(tables.interval(values)) is float  # torch.tensor keeps to its own precision
    assert tables.interval(torch.tensor(values)) == pytest.approx((high - low) / 2)


def test_of_three_values_the_interval_is_more_than_twice_the_normal_one():
    assert tables.half_width(1.0, 3) == pytest.approx(2.484, abs=1e-3)
    assert tables.half_width(1.0, 3) / (1.96 / 3**0.5) == pytest.approx(2.195, abs=1e-3)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_below_three_units_there_is_no_interval_and_a_dash_is_printed(n):
    half = tables.interval([0.5] * n)
    assert math.isnan(half)
    assert tables.with_interval(0.5, half) == "50.0 ± –"


@pytest.mark.parametrize("n", [3, 5])
def test_ninety_five_of_a_hundred_intervals_hold_the_mean(n):
    draws = torch.randn(4000, n, generator=stream(0, "coverage"), dtype=torch.float64)
    halves = tables.half_width(draws.std(1), n)
    assert float((draws.mean(1).abs() <= halves).double().mean()) == pytest.approx(
        0.95, abs=0.01
    )


def table_of(gains):
    """Accuracy 0.5 without adaptation; domain -> gains of its tasks with "x"."""
    rows = [
        {"domain": d, "task": i, "method": m, "accuracy": 0.5 + g * (m == "x")}
        for d, some in gains.items()
        for i, g in enumerate(some)
        for m in ("no adaptation", "x")
    ]
    return pd.DataFrame(rows)


def test_a_row_about_domains_has_the_domains_for_its_sample():
    gains = {"a": [0.0, 0.02], "b": [0.03, 0.05] * 9, "c": [0.1, 0.1, 0.1]}
    summary = experiments.summarise(table_of(gains)).set_index(["domain", "method"])
    row = summary.loc["all", "x"]
    assert (row.unit, row.n_units, row.n) == ("domains", 3, 23)
    assert row.gain == pytest.approx(
        0.05
    )  # domains weigh alike, however many tasks they have
    assert row.gain_pm == pytest.approx(
        stats.t.ppf(0.975, 2) * stats.sem([0.01, 0.04, 0.1])
    )
    assert experiments.compare(table_of(gains), "x", "no adaptation") == pytest.approx(
        (row.gain, row.gain_pm)
    )
    assert (summary.loc["c", "x"].unit, summary.loc["c", "x"].n_units) == ("tasks", 3)
    assert math.isnan(summary.loc["a", "x"].gain_pm)


def test_two_domains_have_no_interval_and_one_has_that_of_its_tasks():
    two = experiments.summarise(table_of({"a": [0.1, 0.2, 0.3], "b": [0.1, 0.2, 0.3]}))
    assert two[two.domain == "all"].gain_pm.isna().all()
    one = experiments.summarise(table_of({"a": [0.1, 0.2, 0.3]})).set_index("domain")
    assert set(one.loc["all"].unit) == {"tasks"}
    assert one.loc["all"].gain_pm.tolist() == one.loc["a"].gain_pm.tolist()


def test_a_fractions_bootstrap_holds_the_known_one_of_nine_domains():
    _, facts = claims.read(RESULTS / "held_out")
    part, low, high = facts["recovery"]["Jacobian flow C"]
    assert part == pytest.approx(0.794, abs=0.001)
    assert (low, high) == (pytest.approx(0.62, abs=0.02), pytest.approx(0.90, abs=0.01))


@pytest.mark.parametrize(
    ("stem", "pair", "mean", "half"),
    [
        ("held_out", "Jacobian flow C - nearest domain's mean", 2.1, 1.7),
        ("held_out", "Jacobian flow C - mean displacement", 2.5, 1.5),
        ("held_out_5way_5shot", "Jacobian flow C - nearest domain's mean", 1.5, 1.9),
        ("held_out_5way_5shot", "Jacobian flow C - Jacobian flow L", 0.76, 0.83),
    ],
)
def test_a_committed_difference_is_that_of_the_domains_mean_gains(stem, pair, mean, half):
    summary, facts = claims.read(RESULTS / stem)
    one, other = pair.split(" - ")
    gains = summary[summary.domain != "all"].pivot(
        index="domain", columns="method", values="gain"
    )
    difference = gains[one] - gains[other]
    found = facts["paired"][pair]
    assert found == pytest.approx(
        [difference.mean(), tables.interval(difference)], abs=3e-5
    )
    assert [100 * x for x in found] == pytest.approx([mean, half], abs=0.05)


@pytest.mark.parametrize("stem", UNITS)
def test_a_committed_interval_is_made_of_the_deviation_and_the_units_beside_it(stem):
    for row in UNITS[stem]:
        for name in [key for key in row if key.endswith("_sd")]:
            half, n = row[name.replace("_sd", "_pm")], row["n_units"]
            right = tables.half_width(row[name] or 0.0, n)
            assert tables.number(half) == pytest.approx(
                right, rel=2e-3, abs=1.1e-5, nan_ok=True
            )


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_committed_table_is_what_its_figures_print(path):
    assert path.read_text(encoding="utf-8") == WRITTEN[path]


def test_every_committed_table_is_printed_from_figures():
    there = {p for p in RESULTS.glob("*") if p.suffix in (".md", ".html")}
    assert {p.name for p in there - WRITTEN.keys()} == BY_HAND


def test_no_other_place_makes_an_interval_of_its_own():
    """1.96 stands in no code but as a thing to be warned of; by hand only scipy's t may."""
    files = [
        p for folder in ("hyperlab", "data_scripts") for p in (ROOT / folder).rglob("*.py")
    ]
    files += (ROOT / "notebooks").glob("*.ipynb")
    factor = re.compile(r"(?<![\d.])(1\.96|196)\s*[*\\]|\*\s*(1\.96|196)(?!\d)")
    found = [p.name for p in files if factor.search(p.read_text(encoding="utf-8"))]
    assert found == []
