"""What adapting to one task costs, part by part, beside full fine-tuning; JSON and table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from hyperlab.base import Progress, choose, silent
from hyperlab.evaluation import claims
from hyperlab.evaluation.audit import (
    LOOKS,
    MODELS,
    SPARE,
    STEPS,
    TUNED,
    VIEWS,
    WHOLE,
    Job,
    Measured,
    apart,
    before_any_task,
    counted,
    measure,
    offline_minutes,
    whole,
)
from hyperlab.evaluation.budget import BACKBONES, Plan, break_even
from hyperlab.evaluation.cost import Count
from hyperlab.evaluation.tables import Row, table

import typer
from tqdm import tqdm

import script
import study

ALL = "all"
# How Jacobian flow looks -> the row of results/contexts.json that has seen as much: its accuracy.
ACCURACY = {WHOLE: "Jacobian flow", SPARE: "Jacobian flow, quarter, pushed"}
# How Jacobian flow looks -> its gain over no adaptation, +-.
Gains = Mapping[str, tuple[float, float]]


def gains(stem: Path | str) -> dict[str, tuple[float, float]]:
    """What each way to look gains over no adaptation that sees all images, by `claims.read`.

    Raises:
        DataMissingError: there is no such table.
    """
    found, _ = claims.read(stem)
    rows = found[found.domain == "all"].set_index("method")
    return {
        look: (float(rows.gain[name]), float(rows.gain_pm[name]))
        for look, name in ACCURACY.items()
    }


def rows_of(job: Job, found: Mapping[str, Count], run: Measured | None) -> list[Row]:
    """A row for the whole and for every part; the whole has what was timed, if it was run."""
    head = {"backbone": job.backbone, "n_images": job.n_images, "method": job.method}
    listed = {ALL: whole(found)} | (found if len(found) > 1 else {})
    rows = [{**head, "part": part, **asdict(c)} for part, c in listed.items()]
    if run:
        measured = {"measured_seconds": run.seconds, "measured_peak_bytes": run.peak_bytes}
        measured |= {"measured_flops": called_flops(job, rows[0]["flops"])}
        rows[0] |= measured | {"repeats": run.repeats}
    return rows


def called_flops(job: Job, flops: int) -> float:
    """Of the call that was timed: a gradient step and the loss after it, or all of the flow."""
    if job.method not in TUNED:
        return float(flops)
    each = BACKBONES[job.backbone].features(MODELS[job.backbone][1])
    return flops / STEPS + VIEWS * job.n_images * each


def estimated(table: list[Row]) -> list[Row]:
    """Seconds of all steps, by FLOPs, from the call that was timed: this row's or a smaller one's.

    What was timed stays as it is, in `measured_seconds`; an estimate says from how many images.
    """
    for row in table:
        timed = (r for r in table if "measured_seconds" in r and same(r, row))
        if row["part"] == ALL and (source := next(timed, None)):
            per_flop = source["measured_seconds"] / source["measured_flops"]
            row["estimated_seconds"] = row["flops"] * per_flop
            row["estimated_from"] = source["n_images"]
    return table


def same(a: Row, b: Row) -> bool:
    return all(a[key] == b[key] for key in ("backbone", "method", "part"))


def shares(table: list[Row]) -> list[Row]:
    """Every figure in per cent of full fine-tuning's, same backbone and same images."""
    for row in table:
        rival = find(table, row["backbone"], row["n_images"], "full fine-tuning")
        for name in ("flops", "peak_bytes", "estimated_seconds"):
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


