"""The audit's table: shares of full fine-tuning, the bars, and what the offline work is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ..base import Progress, choose, silent
from .audit import (
    LOOKS,
    MODELS,
    SPARE,
    STEPS,
    TUNED,
    VIEWS,
    Job,
    Measured,
    apart,
    counted,
    measure,
    whole,
)
from .budget import BACKBONES, Plan, break_even
from .cost import Count
from .tables import table

Row = dict[str, object]
ALL = "all"
# Minutes on two processor cores, as written in the README; `vit_micro`, 704 recorded tasks.
OFFLINE_MINUTES = {
    "pre-training the backbone": 9,
    "recording trajectories": 7,
    "learned Jacobian": 14,
    "drift network": 18,
}


def rows_of(job: Job, found: Mapping[str, Count], run: Measured | None) -> list[Row]:
    """A row for the whole and for every part; the whole has seconds if it was run."""
    head = {"backbone": job.backbone, "n_images": job.n_images, "method": job.method}
    listed = {ALL: whole(found)} | (found if len(found) > 1 else {})
    made = [{**head, "part": part, **asdict(c)} for part, c in listed.items()]
    if run:
        seconds = run.seconds * made[0]["flops"] / called_flops(job, made[0]["flops"])
        told = {"seconds": seconds, "measured_peak_bytes": run.peak_bytes}
        made[0] |= told | {"repeats": run.repeats, "measured_at": job.n_images}
    return made


def called_flops(job: Job, flops: int) -> float:
    """Of the call that was timed: a gradient step and the loss after it, or all of HyperFlow."""
    if job.method not in TUNED:
        return flops
    each = BACKBONES[job.backbone].features(MODELS[job.backbone][1])
    return flops / STEPS + VIEWS * job.n_images * each


def scaled(table: list[Row]) -> list[Row]:
    """Rows without seconds take them from the same method with fewer images, by FLOPs."""
    for row in table:
        small = next((r for r in table if "seconds" in r and same(r, row)), None)
        if row["part"] == ALL and "seconds" not in row and small:
            ratio, more = row["flops"] / small["flops"], row["n_images"] / small["n_images"]
            row["seconds"] = small["seconds"] * ratio
            row["measured_peak_bytes"] = round(small["measured_peak_bytes"] * more)
            row["measured_at"] = small["n_images"]
    return table


def same(a: Row, b: Row) -> bool:
    return all(a[key] == b[key] for key in ("backbone", "method", "part"))


def shares(table: list[Row]) -> list[Row]:
    """Every figure in per cent of full fine-tuning's, same backbone and same images."""
    for row in table:
        rival = find(table, row["backbone"], row["n_images"], "full fine-tuning")
        for name in ("flops", "peak_bytes", "seconds", "measured_peak_bytes"):
            if name in row and name in rival:
                row[f"{name}_pct"] = 100 * row[name] / rival[name]
    return table


def find(
    table: list[Row], backbone: str, n_images: int, method: str, part: str = ALL
) -> Row:
    """The one row of a part of a method."""
    wanted = (backbone, n_images, method, part)
    keys = ("backbone", "n_images", "method", "part")
    return next(row for row in table if tuple(row[k] for k in keys) == wanted)


def bars(table: list[Row], device: str) -> list[Row]:
    """What the audit set out to show, at the last backbone and the most images."""
    backbone, n_images = table[-1]["backbone"], max(row["n_images"] for row in table)
    spare = find(table, backbone, n_images, SPARE)
    drift = find(table, backbone, n_images, SPARE, "drift")
    time_pct = spare.get("seconds_pct") if device != "cpu" else None
    found = [
        ("FLOPs, everything", 0.1, spare["flops_pct"]),
        ("peak memory beyond the weights, everything", 6.0, spare["peak_bytes_pct"]),
        ("time on an accelerator, everything", 0.02, time_pct),
        ("FLOPs, drift alone", 0.005, drift["flops_pct"]),
    ]
    return [
        {
            "bar": name,
            "limit_pct": limit,
            "found_pct": pct,
            "met": None if pct is None else pct <= limit,
        }
        for name, limit, pct in found
    ]


def paid_off(table: list[Row]) -> list[Row]:
    """Tasks after which the offline work has paid off, by processor seconds and by FLOPs."""
    online = [m for name, m in OFFLINE_MINUTES.items() if "backbone" not in name]
    offline_s, made = 2 * 60 * sum(online), []
    n_images = max(row["n_images"] for row in table)
    own = find(table, "vit_micro", n_images, SPARE)
    for rival in ("full fine-tuning", "bias-tuning"):
        row = find(table, "vit_micro", n_images, rival)
        after = break_even(offline_s, row["seconds"], own["seconds"])
        made.append(
            {
                "rival": rival,
                "offline": "ours, measured",
                "backbone": "vit_micro",
                "tasks": after,
            }
        )
    for rival, what in (("full fine-tuning", "everything"), ("bias-tuning", "biases")):
        plan = Plan()
        after = break_even(
            plan.recording(40_000), plan.fine_tuning(what), sum(plan.hyperflow().values())
        )
        made.append(
            {
                "rival": rival,
                "offline": "40,000 recordings, counted",
                "backbone": plan.backbone,
                "tasks": after,
            }
        )
    return made


