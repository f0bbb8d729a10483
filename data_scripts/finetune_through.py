"""A zoo's generator fine-tuned on another data set, beside plain training: table 4 of FLoWN."""

import json
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab.base import ConfigError
from hyperlab.study import script, through, through_tables, timing

OUT = Path("results/through.json")
PAIRS = "digits:glyphs,glyphs:digits"


def main(
    pairs: Annotated[str, typer.Option(help="base:target, with commas")] = PAIRS,
    scale: script.Scale = "laptop",
    stops: Annotated[bool, typer.Option(help="also every t'")] = False,
    out: Annotated[Path, typer.Option(help="to write; pairs in it are left out")] = OUT,
    data: script.Data = None,
) -> None:
    """Some minutes a pair. A base is digits, glyphs or objects, or the store of a zoo."""
    config = through.StudyConfig.at(scale)
    about = {"command": script.command(), "config": repr(config)}
    about |= {"machine": timing.machine(), "versions": timing.versions(["torch"])}
    found = json.loads(out.read_text()) if out.exists() else {"pairs": {}}
    for pair in tqdm(script.words(pairs), desc="pairs"):
        base, colon, target = pair.rpartition(":")
        if not colon:
            raise ConfigError(f"a pair is base:target, e.g. digits:glyphs; got {pair!r}")
        name = f"{Path(base).stem.removeprefix('zoo_')} to {target}"
        if name not in found["pairs"]:
            how = {"stops": stops, "root": data, "progress": tqdm}
            rows = through.study(base, target, config, **how)
            found["pairs"][name] = {"about": about, **rows}
        script.keep(out, found, through_tables.markdown(found["pairs"]))
    print(f"wrote {out} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    script.run(main)
