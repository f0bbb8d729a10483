"""Write the model card of every shipped network from what its file says of itself."""

from pathlib import Path
from typing import Annotated

import typer
from safetensors import safe_open

from hyperlab.models import targets
from hyperlab.tasks import domains, synthetic

WHAT = {
    "vit_micro": "The course's frozen backbone: a timm vision transformer of 17 tokens for 32 px "
    "images, pre-trained with labels on photographs and their procedural cousins.",
    "drift_linear": "HyperFlow-L: a drift network fitted to the straight line of each trajectory.",
    "drift_cubic": "HyperFlow-C: a drift network fitted to the cubic spline of each trajectory.",
}
LIMITS = (
    "Made for teaching at 32 px: not a general vision model. The drift networks fit this one "
    "backbone and its qkv biases only."
)


def card(path: Path) -> str:
    """Markdown: what it is, how it was made, and every data set with its licence."""
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
    names = [n for n in eval_names(about.get("domains", "")) if n]
    rows = [f"| {name} | {licence(name)} |" for name in names]
    facts = [
        f"* {key}: `{about[key]}`"
        for key in ("seed", "seconds", "tasks", "config")
        if key in about
    ]
    return "\n".join(
        [
            f"# {path.stem}",
            "",
            WHAT[path.stem],
            "",
            *facts,
            "",
            "| data set | licence |",
            "|---|---|",
        ]
        + [
            *rows,
            "",
            LIMITS,
            "",
            "Figures: `results/`. The images are not part of the repository.",
            "",
        ]
    )


def eval_names(text: str) -> list[str]:
    return [part.strip(" '\"") for part in text.strip("[]").split(",")]


def licence(name: str) -> str:
    if name in synthetic.FAMILIES:
        return "MIT, drawn by hyperlab"
    return domains.CATALOGUE[name].licence or "none stated"


def main(
    folder: Annotated[Path, typer.Option(help="of the networks")] = targets.PRETRAINED,
) -> None:
    """One NAME.md beside every NAME.safetensors."""
    for path in sorted(folder.glob("*.safetensors")):
        path.with_suffix(".md").write_text(card(path))
        print(f"wrote {path.with_suffix('.md')}")


if __name__ == "__main__":
    typer.run(main)
