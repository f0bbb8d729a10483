"""Paired evaluation: every method on the same seeded tasks, with intervals and controls."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from .. import __version__, checkpoint
from ..base import (
    ConfigError,
    DataMissingError,
    Progress,
    differences,
    distinct,
    expanded,
    silent,
)
from ..hyperflow import collect
from ..hyperflow.adapt import Method, classifier
from ..hyperflow.controls import OwnDomain, WrongSupport
from ..identity import checksum
from ..models.targets import Target
from ..tasks.domains import Domain
from ..tasks.episodes import Episode
from .methods import BASELINE, GRADIENT, TEACHER
from .tables import fraction, interval, spread
from .trials import (
    EvalConfig,
    Trial,
    chosen,
    episode,
    open_domains,
    trials,
)

LOG = logging.getLogger(__name__)
MEANS = "file of own means"
Row = dict[str, str | int | float]
Key = tuple[str, int, str]  # domain, number and method of a row
TASK = ["role", "domain", "task"]


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

    The column `lender` says whose support set a control was given, see `trials.lenders`.

    Args:
        folder: keeps every task's rows as they are made, a file for each share; what any file
            there holds of this role, protocol and seed is not run again, unless something of
            `parts` or of the task's images and labels has changed since.

    Returns:
        The rows of these methods and tasks: with a folder also what other shares have made.

    Raises:
        ConfigError: the only domain has too few classes for the control "wrong support".
    """
    opened = dict(open_domains(config, root=root))
    names, domains = [m.name for m in methods], list(opened)
    _require_others(methods, config, opened, root)
    book = Book(folder, config)
    fixed = {m.name: parts(target, m) for m in methods}
    k, n = config.share
    total = config.n_tasks * len(domains)
    drawn = progress(trials(config, opened, root=root), total=total, desc=config.protocol)
    for number, trial in enumerate(drawn):
        for_all = task_parts(trial.episode)
        made_of = {m.name: fixed[m.name] | for_all | _lent(m, trial) for m in methods}
        todo = [m for m in methods if book.lacks(trial, m.name, made_of[m.name])]
        if number % n == k and todo:
            book.add([_row(target, m, trial, config.role, made_of[m.name]) for m in todo])
    table = pd.DataFrame(book.rows())
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


def parts(target: Target, method: Method) -> dict[str, object]:
    """What every row of a method depends on: backbone, input, networks and settings."""
    version = {"method": checksum(method), "hyperlab": __version__}
    return collect.backbone(method.view(target)) | version


def task_parts(*episodes: Episode) -> dict[str, object]:
    """What a row depends on of its task, and so of the data, the protocol and the seed."""
    sets = [part for e in episodes for part in (e.support, e.query)]
    classes = [e.classes for e in episodes]
    return {
        "images": checksum([x.images for x in sets]),
        "labels": checksum([x.labels for x in sets], classes),
    }


def _lent(method: Method, trial: Trial) -> dict[str, object]:
    """What a control is told of another task; nothing for a method."""
    bound = _bound(method, trial)
    if bound is method:
        return {}
    names = [f.name for f in fields(bound)]
    given = {n: getattr(bound, n) for n in names}
    return {
        "lent": checksum({n: x for n, x in given.items() if x is not getattr(method, n)})
    }


def _row(
    target: Target, method: Method, trial: Trial, role: str, made_of: Mapping[str, object]
) -> Row:
    method = _bound(method, trial)
    view = method.view(target)
    theta, centres = classifier(method, view, trial.episode.support)
    try:
        accuracy = view.accuracy(theta, trial.episode, centres)
    except ConfigError as error:
        what = f"{method.name}, {trial.domain}, task {trial.number}"
        raise ConfigError(f"{what}: {error}") from error
    return {
        "role": role,
        "domain": trial.domain,
        "task": trial.number,
        "n_way": trial.episode.support.n_way,
        "n_support": len(trial.episode.support.labels),
        "method": method.name,
        "made_by": checksum(made_of),
        "made_of": made_of,
        "lender": trial.lender if isinstance(method, WrongSupport) else "",
        "accuracy": accuracy,
    }


def _bound(method: Method, trial: Trial) -> Method:
    """What a control must be told of a task that no method may know."""
    if isinstance(method, WrongSupport):
        return replace(method, support=trial.other.support)
    if isinstance(method, OwnDomain):
        return replace(method, domain=trial.domain)
    return method