def plan_of(scale: str, device: str, repeats: int) -> tuple[list[Job], list[Job]]:
    """All jobs of a scale, and those of them that are timed."""
    small, large = choose(
        {
            "smoke": ((5, 1), (5, 2)),
            "laptop": ((5, 5), (20, 20)),
            "paper": ((5, 5), (20, 20)),
        },
        scale,
    )
    backbones = [name for name in MODELS if scale != "smoke" or name == "vit_micro"]
    options = {"device": device, "repeats": repeats}
    jobs = [
        Job(backbone=b, method=m, n_way=way, n_shot=shot, **options)
        for b in backbones
        for way, shot in (small, large)
        for m in (*TUNED, *LOOKS)
    ]
    few = {"full fine-tuning", SPARE}  # of a large backbone on a processor: minutes each
    first = small[0] * small[1]
    cheap = lambda j: device != "cpu" or j.backbone == "vit_micro" or j.method in few  # noqa: E731
    timed = [job for job in reversed(jobs) if job.n_images == first and cheap(job)]
    return jobs, timed


def report(
    jobs: Sequence[Job], timed: Sequence[Job], *, workers: int, progress: Progress = silent
) -> dict[str, object]:
    """The whole audit, ready for JSON; every job in a process of its own, `workers` at once."""
    ran = progress(
        apart(measure, timed, workers=workers), total=len(timed), desc="measured"
    )
    runs = dict(zip(timed, ran, strict=True))
    told = progress(apart(counted, jobs, workers=workers), total=len(jobs), desc="counted")
    pairs = zip(jobs, told, strict=True)
    table = [row for job, found in pairs for row in rows_of(job, found, runs.get(job))]
    table = shares(scaled(table))
    return {
        "rows": table,
        "bars": bars(table, jobs[0].device),
        "offline_minutes": OFFLINE_MINUTES,
        "break_even": paid_off(table),
    }


def markdown(found: Mapping[str, object]) -> str:
    """The audit as tables: parts, bars, break-even."""
    lines = [
        f"`{found['command']}`",
        "",
        NOTE,
        "",
        *table(HEADS, map(_cells, found["rows"])),
    ]
    bars = []
    for bar in found["bars"]:
        pct, met = bar["found_pct"], {True: "yes", False: "no", None: ""}[bar["met"]]
        said = "not measured" if pct is None else f"{pct:.3g} %"
        bars.append([bar["bar"], f"{bar['limit_pct']:g} %", said, met])
    heads = ("bar, in per cent of full fine-tuning", "limit", "found", "met")
    lines += ["", *table(heads, bars)]
    heads = ("paid off against", "offline cost", "backbone", "after tasks")
    rows = [
        [row["rival"], row["offline"], row["backbone"], f"{row['tasks']:,.0f}"]
        for row in found["break_even"]
    ]
    return "\n".join([*lines, "", *table(heads, rows)]) + "\n"


def _cells(row: Row) -> list[object]:
    pct = [f"{row[k]:.3g} %" if k in row else "" for k in PCT]
    seconds = f"{row['seconds']:.3g}" if "seconds" in row else ""
    cells = [row[k] for k in ("backbone", "n_images", "method", "part")]
    cells += [f"{row['flops']:.4g}", pct[0]]
    return [*cells, f"{row['peak_bytes'] / 2**20:,.0f}", pct[1], seconds, pct[2]]


PCT = ("flops_pct", "peak_bytes_pct", "seconds_pct")
HEADS = (
    "backbone", "images", "method", "part", "FLOPs", "of full", "peak MiB", "of full", "seconds",
    "of full",
)  # fmt: skip
NOTE = (
    "Random weights, noise for images, 50 gradient steps of two passes. FLOPs and peak (live "
    "tensors beyond the weights, attention in separate products) are counted. Seconds are those "
    "of one processor thread, measured where `measured_at` in the JSON equals the images, else "
    "scaled by FLOPs from there; fine-tuning is measured on one step. `HyperFlow` looks at all "
    "images, twice; `HyperFlow, spare` at no more than 100, once, 32 at a time, and moves the "
    "class means by the learned Jacobian. The part `drift` is what the paper counts."
)
