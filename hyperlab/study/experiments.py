"""Paired evaluation: every method on the same seeded tasks, with intervals and controls."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..base import (
    ConfigError,
    DataMissingError,
    Progress,
    choose,
    silent,
    stream,
    whole_file,
)
from ..hyperflow.adapt import Method, classifier
from ..hyperflow.controls import OwnDomain, WrongSupport
from ..models.targets import Target
from ..tasks import roles
from ..tasks.domains import Domain
from ..tasks.episodes import Episode
from ..tasks.protocols import PROTOCOLS
from .identity import mark
from .methods import BASELINE, GRADIENT, TEACHER
from .tables import interval

Row = dict[str, str | int | float]
TASK = ["role", "domain", "task"]


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Which tasks a table is about."""

    role: str = "held_out"  # of the domains, see `tasks.roles`
    protocol: str = "variable"  # how an episode is drawn, see `tasks.protocols`
    n_tasks: int = 200  # per domain
    seed: int = 0
    only: tuple[str, ...] = ()  # names of domains; empty: all of the role that are here
    share: tuple[int, int] = (0, 1)  # (k, n): every n-th task from the k-th on
    size: int = 32  # pixels of the images of real packs

    @property
    def stem(self) -> str:
        """The beginning of the names of the files of rows."""
        return f"{self.role}-{self.protocol.replace(' ', '-')}-{self.seed}"


@dataclass(frozen=True, eq=False)
class Trial:
    """One task of a table, and the task of another domain that lends its support as a control."""

    domain: str
    number: int
    episode: Episode
    other: Episode


def trials(config: EvalConfig, *, root: Path | str | None = None) -> Iterator[Trial]:
    """The tasks of a table, one domain after the other in turn; number i is always the same."""
    names = [source.name for source in chosen(config, root)]
    opened = [domain for _, domain in open_domains(config, root=root)]
    for i in range(config.n_tasks):
        row = [
            episode(config, name, domain, i)
            for name, domain in zip(names, opened, strict=True)
        ]
        for k, name in enumerate(names):
            yield Trial(name, i, row[k], row[(k + 1) % len(row)])


def episode(config: EvalConfig, name: str, domain: Domain, number: int) -> Episode:
    """Task `number` of a domain: the same whatever else is in the table."""
    generator = stream(config.seed, "evaluate", config.protocol, name, number)
    return choose(PROTOCOLS, config.protocol).draw(domain, generator=generator)


def open_domains(
    config: EvalConfig, *, root: Path | str | None = None
) -> Iterator[tuple[str, Domain]]:
    """The domains of a table with their images."""
    for source in chosen(config, root):
        yield (
            source.name,
            roles.open_source(source, config.role, root=root, size=config.size),
        )


def chosen(config: EvalConfig, root: Path | str | None = None) -> list[roles.Source]:
    """The domains of a table that are here."""
    choose(PROTOCOLS, config.protocol)
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
    folder: Path | str | None = None,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """One row per task and method: role, domain, task, n_way, n_support, method, accuracy.

    Args:
        folder: keeps every task's rows as they are made, a file for each share; what any file
            there holds of this role, protocol and seed is not run again, unless the backbone,
            a network or a setting of the method has changed since.

    Returns:
        The rows of these methods and tasks: with a folder also what other shares have made.
    """
    marks = {m.name: mark(target, m) for m in methods}
    rows = rows_in(folder, config, marks) if folder else []
    names, domains = [m.name for m in methods], [s.name for s in chosen(config, root)]
    known = {(row["domain"], row["task"], row["method"]) for row in rows}
    k, n = config.share
    total = config.n_tasks * len(domains)
    drawn = progress(trials(config, root=root), total=total, desc=config.protocol)
    for number, trial in enumerate(drawn):
        todo = [m for m in methods if (trial.domain, trial.number, m.name) not in known]
        if number % n == k and todo:
            fresh = [_row(target, m, trial, config.role, marks[m.name]) for m in todo]
            rows += fresh
            if folder:
                _append(Path(folder) / f"{config.stem}-{k}of{n}.jsonl", fresh)
    table = pd.DataFrame(rows_in(folder, config, marks) if folder else rows)
    return _in_order(table, domains, names, config.n_tasks) if len(table) else table


def _in_order(
    table: pd.DataFrame, domains: Sequence[str], methods: Sequence[str], n_tasks: int
) -> pd.DataFrame:
    """The rows of these domains and methods alone, in this order."""
    wanted = table["method"].isin(methods) & table["domain"].isin(domains)
    table = table[wanted & (table["task"] < n_tasks)]
    place = {name: k for k, name in enumerate([*domains, *methods])}
    ranks = {"domain": table["domain"].map(place), "method": table["method"].map(place)}
    order = table.assign(**ranks).sort_values(["domain", "task", "method"]).index
    return table.loc[order].reset_index(drop=True)


