"""What encoders keep of zoos, and what generators make of them: table 1 of FLoWN at our scale."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, distinct
from hyperlab.study import generator_tables, generators, timing
from hyperlab.weights import zoo_store

import typer
from tqdm import tqdm

import kept
import script

OUT = Path("results/generators.json")


def main(
    zoos: Annotated[str, typer.Option(help="stores or files, with commas")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    encoders: Annotated[str, typer.Option(help="that generators use")] = "VAE,graph",
    again: Annotated[str, typer.Option(help="encoders to measure anew, with ;")] = "",
    steps: Annotated[int, typer.Option(help="of flow and diffusion; 0: the scale's")] = 0,
    out: Annotated[
        Path, typer.Option(help="to write; what it has of just this is kept")
    ] = OUT,
    data: script.Data = None,
) -> None:
    """Some minutes a zoo; of one whose rows are there only `again`, or nothing, is measured."""
    config = generators.GeneratorsConfig.at(scale)
    config = replace(config, flow=replace(config.flow, steps=steps or config.flow.steps))
    about = {"command": timing.command(), "seed": seed, "config": repr(config)}
    about |= {"machine": timing.machine(), "versions": timing.versions(["torch", "scipy"])}
    found = script.joined(out, "zoos")
    script.no_effect("--encoders", when=again, why="--again names those to measure")
    distinct([Path(path).stem for path in script.words(zoos)], "names of zoos")
    names, parts = again.split(";") if again else script.words(encoders), {}
    for path in script.words(zoos):  # all is there before the first is measured
        if again and (name := Path(path).stem) not in found["zoos"]:
            raise ConfigError(f"{out} has no rows of {name}: leave out --again")
        zoo = zoo_store.find_zoo(path)
        images = {zoo.dataset: generators.images_of(zoo, config.n_eval, root=data)}
        parts[path] = kept.made_of(zoo, images, config, seed=seed, encoders=encoders)
    for path, made_of in tqdm(parts.items(), desc="zoos"):
        key, same = Path(path).stem, {"seed": seed, "root": data}
        told = found["zoos"].get(key)
        if again:
            kept.require_same(told, made_of, key)
            rows = generators.again(path, told, config, names, **same)
            rows["again"] = told.get("again", {}) | dict.fromkeys(names, about)
            found["zoos"][key] = rows
        elif not kept.current(told, made_of, key):
            rows = generators.study(path, config, names, **same, progress=tqdm)
            found["zoos"][key] = {"about": about, "made_of": made_of, **rows}
        script.keep(out, found, generator_tables.markdown(found["zoos"]))
    print(f"wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    script.run(main)
