"""Few-shot heads beside every other adapter: the question of FLoWN, table 5, and their bill.

Every method leaves an accuracy for each task; those that draw heads are averaged over the seeds of
their generators before anything is compared, so that intervals are over tasks.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from hyperlab import params
from hyperlab.base import ConfigError, choose, distinct, stream
from hyperlab.evaluation import cost, experiments, heads, methods
from hyperlab.evaluation.audit import before_any_task
from hyperlab.evaluation.experiments import EvalConfig, Trial, summarise
from hyperlab.evaluation.heads import REGRESSION, Accuracies, Seen
from hyperlab.evaluation.tables import Row, number, table, with_interval
from hyperlab.hyperflow.adapt import Method, classifier
from hyperlab.models import targets
from hyperlab.models.targets import Target
from hyperlab.tasks import roles
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.weights.head_generators import GeneratorConfig, HeadGenerator, fit_generator
from hyperlab.weights.heads import BaseConfig, HeadSet, Whitening, banks, base_heads

import pandas as pd
import torch
import typer
from torch import Tensor
from tqdm import tqdm

import script
import study

OUT = Path("results")
ROWS = Path("artifacts/heads")
ROLES = {"in domain": "in_domain", "unseen": "held_out"}
PROTOCOLS = ("5-way 1-shot", "5-way 5-shot")
# All three generate what is missing from the support's own head, see `GeneratorConfig.residual`.
FLOW, DIFFUSION, LINEAR = "residual flow", "residual diffusion", "linear map"
WHOLE = f"{FLOW} of whole heads"
# What their random streams are called: the names that they had when heads.json was made.
STREAMS = {FLOW: "FLoWN", WHOLE: "FLoWN of whole heads", DIFFUSION: "diffusion"}
FLOWS = ("Jacobian flow",)
FIRST = (methods.TEACHER, *FLOWS)  # adapters that meet every task
# Of each generator, the row that stands for it among the adapters.
STANDS = {name: f"{name}, mean head" for name in (FLOW, DIFFUSION)} | {LINEAR: LINEAR}
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


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """What is fitted, and on how many tasks it is tried."""

    base: BaseConfig = BaseConfig()
    generator: GeneratorConfig = GeneratorConfig()
    seeds: tuple[int, ...] = (0, 1, 2)  # of the generators
    n_samples: int = 20  # heads for a task
    steps: int = 10  # of the solver, and of the diffusion
    top: int = 3  # samples that are chosen
    n_tasks: int = 12  # of a domain
    n_tuned: int = 4  # of them, those that every gradient method meets
    only: tuple[str, ...] = ()  # names of domains to be tried on; empty: all
    sources: tuple[str, ...] = ()  # of base tasks; empty: all

    def __post_init__(self) -> None:
        distinct(self.seeds, "seeds")
        if not 1 <= self.top < self.n_samples:
            raise ConfigError(
                f"{self.top} of {self.n_samples} samples are no choice: want 1 <= top < n_samples"
            )

    @classmethod
    def at(cls, scale: str) -> "HeadsConfig":
        """Presets; "paper" is the largest, not FLoWN's table 6."""
        parts = {"base": BaseConfig.at(scale), "generator": GeneratorConfig.at(scale)}
        few = {"seeds": (0, 1), "n_samples": 4, "steps": 2, "n_tasks": 2, "n_tuned": 1}
        two_domains = ("characters", "signs")
        smoke = cls(
            **parts, **few, only=("digits", "circuits", *two_domains), sources=two_domains
        )
        laptop, paper = cls(**parts), cls(**parts, n_tasks=200)
        return choose({"smoke": smoke, "laptop": laptop, "paper": paper}, scale)


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="folder to write in")] = OUT,
    rows: Annotated[Path, typer.Option(help="keeps the adapters' rows")] = ROWS,
    data: script.Data = None,
) -> None:
    """Twenty minutes on a processor core; adapters' rows that are there are not made again."""
    config = HeadsConfig.at(scale)
    facts = {"scale": scale, "seed": seed, "config": repr(config)}
    about = study.about("torch", "scikit-learn", **facts)
    target = targets.load("vit_micro", subset=params.qkv_biases)
    parts = measure(Run(target, config, seed, data, rows))
    for name, found in parts.items():
        content = about | found
        study.write(out / f"{name}.json", content, MARKDOWN[name](content))
    print(f"wrote heads and adapters, .json and .md, to {out}")


