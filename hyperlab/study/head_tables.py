"""The tables of few-shot heads, and of every adapter in one frame."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..base import Progress, silent
from ..models.targets import Target
from ..tasks import roles
from ..tasks.episodes import LabelledImages
from ..weights.head_generators import HeadGenerator
from . import heads, methods
from .experiments import EvalConfig, evaluate, summarise, wide
from .heads import FLOW, LINEAR, PROTOCOLS, REGRESSION, ROLES, HeadsConfig
from .tables import table, with_interval, written

Row = dict[str, object]
FIRST = (methods.TEACHER, *heads.FLOWS)  # adapters that meet every task
# Of each generator, the row that stands for it among the adapters.
STANDS = {name: f"{name}, mean head" for name in (FLOW, heads.DIFFUSION)} | {LINEAR: LINEAR}
FIGURES = ("n", "unit", "n_units") + tuple(
    f"{name}{end}" for name in ("accuracy", "gain") for end in ("", "_sd", "_pm")
)
NOTE = (
    "Accuracies in %, paired tasks, ± half a 95 % interval over the means of the domains "
    "(Student's t); generators averaged over their seeds before. In domain: new tasks of the "
    "domains that gave base tasks (families with new classes, packs with the same images). "
    "Unseen: domains of the held-out role. `all samples`: each head by itself; `chosen`: smallest "
    "support loss; `mean head`: the ensemble; `chosen by queries`: the paper's optimistic number, "
    "which looks at the answers; `wrong support`: the support's own head, corrected as another "
    "domain's task asks."
)


def study(
    target: Target,
    config: HeadsConfig,
    *,
    seed: int = 0,
    root: Path | str | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, object]:
    """Fit every generator, then meet the tasks of both roles; `folder` keeps adapters' rows."""
    found, learned, made, seconds = _fitted(target, config, seed, root, progress)
    rows, means, spread, tables = [], [], [], {}
    for place, role in ROLES.items():
        asked = [_ask(config, role, p, seed, root) for p in PROTOCOLS]
        for ask, met in zip(asked, heads.meet(asked, root=root), strict=True):
            said, by_seed = heads.head_rows(heads.see(target, met), learned, made, config)
            how = {"folder": folder, "root": root, "progress": progress}
            theirs = evaluate(target, heads.adapters(FIRST), ask, **how)
            table = pd.concat([heads.table(role, met, said), theirs], ignore_index=True)
            tables[place, ask.protocol] = table
            rows += _summary(table, place, ask.protocol)
            means += _domains(table, place, ask.protocol)
            told = {"place": place, "protocol": ask.protocol}
            spread += [told | {"method": m, "seeds": s} for m, s in by_seed.items()]
    priced = _priced(target, config, met[0].episode.support, made, seconds)
    tuned = _tuned(target, config, tables, seed=seed, root=root, folder=folder)
    last = [(tuned[place], place, PROTOCOLS[-1]) for place in tuned]
    return {
        "base_tasks": len(learned[1].heads),
        "base_domains": list(found),
        "seconds": seconds,
        "heads": rows,
        "domains": means,
        "seeds": spread,
        "adapters": _framed([row for found in last for row in _summary(*found)], priced),
        "adapter_domains": [row for found in last for row in _domains(*found)],
    }


def _priced(
    target: Target,
    config: HeadsConfig,
    support: LabelledImages,
    made: Mapping[tuple[str, int], HeadGenerator],
    seconds: Mapping[str, float],
) -> list[Row]:
    """What a task costs every method, and what fitting each generator cost beforehand."""
    first = {name: made[name, config.seeds[0]] for name, _ in made}
    before = seconds["features"] + seconds["base heads"]
    offline = {name: before + seconds[name] for name in first}
    return heads.costs(target, support, first, config, offline_s=offline)


def _fitted(
    target: Target,
    config: HeadsConfig,
    seed: int,
    root: Path | str | None,
    progress: Progress,
) -> tuple[dict, tuple, dict, dict[str, float]]:
    """Features of base domains, heads of base tasks, generators, and the seconds of each."""
    begun = time.perf_counter()
    found = heads.banks(target, config, seed=seed, root=root, progress=progress)
    clock = {"features": time.perf_counter() - begun}
    learned = heads.base_heads(found, config.base, seed=seed)
    clock["base heads"] = time.perf_counter() - begun - clock["features"]
    made, seconds = heads.fit_all(learned, config, progress)
    return found, learned, made, clock | seconds


def _ask(
    config: HeadsConfig, role: str, protocol: str, seed: int, root: Path | str | None
) -> EvalConfig:
    """The tasks of a role under a protocol."""
    have = {s.name for s in roles.present(role, root=root)}
    only = tuple(name for name in config.only if name in have)
    return EvalConfig(
        role=role, protocol=protocol, n_tasks=config.n_tasks, seed=seed, only=only
    )


def _summary(table: pd.DataFrame, place: str, protocol: str) -> list[Row]:
    """Over all domains: accuracy, gain over no adaptation, and over logistic regression."""
    found, more = summarise(table), summarise(table, baseline=REGRESSION)
    for end in ("", "_sd", "_pm"):
        found[f"over_regression{end}"] = more[f"gain{end}"]
    found = found.assign(place=place, protocol=protocol)
    return found[found.domain == "all"].to_dict("records")