def bars(table: list[Row], device: str, gains: Gains) -> list[Row]:
    """What the audit set out to show, at the last backbone and the most images.

    A bar is met by a way to look that stays within it *and* gains over no adaptation; without a
    gain in `gains` (of `vit_micro`, `gains`) it is not judged.
    """
    backbone, n_images = table[-1]["backbone"], max(row["n_images"] for row in table)
    found = []
    for look in LOOKS:
        row = find(table, backbone, n_images, look)
        drift = find(table, backbone, n_images, look, "drift")
        time_pct = row.get("estimated_seconds_pct") if device != "cpu" else None
        gain = gains.get(look)
        for name, limit, pct in (
            ("FLOPs, everything", 0.1, row["flops_pct"]),
            ("peak memory beyond the weights, everything", 6.0, row["peak_bytes_pct"]),
            ("time on an accelerator, everything", 0.02, time_pct),
            ("FLOPs, drift alone", 0.005, drift["flops_pct"]),
        ):
            judged = pct is not None and gain is not None
            bar = {"bar": name, "method": look, "limit_pct": limit, "found_pct": pct}
            is_met = pct <= limit and gain[0] > 0 if judged else None
            found.append({**bar, "gain": gain and list(gain), "met": is_met})
    return found


def paid_off(table: list[Row]) -> list[Row]:
    """Tasks after which the offline work has paid off, by processor seconds and by FLOPs.

    Of Jacobian flow that looks at all images, twice: the one whose accuracy the tables are about.
    """
    offline_s = 2 * 60 * before_any_task()
    n_images = max(row["n_images"] for row in table)
    own = find(table, "vit_micro", n_images, WHOLE)["estimated_seconds"]
    plan, rows = Plan(), []
    own_flops = sum(plan.flow().values())
    for rival in ("full fine-tuning", "bias-tuning"):
        seconds = find(table, "vit_micro", n_images, rival)["estimated_seconds"]
        after = break_even(offline_s, seconds, own)
        facts = {
            "rival": rival,
            "offline": "ours: minutes measured, seconds a task estimated",
        }
        rows.append({**facts, "backbone": "vit_micro", "tasks": after})
    for rival, what in (("full fine-tuning", "everything"), ("bias-tuning", "biases")):
        flops = plan.recording(40_000), plan.fine_tuning(what), own_flops
        after = break_even(*map(float, flops))
        facts = {"rival": rival, "offline": "40,000 recordings, counted"}
        rows.append({**facts, "backbone": plan.backbone, "tasks": after})
    return rows


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
    jobs: Sequence[Job],
    timed: Sequence[Job],
    gains: Gains,
    *,
    workers: int,
    progress: Progress = silent,
) -> dict[str, object]:
    """The whole audit, ready for JSON; every job in a process of its own, `workers` at once."""
    ran = progress(
        apart(measure, timed, workers=workers), total=len(timed), desc="measured"
    )
    runs = dict(zip(timed, ran, strict=True))
    counts = progress(
        apart(counted, jobs, workers=workers), total=len(jobs), desc="counted"
    )
    pairs = zip(jobs, counts, strict=True)
    table = [row for job, found in pairs for row in rows_of(job, found, runs.get(job))]
    return derived(table, jobs[0].device, gains)