class Run(NamedTuple):
    """What is run, and where: real data has a root, the adapters' rows are kept in a folder."""

    target: Target
    config: HeadsConfig
    seed: int = 0
    root: Path | None = None
    folder: Path | None = None

    def ask(self, role: str, protocol: str) -> EvalConfig:
        """The tasks of a role under a protocol."""
        config = self.config
        have = {source.name for source in roles.present(role, root=self.root)}
        only = tuple(name for name in config.only if name in have)
        same = {"role": role, "protocol": protocol, "seed": self.seed, "only": only}
        return EvalConfig(n_tasks=config.n_tasks, **same)

    def rows(self, names: Sequence[str], ask: EvalConfig) -> pd.DataFrame:
        """What the adapters of these names do on the tasks; none: all that need no store."""
        same = {"folder": self.folder, "root": self.root, "progress": tqdm}
        return experiments.evaluate(self.target, adapters(names), ask, **same)


class Fitted(NamedTuple):
    """Generators by name and seed, what they were fitted to, and the seconds of each part."""

    domains: list[str]
    learned: tuple[Whitening, HeadSet]
    generators: dict[tuple[str, int], HeadGenerator]
    seconds: dict[str, float]


def measure(run: Run) -> dict[str, Row]:
    """Fit every generator, then meet the tasks of both roles: the content of both files."""
    fitted = fit_all(run)
    rows, means, spread, found = [], [], [], {}
    for place, role in ROLES.items():
        asked = [run.ask(role, protocol) for protocol in PROTOCOLS]
        for ask, trials in zip(asked, meet(asked, root=run.root), strict=True):
            ours, by_seed = head_rows(heads.see(run.target, trials), fitted, run.config)
            parts = [as_table(role, trials, ours), run.rows(FIRST, ask)]
            where = {"place": place, "protocol": ask.protocol}
            found[place, ask.protocol] = pd.concat(parts, ignore_index=True)
            rows += over_all(found[place, ask.protocol], where)
            means += by_domain(found[place, ask.protocol], where)
            spread += [where | {"method": m, "seeds": s} for m, s in by_seed.items()]
    priced = costs(run.target, trials[0].episode.support, fitted, run.config)
    few, of_domains = [], []
    for place, role in ROLES.items():
        where = {"place": place, "protocol": PROTOCOLS[-1]}
        tuned = every_adapter(run, role, found[place, PROTOCOLS[-1]])
        few += over_all(tuned, where)
        of_domains += by_domain(tuned, where)
    facts = {"base_tasks": len(fitted.learned[1].heads), "base_domains": fitted.domains}
    parts = {"seconds": fitted.seconds, "heads": rows, "domains": means, "seeds": spread}
    return {
        "heads": facts | parts,
        "adapters": {"adapters": frame_of(few, priced), "adapter_domains": of_domains},
    }


def kinds(config: HeadsConfig) -> dict[str, GeneratorConfig]:
    """The generators that are compared, on the same base heads."""
    ours = config.generator
    whole = {"kind": "ridge", "latent": 10_000, "by": "row"}
    return {
        LINEAR: replace(ours, **whole),
        FLOW: replace(ours, kind="flow"),
        WHOLE: replace(ours, kind="flow", by="head"),
        DIFFUSION: replace(ours, kind="diffusion"),
    }


def fit_all(run: Run) -> Fitted:
    """Every kind with every seed; the linear map draws nothing: one."""
    config, base, seconds, generators = run.config, run.config.base, {}, {}

    def timed(name: str, call: Callable[[], object]) -> object:
        begun = time.perf_counter()
        found = call()
        seconds[name] = time.perf_counter() - begun
        return found

    same = {"seed": run.seed, "root": run.root, "progress": tqdm}
    found = timed("features", lambda: banks(run.target, base, config.sources, **same))
    learned = timed("base heads", lambda: base_heads(found, base, seed=run.seed))
    for name, settings in tqdm(kinds(config).items(), desc="generators"):
        for seed in config.seeds[:1] if name == LINEAR else config.seeds:
            g = stream(seed, "generator", STREAMS.get(name, name))
            parts = (learned[1], learned[0], base, settings)
            fit = partial(fit_generator, *parts, generator=g)
            generators[name, seed] = timed(name, fit)
    return Fitted(list(found), learned, generators, seconds)


