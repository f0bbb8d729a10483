"""Paired evaluation: every method on the same seeded tasks, with intervals and controls."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..base import ConfigError, Progress, choose, silent, stream
from ..hyperflow.adapt import Method, WrongSupport, classifier
from ..hyperflow.collect import PROTOCOLS
from ..models.targets import Target
from ..tasks import roles
from ..tasks.episodes import Episode

BASELINE = "no adaptation"
TEACHER = "bias-tuning"


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Which tasks a table is about."""

    role: str = "held_out"  # of the domains, see `tasks.roles`
    protocol: str = "variable"  # how an episode is drawn
    n_tasks: int = 200  # per domain
    seed: int = 0
    only: tuple[str, ...] = ()  # names of domains; empty: all of the role that are here
    share: tuple[int, int] = (0, 1)  # (k, n): every n-th task from the k-th on


@dataclass(frozen=True, eq=False)
class Trial:
    """One task of a table, and the task of another domain that lends its support as a control."""

    domain: str
    number: int
    episode: Episode
    other: Episode


def trials(config: EvalConfig, *, root: Path | str | None = None) -> Iterator[Trial]:
    """The tasks of a table, one domain after the other in turn; number i is always the same."""
    domains = [
        (s.name, roles.open_source(s, config.role, root=root)) for s in chosen(config, root)
    ]
    sample = choose(PROTOCOLS, config.protocol)

    def episode(k: int, i: int) -> Episode:
        name, domain = domains[k]
        generator = stream(config.seed, "evaluate", config.protocol, name, i)
        return sample(domain, generator=generator)

    for i in range(config.n_tasks):
        row = [episode(k, i) for k in range(len(domains))]
        for k, (name, _) in enumerate(domains):
            yield Trial(name, i, row[k], row[(k + 1) % len(row)])


def chosen(config: EvalConfig, root: Path | str | None = None) -> list[roles.Source]:
    """The domains of a table that are here."""
    there = roles.present(config.role, root=root)
    if unknown := set(config.only) - {s.name for s in there}:
        raise ConfigError(
            f"no domain {sorted(unknown)} of role {config.role!r} here; "
            f"have {[s.name for s in there]}"
        )
    return [s for s in there if not config.only or s.name in config.only]


def evaluate(
    target: Target,
    methods: Sequence[Method],
    config: EvalConfig,
    *,
    path: Path | str | None = None,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """One row per task and method: domain, task, n_way, n_support, method, accuracy in [0, 1].

    Args:
        path: a file that keeps every task's rows as they are made; what it holds is not run again.
    """
    rows = read_rows(path) if path else []
    known = {(row["domain"], row["task"], row["method"]) for row in rows}
    total = config.n_tasks * len(chosen(config, root))
    k, n = config.share
    drawn = progress(trials(config, root=root), total=total, desc=config.protocol)
    for number, trial in enumerate(drawn):
        todo = [m for m in methods if (trial.domain, trial.number, m.name) not in known]
        if number % n == k and todo:
            fresh = [_row(target, method, trial) for method in todo]
            rows += fresh
            if path:
                _append(Path(path), fresh)
    return pd.DataFrame(rows)


def _row(target: Target, method: Method, trial: Trial) -> dict[str, str | int | float]:
    if isinstance(method, WrongSupport):
        method = replace(method, support=trial.other.support)
    view = method.view(target)
    theta, centres = classifier(method, view, trial.episode.support)
    return {
        "domain": trial.domain,
        "task": trial.number,
        "n_way": trial.episode.support.n_way,
        "n_support": len(trial.episode.support.labels),
        "method": method.name,
        "accuracy": view.accuracy(theta, trial.episode, centres),
    }


def read_rows(path: Path | str) -> list[dict[str, str | int | float]]:
    """The rows of a table's file; a last line cut short by a crash is left out."""
    rows = []
    for line in Path(path).read_text().splitlines() if Path(path).exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _append(path: Path, rows: list[dict[str, str | int | float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def interval(values: pd.Series) -> float:
    """Half the width of a 95 % interval of the mean, 1.96 s / sqrt(n), with ddof 1."""
    return float(1.96 * values.std(ddof=1) / len(values) ** 0.5)


def summarise(table: pd.DataFrame, *, baseline: str = BASELINE) -> pd.DataFrame:
    """Per method and domain, and over all domains: mean accuracy and paired gain, each with +-.

    Columns: domain, method, n, accuracy, accuracy_pm, gain, gain_pm (over `baseline` on the same
    tasks). The row "all" weighs every task alike.
    """
    wide = table.pivot_table(index=["domain", "task"], columns="method", values="accuracy")
    if baseline not in wide or wide.isna().any(axis=None):
        lacking = wide.isna().sum()
        raise ConfigError(
            f"not every method ran on every task; missing: {lacking.to_dict()}"
        )
    rows = []
    names = wide.index.get_level_values("domain").unique()
    for domain in [*names, "all"]:
        part = wide if domain == "all" else wide.loc[domain]
        for method in wide.columns:
            gain = part[method] - part[baseline]
            rows.append(
                {
                    "domain": domain,
                    "method": method,
                    "n": len(part),
                    "accuracy": part[method].mean(),
                    "accuracy_pm": interval(part[method]),
                    "gain": gain.mean(),
                    "gain_pm": interval(gain),
                }
            )
    return pd.DataFrame(rows)


def compare(table: pd.DataFrame, one: str, other: str) -> tuple[float, float]:
    """Mean paired difference of two methods over all tasks, and its +-."""
    wide = table.pivot_table(index=["domain", "task"], columns="method", values="accuracy")
    difference = wide[one] - wide[other]
    return float(difference.mean()), interval(difference)


def recovery(table: pd.DataFrame, method: str, teacher: str = TEACHER) -> float:
    """Share of the teacher's gain over no adaptation that a method reaches, over all tasks."""
    gain, _ = compare(table, method, BASELINE)
    whole, _ = compare(table, teacher, BASELINE)
    return gain / whole
