"""Record how many tasks are fine-tuned: the data of the drift network. Resumes where it stopped."""

from dataclasses import replace
from typing import Annotated

from hyperlab.evaluation import methods
from hyperlab.hyperflow import collect
from hyperlab.models import targets

import typer
from tqdm import tqdm

import script


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[
        str, typer.Option(help="the store: a folder, or an address such as s3://...")
    ] = "artifacts/trajectories",
    device: script.Device = "auto",
    data: script.Data = None,
    role: Annotated[
        str, typer.Option(help="of the domains, see tasks/roles.py")
    ] = "trajectories",
    protocol: Annotated[str, typer.Option(help="of the episodes; empty: the scale's")] = "",
    other: Annotated[str, typer.Option(help="the protocol of some of the episodes")] = "",
    mixed: Annotated[float, typer.Option(help="and their share")] = 0.1,
    perturbed: Annotated[
        float, typer.Option(help="share of the tasks that start beside theta0")
    ] = 0.0,
    n_tasks: Annotated[int, typer.Option(help="trajectories; 0: the scale's")] = 0,
    share: script.Share = "0/1",
    workers: script.Workers = 0,
    scheduler: script.Scheduler = "",
    backbone: script.Backbone = "vit_micro",
    image_size: script.ImageSize = 0,
    steps: Annotated[
        str, typer.Option(help="fine-tuning, e.g. 50x0.001 adam; empty: the scale's")
    ] = "",
    tf32: Annotated[bool, typer.Option(help="shorter products on a GPU")] = False,
) -> None:
    """Minutes to days, see data_scripts/README.md; on two CPU cores about a task a second."""
    place = script.place("cpu" if scheduler else device)  # a worker uses its own
    executor = script.executor(share, workers, scheduler, place)
    on_cpu = place.type == "cpu" and not scheduler
    script.no_effect("--tf32", when=on_cpu, why="a processor has no such products")
    target = targets.load(backbone, image_size=image_size or None).to(place)
    config = replace(collect.CollectConfig.at(scale), role=role, seed=seed)
    config = replace(config, size=target.image_size, n_tasks=n_tasks or config.n_tasks)
    if protocol:
        config = replace(config, protocol=protocol, mixed=0.0)
    script.no_effect("--mixed", when=not other, why="without --other all are of one kind")
    if other:
        config = replace(config, other=other, mixed=mixed)
    if role != "trajectories":
        config = replace(config, styled=0.0)
    if steps:
        config = replace(config, teacher=methods.tuning(steps).config)
    teacher = replace(config.teacher, perturbed=perturbed, tf32=tf32)
    config = replace(config, teacher=teacher)
    options = {"executor": executor, "root": data, "progress": tqdm}
    store = collect.collect(target, out, config, **options)
    counts = f"{len(store.missing)} batches missing, {store.n_diverged} tasks diverged"
    print(f"wrote {out}: {config.n_tasks} tasks, {counts}")


if __name__ == "__main__":
    script.run(main)
