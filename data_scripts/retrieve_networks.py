"""One generator for several data sets, told support images: table 2 of FLoWN at our scale."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.identity import checksum
from hyperlab.study import retrieval, retrieval_tables, timing
from hyperlab.weights import zoo_store

import typer
from tqdm import tqdm

import script

OUT = Path("results/retrieval.json")
KINDS = "caml,means,one-hot,nothing"


def main(
    zoos: Annotated[str, typer.Option(help="shipped or stores")] = "digits,glyphs,objects",
    scale: script.Scale = "laptop",
    seeds: Annotated[str, typer.Option(help="of encoder and flow")] = "0,1,2",
    kinds: Annotated[str, typer.Option(help="of context, the main one first")] = KINDS,
    prior: Annotated[str, typer.Option(help="one more zoo, as a prior")] = "",
    steps: Annotated[str, typer.Option(help="of encoder and flow; none: the scale's")] = "",
    out: Annotated[Path, typer.Option(help="to write; seeds in it are left out")] = OUT,
    data: script.Data = None,
) -> None:
    """Every seed is kept as soon as it is done; the same command goes on."""
    config = retrieval.RetrievalConfig.at(scale)
    if steps:
        vae, flow = script.numbers(steps, "--steps", n=2)
        config = replace(
            config,
            vae=replace(config.vae, steps=vae),
            flow=replace(config.flow, steps=flow),
        )
    wanted = script.numbers(seeds, "--seeds")
    same = {"config": repr(config), "zoos": zoos, "kinds": kinds, "prior": prior}
    retrieval_tables.begun(out, same)  # before the work
    sets = retrieval.open_sets(script.words(zoos), config, root=data, progress=tqdm)
    other = zoo_store.find_zoo(prior) if prior else None
    same["checksums"] = ", ".join([f"{part.name} {checksum(part)}" for part in sets])
    same["prior networks"] = checksum(other and other.w)
    rows = retrieval_tables.begun(out, same)
    about = {"command": timing.command(), **same}
    about |= {"machine": timing.machine(), "versions": timing.versions(["torch"])}
    how = {"other": other, "progress": tqdm}
    done = {row["seed"] for row in rows}
    for seed in [seed for seed in wanted if seed not in done]:
        rows += retrieval.study(sets, script.words(kinds), config, seed=seed, **how)
        found = {"about": about, "rows": rows}
        script.keep(out, found, retrieval_tables.markdown(found))
    print(f"wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    script.run(main)