def _require_others(
    methods: Sequence[Method],
    config: EvalConfig,
    opened: Mapping[str, Domain],
    root: Path | str | None,
) -> None:
    """An error before any work if a control would be left without another support set.

    Raises:
        ConfigError: so, or two methods have one name.
    """
    distinct([m.name for m in methods], "methods")
    classes = {name: {*domain.class_names} for name, domain in opened.items()}
    alone = {n for n, x in classes.items() if all(x & other for other in classes.values())}
    if alone and any(isinstance(m, WrongSupport) for m in methods):
        for trial in trials(config, opened, root=root):
            if trial.domain in alone:
                trial.lend()


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

    The tasks have the numbers from -1 down: none is in a table. What the file holds of another
    backbone, other images or labels is measured anew.

    Raises:
        ArtifactError: the file is damaged.
    """
    path, teacher = expanded(Path(path)), GRADIENT[TEACHER]
    marks, found = {}, {}
    if path.exists():
        both = checkpoint.load(path, MEANS, lambda found: found, "remove it")
        marks, found = dict(both.spec), both.tensors
    names, fixed = [s.name for s in chosen(config, root)], parts(target, teacher)
    opened = open_domains(config, root=root)
    for name, domain in progress(opened, total=len(names), desc="own domains"):
        tasks = [episode(config, name, domain, -1 - i) for i in range(n_tasks)]
        mark = checksum(fixed, task_parts(*tasks))
        if marks.get(name) != mark:
            moved = [teacher(target, task.support) - target.theta0 for task in tasks]
            found[name], marks[name] = torch.stack(moved).mean(0), mark
            checkpoint.save(path, MEANS, found, marks)
    return {name: found[name] for name in names}


class Book:
    """The rows of a table, kept in a folder where there is one: a file for each share.

    Args:
        folder: None keeps them in memory alone.
    """

    def __init__(self, folder: Path | str | None, config: EvalConfig) -> None:
        k, n = config.share
        self.pattern = f"{config.stem}-*of*.jsonl"
        self.path = folder and expanded(Path(folder)) / f"{config.stem}-{k}of{n}.jsonl"
        self.wanted: dict[Key, str] = {}  # what each row's `made_by` must be
        self.found, self.warned = self._read(), False
        self.there = {(*_key(row), row.get("made_by")) for row in self.found}

    def lacks(self, trial: Trial, method: str, made_of: Mapping[str, object]) -> bool:
        """Whether the row of a method is not there, or was made of something else."""
        key, mark = (trial.domain, trial.number, method), checksum(made_of)
        self.wanted[key] = mark
        lacks = (*key, mark) not in self.there
        if lacks and not self.warned:
            self._warn(key, made_of)
        return lacks

    def add(self, rows: list[Row]) -> None:
        """Keep some new rows."""
        self.found += rows
        if self.path:
            _append(self.path, rows)

    def rows(self) -> list[Row]:
        """Every wanted row once; with a folder also those that other shares have made."""
        rows = [
            r
            for r in self._read() or self.found
            if r.get("made_by") == self.wanted.get(_key(r), "")
        ]
        found = {_key(row): row for row in rows}.values()
        return [{k: x for k, x in row.items() if k != "made_of"} for row in found]

    def _read(self) -> list[Row]:
        paths = sorted(self.path.parent.glob(self.pattern)) if self.path else []
        return [row for path in paths for row in read_rows(path)]

    def _warn(self, key: Key, made_of: Mapping[str, object]) -> None:
        """Say once why rows that are there are left out."""
        old = [row for row in self.found if _key(row) == key]
        if old:
            now = json.loads(json.dumps(made_of))
            differ = differences(old[-1].get("made_of", {}), now)
            LOG.warning(
                "rows in %s are of something else and are measured anew; first %s, task %d, %s: %s",
                *(self.path.parent, *key, "; ".join(differ)),
            )
            self.warned = True


def _key(row: Row) -> Key:
    return row["domain"], row["task"], row["method"]


def read_rows(path: Path | str) -> list[Row]:
    """The rows of a file; a line cut short by a crash is left out."""
    rows = []
    for line in (
        Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
    ):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _append(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
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

    Columns: role, domain, method, n (tasks), unit, n_units, and the `spread` of accuracy and gain
    (over `baseline` on the same tasks). A domain's unit is its tasks, that of a role's row "all"
    its domains, which weigh alike: see `units`.
    """
    found, rows = wide(table, baseline=baseline), []
    for role, of_role in found.groupby(level="role", sort=False):
        parts = list(of_role.groupby(level="domain", sort=False))
        for domain, part in [*parts, ("all", of_role)]:
            unit, each = units(part)
            gains = each.sub(each[baseline], axis=0)
            counts = {"n": len(part), "unit": unit, "n_units": len(each)}
            for method in found.columns:
                row = {"role": role, "domain": domain, "method": method} | counts
                row |= spread("accuracy", each[method]) | spread("gain", gains[method])
                rows.append(row)
    return pd.DataFrame(rows)


def units(found: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What a mean of a `wide` table is about, a row each: domains; of a single one, its tasks."""
    means = found.groupby(level=["role", "domain"], sort=False).mean()
    return ("domains", means) if len(means) > 1 else ("tasks", found)


def compare(table: pd.DataFrame, one: str, other: str) -> tuple[float, float]:
    """Mean paired difference of two methods, and its +- over the `units` of the table."""
    found = wide(table, baseline=other)
    if one not in found:
        raise ConfigError(f"no method {one!r} in the table; have {list(found.columns)}")
    each = units(found)[1]
    return float((each[one] - each[other]).mean()), interval(each[one] - each[other])


def recovery(table: pd.DataFrame, method: str, teacher: str = TEACHER) -> tuple[float, ...]:
    """Fraction of the teacher's gain that a method reaches, and its ends: `tables.fraction`."""
    each = units(wide(table))[1]
    return fraction(each[method] - each[BASELINE], each[teacher] - each[BASELINE])
