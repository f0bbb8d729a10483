"""A zoo's generator fine-tuned on another data set, beside plain training: table 4 of FLoWN."""

from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, distinct
from hyperlab.study import generators, through, through_tables, timing
from hyperlab.weights import zoo_store

import typer
from tqdm import tqdm

import kept
import script

OUT = Path("results/through.json")
PAIRS = "digits:glyphs,glyphs:digits"


def main(
    pairs: Annotated[str, typer.Option(help="base:target, with commas")] = PAIRS,
    scale: script.Scale = "laptop",
    stops: Annotated[bool, typer.Option(help="also every t'")] = False,
    out: Annotated[
        Path, typer.Option(help="to write; what it has of just this is kept")
    ] = OUT,
    data: script.Data = None,
) -> None:
    """Some minutes a pair. A base is digits, glyphs or objects, or the store of a zoo."""
    config = through.StudyConfig.at(scale)
    about = {"command": timing.command(), "config": repr(config)}
    about |= {"machine": timing.machine(), "versions": timing.versions(["torch"])}
    found, asked = script.joined(out, "pairs"), []
    for pair in script.words(pairs):  # all of them are there before the first is measured
        base, colon, target = pair.rpartition(":")
        if not colon:
            raise ConfigError(f"a pair is base:target, e.g. digits:glyphs; got {pair!r}")
        zoo = zoo_store.find_zoo(base)
        if target == zoo.dataset:
            raise ConfigError(f"{pair}: its networks know {target}; name another data set")
        name = f"{Path(base).stem.removeprefix('zoo_')} to {target}"
        images = {target: through.images_for(zoo, target, root=data)}
        images[zoo.dataset] = generators.images_of(zoo, config.n_eval, root=data)
        asked.append((name, base, target, kept.made_of(zoo, images, config, stops=stops)))
    distinct([name for name, *_ in asked], "pairs")
    for name, base, target, made_of in tqdm(asked, desc="pairs"):
        if not kept.current(found["pairs"].get(name), made_of, name):
            how = {"stops": stops, "root": data, "progress": tqdm}
            rows = through.study(base, target, config, **how)
            found["pairs"][name] = {"about": about, "made_of": made_of, **rows}
        script.keep(out, found, through_tables.markdown(found["pairs"]))
    print(f"wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    script.run(main)