def _domains(table: pd.DataFrame, place: str, protocol: str) -> list[Row]:
    """The mean accuracy of every method on every domain: what the intervals are made of."""
    found = wide(table).groupby(level="domain", sort=False)
    told = {"place": place, "protocol": protocol}
    return [
        told | {"domain": domain, "n": len(part)} | part.mean().round(5).to_dict()
        for domain, part in found
    ]


def _tuned(
    target: Target,
    config: HeadsConfig,
    tables: Mapping[tuple[str, str], pd.DataFrame],
    *,
    seed: int,
    root: Path | str | None,
    folder: Path | str | None,
) -> dict[str, pd.DataFrame]:
    """Every adapter on the first tasks of every domain of each place, 5-way 5-shot."""
    found, protocol = {}, PROTOCOLS[-1]
    for place, role in ROLES.items():
        ask = replace(_ask(config, role, protocol, seed, root), n_tasks=config.n_tuned)
        whole = evaluate(target, heads.adapters(), ask, folder=folder, root=root)
        others = tables[place, protocol]
        others = others[(others.task < config.n_tuned) & ~others.method.isin(whole.method)]
        found[place] = pd.concat([others, whole])
    return found


def _framed(rows: Sequence[Row], priced: Sequence[Row]) -> list[Row]:
    """A row of each adapter: accuracy in domain and unseen, and what it costs."""
    found = {(row["place"], row["method"]): row for row in rows}
    framed = []
    for price in priced:
        name, row = STANDS.get(price["method"], price["method"]), dict(price)
        for place in ROLES if ("unseen", name) in found else ():
            said = found[place, name]
            for key in FIGURES:
                row[f"{place}: {key}"] = said[key]
        framed.append(row | {"method": name})
    return [row for row in framed if "unseen: n" in row]


def read(path: Path | str, part: str) -> pd.DataFrame:
    """The rows of a written table.

    Raises:
        DataMissingError: there is no such table.
    """
    return pd.DataFrame(written(path, "compare_heads.py")[part])


def heads_markdown(found: Mapping[str, object]) -> str:
    """A row of each method, a column of each place and protocol."""
    told = pd.DataFrame(found["heads"])
    columns = [(place, protocol) for place in ROLES for protocol in PROTOCOLS]
    first = told.drop_duplicates(["place", "protocol"]).set_index(["place", "protocol"])
    n = {pair: _counted(first.loc[pair].to_dict()) for pair in columns}
    lines, body = [f"`{found['command']}`", "", NOTE, ""], []
    for method, rows in told.groupby("method", sort=False):
        cells = [method]
        for place, protocol in columns:
            row = rows[(rows.place == place) & (rows.protocol == protocol)].iloc[0]
            more = with_interval(row.over_regression, row.over_regression_pm, sign="+")
            cells.append(f"{with_interval(row.accuracy, row.accuracy_pm)} ({more})")
        body.append(cells)
    lines += table(["method", *(f"{a}, {b}, {n[a, b]}" for a, b in columns)], body)
    lines += [
        "",
        "In brackets: the paired difference to logistic regression, in points.",
        "",
    ]
    seeds = [
        [method, *(", ".join(f"{100 * a:.1f}" for a in row) for row in rows.seeds)]
        for method, rows in pd.DataFrame(found["seeds"]).groupby("method", sort=False)
    ]
    head = "generator, mean of all tasks of each seed"
    lines += table([head, *(f"{a}, {b}" for a, b in columns)], seeds)
    return "\n".join(lines) + "\n"


def _counted(row: Mapping[str, object]) -> str:
    """What stands behind a row: "144 tasks of 12 domains"."""
    return f"{row['n']} tasks" + f" of {row['n_units']} domains" * (
        row["unit"] == "domains"
    )


def adapters_markdown(found: Mapping[str, object]) -> str:
    """A row of each adapter."""
    rows = found["adapters"]
    counts = [_counted({k: rows[0][f"{p}: {k}"] for k in FIGURES}) for p in ROLES]
    lines = [f"`{found['command']}`", "", (
        f"5-way 5-shot, the same tasks for all: {counts[0]} in domain, {counts[1]} unseen; "
        "accuracy in % ± half a 95 % interval over the means of the domains (Student's t), in "
        "brackets the paired gain over no adaptation. FLOPs (2 per multiply-add, scikit-learn's "
        "not counted) and seconds (median of 3, one thread) of one adaptation to 25 images. "
        "Offline: minutes before the first task, without the backbone's pre-training; HyperFlow's "
        "as in the README. Seconds and the generators' minutes are those of "
        f"{found.get('timed', 'this run')}."), ""]  # fmt: skip
    body = []
    for row in rows:
        cells = [row["method"]]
        for place in ROLES:
            mean, pm, gain, gain_pm = (
                row[f"{place}: {key}"]
                for key in ("accuracy", "accuracy_pm", "gain", "gain_pm")
            )
            more = with_interval(gain, gain_pm, sign="+")
            cells.append(f"{with_interval(mean, pm)} ({more})")
        cells += [f"{row['flops']:.2e}", f"{row['seconds']:.3f}"]
        body.append([*cells, f"{row['offline_minutes']:.1f}"])
    heads = ("method", "in domain", "unseen", "FLOPs", "seconds", "offline minutes")
    return "\n".join([*lines, *table(heads, body)]) + "\n"


MARKDOWN = {"heads": heads_markdown, "adapters": adapters_markdown}
