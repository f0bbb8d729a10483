"""Few-shot heads beside every other adapter: the question of FLoWN, table 5, and their bill."""

from pathlib import Path
from typing import Annotated

from hyperlab import params
from hyperlab.models import targets
from hyperlab.study import head_tables, timing
from hyperlab.study.heads import HeadsConfig

import typer
from tqdm import tqdm

import script

OUT = Path("results")
ROWS = Path("artifacts/heads")


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="folder to write in")] = OUT,
    rows: Annotated[Path, typer.Option(help="keeps the adapters' rows")] = ROWS,
    data: script.Data = None,
) -> None:
    """Twenty minutes on a processor core; adapters' rows that are there are not made again."""
    config = HeadsConfig.at(scale)
    target = targets.load("vit_micro", subset=params.qkv_biases)
    about = {"command": timing.command(), "scale": scale, "seed": seed}
    about |= {"config": repr(config), "machine": timing.machine()}
    about |= {"versions": timing.versions(["torch", "scikit-learn"])}
    found = head_tables.study(
        target, config, seed=seed, root=data, folder=rows, progress=tqdm
    )
    parts = {
        "heads": ("base_tasks", "base_domains", "seconds", "heads", "domains", "seeds"),
        "adapters": ("adapters", "adapter_domains"),
    }
    for name, keys in parts.items():
        told = about | {key: found[key] for key in keys}
        script.keep(out / f"{name}.json", told, head_tables.MARKDOWN[name](told))
    print(f"wrote heads and adapters, .json and .md, to {out}")


if __name__ == "__main__":
    script.run(main)