def _row(target: Target, method: Method, trial: Trial, role: str, made_by: str) -> Row:
    method = _bound(method, trial)
    view = method.view(target)
    theta, centres = classifier(method, view, trial.episode.support)
    return {
        "role": role,
        "domain": trial.domain,
        "task": trial.number,
        "n_way": trial.episode.support.n_way,
        "n_support": len(trial.episode.support.labels),
        "method": method.name,
        "made_by": made_by,
        "accuracy": view.accuracy(theta, trial.episode, centres),
    }


def _bound(method: Method, trial: Trial) -> Method:
    """What a control must be told of a task that no method may know."""
    if isinstance(method, WrongSupport):
        return replace(method, support=trial.other.support)
    if isinstance(method, OwnDomain):
        return replace(method, domain=trial.domain)
    return method


def own_means(
    target: Target,
    config: EvalConfig,
    path: Path | str,
    *,
    n_tasks: int = 8,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Mean bias-tuning displacement of other tasks of each domain, kept in a file.

    The tasks have the numbers from -1 down: none is in a table.
    """
    path = Path(path)
    found = load_file(path) if path.exists() else {}
    lacking = {s.name for s in chosen(config, root)} - found.keys()
    opened = [x for x in open_domains(config, root=root) if x[0] in lacking]
    for name, domain in progress(opened, total=len(opened), desc="own domains"):
        tasks = [episode(config, name, domain, -1 - i).support for i in range(n_tasks)]
        moved = [GRADIENT[TEACHER](target, support) - target.theta0 for support in tasks]
        found[name] = torch.stack(moved).mean(0)
    if lacking:
        with whole_file(path) as draft:
            save_file(found, draft)
    return found


def rows_in(folder: Path | str, config: EvalConfig, marks: Mapping[str, str]) -> list[Row]:
    """The rows that all shares have left in a folder, each task and method once.

    Args:
        marks: name -> mark of the methods of now, see `identity`; rows of others are left out.
    """
    paths = sorted(Path(folder).glob(f"{config.stem}-*of*.jsonl"))
    found = [row for path in paths for row in read_rows(path)]
    rows = [row for row in found if row.get("made_by") == marks.get(row["method"], "")]
    return list({(r["domain"], r["task"], r["method"]): r for r in rows}.values())


def read_rows(path: Path | str) -> list[Row]:
    """The rows of a file; a line cut short by a crash is left out."""
    rows = []
    for line in Path(path).read_text().splitlines() if Path(path).exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _append(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * cut + "".join(json.dumps(row) + "\n" for row in rows))


def wide(table: pd.DataFrame, *, baseline: str = BASELINE) -> pd.DataFrame:
    """One row per task, one column per method, in the table's order.

    Raises:
        DataMissingError: the table is empty.
        ConfigError: the baseline is missing, a method missed a task, or ran twice on one.
    """
    if not len(table):
        raise DataMissingError("the table is empty; run: python data_scripts/evaluate.py")
    table = table.assign(role=table.get("role", ""))
    if len(twice := table[table.duplicated([*TASK, "method"])]):
        row = twice.iloc[0]
        raise ConfigError(
            f"task {row.task} of {row.domain} was met twice by {row.method!r}: the table mixes "
            "seeds or protocols; make one table for each"
        )
    found = table.pivot_table(index=TASK, columns="method", values="accuracy", sort=False)
    if baseline not in found or found.isna().any(axis=None):
        lacking = found.isna().sum()
        raise ConfigError(
            f"not every method ran on every task, or {baseline!r} did not run at all; "
            f"missing: {lacking[lacking > 0].to_dict()}; have {list(found.columns)}"
        )
    return found


def summarise(table: pd.DataFrame, *, baseline: str = BASELINE) -> pd.DataFrame:
    """Per method and domain, and over all domains: mean accuracy and paired gain, each with +-.

    Columns: role, domain, method, n, accuracy, accuracy_pm, gain, gain_pm (over `baseline` on the
    same tasks). The rows "all" of a role weigh every task alike.
    """
    found, rows = wide(table, baseline=baseline), []
    for role, of_role in found.groupby(level="role", sort=False):
        parts = list(of_role.groupby(level="domain", sort=False))
        for domain, part in [*parts, ("all", of_role)]:
            for method in found.columns:
                gain = part[method] - part[baseline]
                rows.append(
                    {
                        "role": role,
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
    found = wide(table, baseline=other)
    if one not in found:
        raise ConfigError(f"no method {one!r} in the table; have {list(found.columns)}")
    difference = found[one] - found[other]
    return float(difference.mean()), interval(difference)


def recovery(table: pd.DataFrame, method: str, teacher: str = TEACHER) -> float:
    """Share of the teacher's gain over no adaptation that a method reaches, over all tasks."""
    gain, _ = compare(table, method, BASELINE)
    whole, _ = compare(table, teacher, BASELINE)
    return gain / whole
