"""What encoders keep of zoos, and what generators make of them: table 1 of FLoWN at our scale."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab.study import generator_tables, generators, script, timing

OUT = Path("results/generators.json")


def main(
    zoos: Annotated[str, typer.Option(help="stores or files, with commas")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    encoders: Annotated[str, typer.Option(help="that generators use")] = "VAE,graph",
    again: Annotated[str, typer.Option(help="encoders to measure anew, with ;")] = "",
    steps: Annotated[int, typer.Option(help="of flow and diffusion; 0: the scale's")] = 0,
    out: Annotated[Path, typer.Option(help="to write; zoos in it are left out")] = OUT,
    data: script.Data = None,
) -> None:
    """Some minutes a zoo. Of a zoo whose rows are there only `again` is measured."""
    config = generators.GeneratorsConfig.at(scale)
    config = replace(config, flow=replace(config.flow, steps=steps or config.flow.steps))
    about = {"command": script.command(), "seed": seed, "config": repr(config)}
    about |= {"machine": timing.machine(), "versions": timing.versions(["torch", "scipy"])}
    found = json.loads(out.read_text()) if out.exists() else {"zoos": {}}
    for path in tqdm(script.words(zoos), desc="zoos"):
        key, same = Path(path).stem, {"seed": seed, "root": data}
        if key in found["zoos"] and again:
            told, names = found["zoos"][key], again.split(";")
            rows = generators.again(path, told, config, names, **same)
            rows["again"] = told.get("again", {}) | dict.fromkeys(names, about)
        elif key not in found["zoos"]:
            names = script.words(encoders)
            rows = {"about": about}
            rows |= generators.study(path, config, names, **same, progress=tqdm)
        else:
            rows = found["zoos"][key]
        found["zoos"][key] = rows
        script.keep(out, found, generator_tables.markdown(found["zoos"]))
    print(f"wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    script.run(main)
