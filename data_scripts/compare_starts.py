"""Generated networks as starts of fine-tuning, against others: table 3 of FLoWN at our scale."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import distinct
from hyperlab.study import start_tables, starts, timing

import typer
from tqdm import tqdm

import kept
import script

OUT = Path("results/starts.json")


def main(
    zoos: Annotated[str, typer.Option(help="stores or shipped zoos, with commas")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    unseen: Annotated[
        str, typer.Option(help="data sets, or none; empty: those known")
    ] = "",
    out: Annotated[Path, typer.Option(help="to write; joins what is in it")] = OUT,
    data: script.Data = None,
    images: Annotated[int, typer.Option(help="of an epoch; 0: the scale's")] = 0,
    place: Annotated[str, typer.Option(help="epoch of the zoo: middle or last")] = "middle",
    last: Annotated[int, typer.Option(help="epoch; 0: the scale's")] = 0,
) -> None:
    """Some minutes a data set on one core. What is there of just this is not done again."""
    config = replace(starts.StartsConfig.at(scale), place=place)
    if images:
        config = replace(config, n_train=images)
    if last:
        reported = tuple(epoch for epoch in config.epochs if epoch <= last)
        config = replace(config, epochs=reported)
    about = {"command": timing.command(), "seed": seed, "config": repr(config)}
    about |= {"machine": timing.machine(), "versions": timing.versions(["torch", "scipy"])}
    found = script.joined(out, "zoos")
    distinct([Path(path).stem for path in script.words(zoos)], "names of zoos")
    others, parts = () if unseen == "none" else script.words(unseen) or None, {}
    for path in script.words(zoos):  # all is there before the first is measured
        zoo, trained = starts.opened(path)
        starts.at(zoo, place)  # an error for one run's checkpoints
        images = starts.images(zoo, trained.recipe, config, others, root=data)
        parts[path] = kept.made_of(zoo, images, config, seed=seed)
    for path, made_of in parts.items():
        name = f"{Path(path).stem}, {starts.named(config)}"
        same = {"seed": seed, "root": data}
        if not kept.current(found["zoos"].get(name), made_of, name):
            rows = starts.study(path, config, others, **same, progress=tqdm)
            found["zoos"][name] = {"about": about, "made_of": made_of, **rows}
        script.keep(out, found, start_tables.markdown(found["zoos"]))
    print(f"wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    script.run(main)