def meet(asked: Sequence[EvalConfig], *, root: Path | None = None) -> Iterator[list[Trial]]:
    """The tasks of each question about one role, the same as `experiments.trials`."""
    opened = dict(experiments.open_domains(asked[0], root=root))
    for ask in asked:
        yield list(experiments.trials(ask, opened, root=root))


def head_rows(
    seen: Seen, fitted: Fitted, config: HeadsConfig
) -> tuple[Accuracies, dict[str, list[float]]]:
    """Accuracy of every head method on every task, and its mean for each generator seed."""
    found = heads.unlearned(seen) | heads.whitened(seen, fitted.learned[0], config.base)
    by_seed: dict[str, list[Tensor]] = {}
    for (name, seed), generator in fitted.generators.items():
        g = stream(seed, "heads", STREAMS.get(name, name))
        numbers = (config.n_samples, config.top, config.steps)
        for what, accuracy in heads.sampled(generator, seen, *numbers, generator=g).items():
            if name != LINEAR or what == "mean head":  # it has one head, no samples
                method = name if name == LINEAR else f"{name}, {what}"
                by_seed.setdefault(method, []).append(accuracy)
    found |= {method: torch.stack(rows).mean(0) for method, rows in by_seed.items()}
    return found, {m: [float(r.mean()) for r in rows] for m, rows in by_seed.items()}


def as_table(role: str, trials: Sequence[Trial], found: Accuracies) -> pd.DataFrame:
    """Accuracies as rows of `experiments.evaluate`."""
    return pd.DataFrame(
        {"role": role, "domain": t.domain, "task": t.number, "method": name, "accuracy": a}
        for name, accuracies in found.items()
        for t, a in zip(trials, accuracies.tolist(), strict=True)
    )


def adapters(names: Sequence[str] = ()) -> list[Method]:
    """The methods of part A that need no store: gradients, and the shipped drift networks."""
    shipped = methods.networks(["Jacobian flow=jacobian"])
    every = (*methods.GRADIENT, *FLOWS)
    return methods.named(names or every, methods.Learned(nets=shipped))


def costs(
    target: Target, support: LabelledImages, fitted: Fitted, config: HeadsConfig
) -> list[Row]:
    """Operations and seconds of one adaptation, and the minutes that were spent before any task."""

    def fit() -> float:
        features = heads.look(target, support)
        return heads.regression(features, features)

    def draw(generator: HeadGenerator) -> Tensor:
        features = heads.look(target, support)[None]
        same = {"steps": config.steps, "generator": stream(0, "cost")}
        return generator.sample(features, config.n_samples, **same)

    calls = {}
    for method in (*methods.named([methods.BASELINE]), *adapters()):
        view = method.view(target)
        minutes = before_any_task() if method.name in FLOWS else 0
        call = partial(classifier, method, view, support)
        calls[method.name] = (call, view.model, minutes)
    calls[REGRESSION] = (fit, target.model, 0.0)
    before = fitted.seconds["features"] + fitted.seconds["base heads"]
    for name in kinds(config):
        minutes = (before + fitted.seconds[name]) / 60
        call = partial(draw, fitted.generators[name, config.seeds[0]])
        calls[name] = (call, target.model, minutes)
    rows = []
    for name, (call, model, minutes) in calls.items():
        row = cost.audit(name, call, model, repeats=3)
        price = {"method": name, "flops": row.flops, "seconds": row.seconds}
        rows.append(price | {"offline_minutes": minutes})
    return rows


def every_adapter(run: Run, role: str, others: pd.DataFrame) -> pd.DataFrame:
    """Every adapter on the first tasks of every domain, 5-way 5-shot, and others beside them."""
    ask = replace(run.ask(role, PROTOCOLS[-1]), n_tasks=run.config.n_tuned)
    whole = run.rows((), ask)
    more = (others.task < run.config.n_tuned) & ~others.method.isin(whole.method)
    return pd.concat([others[more], whole])


def over_all(found: pd.DataFrame, where: Row) -> list[Row]:
    """Over all domains: accuracy, gain over no adaptation, and over logistic regression."""
    rows, more = summarise(found), summarise(found, baseline=REGRESSION)
    for end in ("", "_sd", "_pm"):
        rows[f"over_regression{end}"] = more[f"gain{end}"]
    return rows[rows.domain == "all"].assign(**where).to_dict("records")