def derived(table: list[Row], device: str, gains: Gains) -> dict[str, object]:
    """All that follows from what was counted and measured: estimates, shares, bars, break-even."""
    table = shares(estimated(table))
    return {
        "rows": table,
        "bars": bars(table, device, gains),
        "offline_minutes": {k: round(m, 1) for k, m in offline_minutes().items()},
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
        pct, is_met = bar["found_pct"], {True: "yes", False: "no", None: ""}[bar["met"]]
        share = "not measured" if pct is None else f"{pct:.3g} %"
        gain = (
            "{:+.1f} ± {:.1f}".format(*(100 * x for x in bar["gain"]))
            if bar["gain"]
            else ""
        )
        bars.append(
            [bar["bar"], f"{bar['limit_pct']:g} %", bar["method"], share, gain, is_met]
        )
    heads = (
        "bar, in per cent of full fine-tuning", "limit", "method", "found",
        "its gain over no adaptation, percentage points", "met",
    )  # fmt: skip
    lines += ["", *table(heads, bars), "", JUDGED]
    heads = ("paid off against", "offline cost", "backbone", "after tasks")
    rows = [
        [row["rival"], row["offline"], row["backbone"], f"{row['tasks']:,.0f}"]
        for row in found["break_even"]
    ]
    minutes = ", ".join(f"{what} {m:.0f}" for what, m in found["offline_minutes"].items())
    return "\n".join([*lines, "", *table(heads, rows), "", f"{OFFLINE} {minutes}."]) + "\n"


def _cells(row: Row) -> list[object]:
    pct = [f"{row[k]:.3g} %" if k in row else "" for k in PCT]
    cells = [row[k] for k in ("backbone", "n_images", "method", "part")]
    cells += [f"{row['flops']:.4g}", pct[0], f"{row['peak_bytes'] / 2**20:,.0f}", pct[1]]
    seconds = [f"{row[k]:.3g}" if k in row else "" for k in SECONDS]
    return [*cells, *seconds, pct[2]]


PCT = ("flops_pct", "peak_bytes_pct", "estimated_seconds_pct")
SECONDS = ("measured_seconds", "estimated_seconds")
HEADS = (
    "backbone", "images", "method", "part", "FLOPs", "of full", "peak MiB", "of full",
    "measured: seconds of one call", "estimated: seconds of all steps", "of full",
)  # fmt: skip
NOTE = (
    "Random weights, noise for images, 50 gradient steps of two passes. FLOPs and peak (live "
    "tensors beyond the weights, attention in separate products) are counted. Seconds are those "
    "of one processor thread. Measured is one call: all of the flow, or one gradient step of "
    "fine-tuning and the loss after it. Estimated are all steps, by FLOPs, from the call of the "
    "same method that was measured, with fewer images where this row has none. `Jacobian flow` "
    "runs the backbone over all images, twice; `Jacobian flow, spare` over no more than 100, "
    "once, 32 at a time, and moves the class means by the learned Jacobian. The part `drift` is "
    "what the paper counts."
)
JUDGED = (
    "A bar is met by what stays within it and gains over no adaptation that sees all images. The "
    "gains are those of `vit_micro` on validation domains (results/contexts.md, all images twice, "
    "and a quarter of them with both savings), the costs those of the backbone above."
)
OFFLINE = (
    "Offline, in minutes on two processor cores (networks' as on their cards in "
    "hyperlab/pretrained/; the backbone's is left out of the break-even, fine-tuning needs it "
    "too):"
)


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: vit_micro, 5 and 10 images; laptop, paper: all")
    ] = "laptop",
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/cost"),
    device: script.Device = "cpu",
    repeats: Annotated[int, typer.Option(help="timed calls; the median counts")] = 5,
    workers: Annotated[
        int, typer.Option(help="processes at once; 1 on an accelerator")
    ] = 1,
    accuracy: Annotated[
        Path, typer.Option(help="stem of compare_contexts.py's table: judges the bars")
    ] = Path("results/contexts"),
    again: Annotated[
        Path | None, typer.Option(help="an audit's JSON: derive the rest anew, run nothing")
    ] = None,
) -> None:
    """Counts everything, times what a processor can run. CPU, one core: 10 minutes."""
    given = ("--scale", "--device", "--repeats", "--workers")
    script.no_effect(*given, when=again, why="--again runs nothing")
    device = str(script.place(device))
    gained = gains(accuracy)
    if again:
        facts = json.loads(again.read_text(encoding="utf-8"))
        facts |= derived(facts["rows"], facts["device"], gained)
        study.write(out.with_suffix(".json"), facts, markdown(facts))
        return
    jobs, timed = plan_of(scale, device, repeats)
    found = report(jobs, timed, gained, workers=workers, progress=tqdm)
    facts = study.about("torch", "timm", scale=scale, device=device) | found
    study.write(out.with_suffix(".json"), facts, markdown(facts))
    print(f"wrote {out}.json and {out}.md")


if __name__ == "__main__":
    script.run(main)
