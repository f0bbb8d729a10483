"""Pre-train the course's backbone `vit_micro` and write it as safetensors."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab import base, checkpoint
from hyperlab.models import pretrain, targets
from hyperlab.tasks import roles

import typer
from tqdm import tqdm

import script


def main(
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="the file to write")] = targets.SHIPPED,
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    rehearse: Annotated[bool, typer.Option(help="bias-tuning in phase two")] = True,
) -> None:
    """Supervised, on the domains of the role `pretrain`; CPU, two cores: about 8 minutes."""
    started = time.perf_counter()
    config = replace(pretrain.PretrainConfig.at(scale), rehearse=rehearse)
    found = list(roles.open_role("pretrain", root=data, progress=tqdm))
    model = pretrain.pretrain(
        [domain for _, domain in found],
        [source.weight for source, _ in found],
        config,
        generator=base.stream(seed, "pretrain"),
        progress=tqdm,
    )
    seconds = time.perf_counter() - started
    about = {"seed": seed, "seconds": round(seconds), "config": config}
    about["domains"] = [source.name for source, _ in found]
    words = {key: str(value) for key, value in about.items()}
    checkpoint.save(out, targets.KIND, model, {"name": "vit_micro"}, words)
    print(f"wrote {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    script.run(main)