def by_domain(found: pd.DataFrame, where: Row) -> list[Row]:
    """The mean accuracy of every method on every domain: what the intervals are made of."""
    return [
        where | {"domain": domain, "n": len(part)} | part.mean().round(5).to_dict()
        for domain, part in experiments.wide(found).groupby(level="domain", sort=False)
    ]


def frame_of(rows: Sequence[Row], priced: Sequence[Row]) -> list[Row]:
    """A row of each adapter: accuracy in domain and unseen, and what it costs."""
    found = {(row["place"], row["method"]): row for row in rows}
    framed = []
    for price in priced:
        name = STANDS.get(price["method"], price["method"])
        if ("unseen", name) in found:
            figures = {f"{p}: {k}": found[p, name][k] for p in ROLES for k in FIGURES}
            framed.append(price | figures | {"method": name})
    return framed


def heads_markdown(found: Mapping[str, object]) -> str:
    """A row of each method, a column of each place and protocol."""
    columns = [(place, protocol) for place in ROLES for protocol in PROTOCOLS]
    rows = {(row["method"], row["place"], row["protocol"]): row for row in found["heads"]}
    names = list(dict.fromkeys(name for name, *_ in rows))
    counts = (f"{a}, {b}, {counted(rows[names[0], a, b])}" for a, b in columns)
    body = [[n, *(cell(rows[n, *at], "over_regression") for at in columns)] for n in names]
    note = "In brackets: the paired difference to logistic regression, in points."
    lines = [
        f"`{found['command']}`",
        "",
        NOTE,
        "",
        *table(["method", *counts], body),
        "",
        note,
    ]
    seeds: dict[str, list[str]] = {}
    for row in found["seeds"]:
        words = ", ".join(f"{100 * accuracy:.1f}" for accuracy in row["seeds"])
        seeds.setdefault(row["method"], [row["method"]]).append(words)
    head = "generator, mean of all tasks of each seed"
    lines += ["", *table([head, *(f"{a}, {b}" for a, b in columns)], seeds.values())]
    return "\n".join(lines) + "\n"


def adapters_markdown(found: Mapping[str, object]) -> str:
    """A row of each adapter."""
    rows = found["adapters"]
    counts = [counted(rows[0], f"{place}: ") for place in ROLES]
    note = (
        f"5-way 5-shot, the same tasks for all: {counts[0]} in domain, {counts[1]} unseen; "
        "accuracy in % ± half a 95 % interval over the means of the domains (Student's t), in "
        "brackets the paired gain over no adaptation. FLOPs (2 per multiply-add, scikit-learn's "
        "not counted) and seconds (median of 3, one thread) of one adaptation to 25 images. "
        "Offline: minutes before the first task, without the backbone's pre-training; Jacobian "
        "flow's as in the README. Seconds and the generators' minutes are those of "
        f"{found.get('timed', 'this run')}."
    )
    body = [
        [
            row["method"],
            *(cell(row, "gain", f"{place}: ") for place in ROLES),
            f"{row['flops']:.2e}",
            f"{row['seconds']:.3f}",
            f"{row['offline_minutes']:.1f}",
        ]
        for row in rows
    ]
    columns = ("method", "in domain", "unseen", "FLOPs", "seconds", "offline minutes")
    lines = [f"`{found['command']}`", "", note, "", *table(columns, body)]
    return "\n".join(lines) + "\n"


def counted(row: Row, place: str = "") -> str:
    """What stands behind a row: "144 tasks of 12 domains"."""
    domains = row[f"{place}unit"] == "domains"
    words = f"{row[f'{place}n']} tasks"
    return words + f" of {row[f'{place}n_units']} domains" * domains


def cell(row: Row, gain: str, place: str = "") -> str:
    """ "55.1 ± 2.0 (+1.2 ± 0.9)": accuracy and a gain, in per cent."""
    keys = ("accuracy", "accuracy_pm", gain, f"{gain}_pm")
    mean, half, more, more_half = (number(row[place + key]) for key in keys)
    return f"{with_interval(mean, half)} ({with_interval(more, more_half, sign='+')})"


MARKDOWN = {"heads": heads_markdown, "adapters": adapters_markdown}

if __name__ == "__main__":
    script.run(main)
