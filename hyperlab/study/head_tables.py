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
from .experiments import EvalConfig, compare, evaluate, summarise
from .heads import FLOWN, LINEAR, PROTOCOLS, REGRESSION, ROLES, HeadsConfig
from .tables import table, written

Row = dict[str, object]
FIRST = (methods.TEACHER, *heads.FLOWS)  # adapters that meet every task
# Of each generator, the row that stands for it among the adapters.
STANDS = {name: f"{name}, mean head" for name in (FLOWN, heads.DIFFUSION)} | {
    LINEAR: LINEAR
}
NOTE = (
    "Accuracies in %, paired tasks, ± half a 95 % interval over tasks; generators averaged over "
    "their seeds before. In domain: new tasks of the domains that gave base tasks (families with "
    "new classes, packs with the same images). Unseen: domains of the held-out role. `all "
    "samples`: each head by itself; `chosen`: smallest support loss; `mean head`: the ensemble; "
    "`chosen by queries`: the paper's optimistic number, which looks at the answers; `wrong "
    "support`: the support's own head, corrected as another domain's task asks."
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
    """Fit every generator, then meet the tasks of both roles with every method.

    Args:
        folder: keeps the rows of the adapters, see `experiments.evaluate`.
    """
    found, learned, made, seconds = _fitted(target, config, seed, root, progress)
    rows, spread, tables = [], [], {}
    for place, role in ROLES.items():
        asked = [_ask(config, role, p, seed, root) for p in PROTOCOLS]
        for ask, met in zip(asked, heads.meet(asked, root=root), strict=True):
            said, by_seed = heads.head_rows(heads.see(target, met), learned, made, config)
            how = {"folder": folder, "root": root, "progress": progress}
            theirs = evaluate(target, heads.adapters(FIRST), ask, **how)
            table = pd.concat([heads.table(role, met, said), theirs], ignore_index=True)
            tables[place, ask.protocol] = table
            rows += _summary(table, place, ask.protocol)
            told = {"place": place, "protocol": ask.protocol}
            spread += [
                {**told, "method": m, "seeds": found} for m, found in by_seed.items()
            ]
    priced = _priced(target, config, met[0].episode.support, made, seconds)
    tuned = _tuned(target, config, tables, seed=seed, root=root, folder=folder)
    return {
        "base_tasks": len(learned[1].heads),
        "base_domains": list(found),
        "seconds": seconds,
        "heads": rows,
        "seeds": spread,
        "adapters": _framed(tuned, priced),
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
    found = summarise(table)
    rows = []
    for row in found[found.domain == "all"].to_dict("records"):
        more, pm = compare(table, row["method"], REGRESSION)
        row |= {"place": place, "protocol": protocol}
        rows.append(row | {"over_regression": more, "over_regression_pm": pm})
    return rows


def _tuned(
    target: Target,
    config: HeadsConfig,
    tables: Mapping[tuple[str, str], pd.DataFrame],
    *,
    seed: int,
    root: Path | str | None,
    folder: Path | str | None,
) -> list[Row]:
    """Every adapter on the first tasks of every domain, 5-way 5-shot."""
    rows, protocol = [], PROTOCOLS[-1]
    for place, role in ROLES.items():
        ask = replace(_ask(config, role, protocol, seed, root), n_tasks=config.n_tuned)
        whole = evaluate(target, heads.adapters(), ask, folder=folder, root=root)
        others = tables[place, protocol]
        others = others[(others.task < config.n_tuned) & ~others.method.isin(whole.method)]
        rows += _summary(pd.concat([others, whole]), place, protocol)
    return rows


def _framed(rows: Sequence[Row], priced: Sequence[Row]) -> list[Row]:
    """A row of each adapter: accuracy in domain and unseen, and what it costs."""
    found = {(row["place"], row["method"]): row for row in rows}
    framed = []
    for price in priced:
        name, row = STANDS.get(price["method"], price["method"]), dict(price)
        for place in ROLES if ("unseen", name) in found else ():
            said = found[place, name]
            for key in ("n", "accuracy", "accuracy_pm", "gain", "gain_pm"):
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
    n = {
        pair: int(told[(told.place == pair[0]) & (told.protocol == pair[1])].n.iloc[0])
        for pair in columns
    }
    lines, body = [f"`{found['command']}`", "", NOTE, ""], []
    for method, rows in told.groupby("method", sort=False):
        cells = [method]
        for place, protocol in columns:
            row = rows[(rows.place == place) & (rows.protocol == protocol)].iloc[0]
            cells.append(
                f"{100 * row.accuracy:.1f} ± {100 * row.accuracy_pm:.1f} "
                f"({_signed(row.over_regression)} ± {100 * row.over_regression_pm:.1f})"
            )
        body.append(cells)
    lines += table(["method", *(f"{a}, {b}, n = {n[a, b]}" for a, b in columns)], body)
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


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"


def adapters_markdown(found: Mapping[str, object]) -> str:
    """A row of each adapter."""
    rows = found["adapters"]
    lines = [f"`{found['command']}`", "", (
        f"5-way 5-shot, the same tasks for all: {rows[0]['in domain: n']} in domain, "
        f"{rows[0]['unseen: n']} unseen; accuracy in % ± half a 95 % interval, in brackets the "
        "paired gain over no adaptation. FLOPs (2 per multiply-add, scikit-learn's not counted) "
        "and seconds (median of 3, one thread) of one adaptation to 25 images. Offline: minutes "
        "before the first task, without the backbone's pre-training; HyperFlow's as in the "
        "README, the generators' in this run."), ""]  # fmt: skip
    body = []
    for row in rows:
        cells = [row["method"]]
        for place in ROLES:
            mean, pm, gain, gain_pm = (
                100 * row[f"{place}: {key}"]
                for key in ("accuracy", "accuracy_pm", "gain", "gain_pm")
            )
            cells.append(f"{mean:.1f} ± {pm:.1f} ({gain:+.1f} ± {gain_pm:.1f})")
        cells += [f"{row['flops']:.2e}", f"{row['seconds']:.3f}"]
        body.append([*cells, f"{row['offline_minutes']:.1f}"])
    heads = ("method", "in domain", "unseen", "FLOPs", "seconds", "offline minutes")
    return "\n".join([*lines, *table(heads, body)]) + "\n"


MARKDOWN = {"heads": heads_markdown, "adapters": adapters_markdown}
