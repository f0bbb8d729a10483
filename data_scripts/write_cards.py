"""Write the model card of every shipped network and the table of domains."""

from pathlib import Path
from typing import Annotated

from hyperlab import checkpoint
from hyperlab.base import PRETRAINED, whole_file
from hyperlab.tasks import domains, roles
from hyperlab.tasks.drawn import synthetic

import typer

import script

WHAT = {
    "vit_micro": "The course's frozen backbone: a timm vision transformer of 17 tokens for 32 px "
    "images, pre-trained with labels on photographs and their procedural cousins, then on "
    "rehearsals: one gradient step of the qkv biases on half of a group of images, differentiated.",
    "jacobian_flow": "Jacobian flow: a learned Jacobian, how an image's feature answers to the qkv "
    "biases, guessed from one frozen forward pass; and the pace of recorded fine-tuning.",
    "hyperflow_linear": "HyperFlow-L: the paper's h(theta, t | S), regressed on straight lines "
    "from the pre-trained to the fine-tuned values of recorded tasks.",
    "context": "A set encoder of CAML's kind on features of `vit_micro`, for ten classes at most: "
    "what a generator of networks is told of a data set. Half precision.",
    "zoo_digits": "A hundred `cnn_small` that read scikit-learn's digits, each from first weights "
    "of its own, after 2 and after 10 epochs, in half precision.",
    "zoo_glyphs": "A hundred `cnn_small` for ten drawn characters, after 10 epochs, in half "
    "precision.",
    "zoo_objects": "A hundred `cnn_small` for ten drawn things in colour, after 10 epochs, in half "
    "precision.",
}
LIMITS = (
    "Made for teaching at 32 px: not a general vision model. The drift networks fit this one "
    "backbone and its qkv biases only. Accuracies: `results/`. The images themselves are not part "
    "of the repository."
)
POPULATION = (
    "Made to be studied as a population, not to be used. Accuracies are in the file."
)
FACTS = (
    "command",
    "seed",
    "seconds",
    "tasks",
    "config",
    "pace",
    "validation",
    "right_share",
)


def model_card(path: Path) -> str:
    """Markdown: what a network is, how it was made, and every data set with its licence."""
    about = checkpoint.about(path)
    facts = [f"* {key}: `{about[key]}`" for key in FACTS if key in about]
    rows = [f"| {name} | {licence(name)} |" for name in listed(about.get("domains", ""))]
    head = [f"# {path.stem}", "", WHAT[path.stem], "", *facts, ""]
    limits = POPULATION if path.stem.startswith("zoo") else LIMITS
    return "\n".join([*head, "| data set | licence |", "|---|---|", *rows, "", limits, ""])


def listed(text: str) -> list[str]:
    """The names in the text of a Python list or tuple of strings."""
    return [name for part in text.strip("[]()").split(",") if (name := part.strip(" '\""))]


def licence(name: str) -> str:
    """The licence of a real domain as its source states it, or that of our own drawings."""
    if name in synthetic.FAMILIES:
        return "MIT, drawn by hyperlab"
    return domains.CATALOGUE[name].licence or "none stated"


def roles_table() -> str:
    """Which domain is used for what, one row a domain."""
    used = {role: {s.name: s for s in sources} for role, sources in roles.COURSE.items()}
    names = dict.fromkeys(name for sources in used.values() for name in sources)
    lines = [
        "# Which domain is used for what",
        "",
        "| domain | licence | " + " | ".join(used) + " |",
        "|---" * (2 + len(used)) + "|",
    ]
    for name in names:
        cells = " | ".join(_part(sources.get(name)) for sources in used.values())
        lines.append(f"| {name} | {licence(name)} | {cells} |")
    return "\n".join([*lines, ""])


def _part(source: roles.Source | None) -> str:
    if source is None:
        return ""
    if source.classes:
        return f"classes {source.classes[0]} to {source.classes[1] - 1}"
    return f"{source.split} split" if source.split else "all"


def main(
    folder: Annotated[Path, typer.Option(help="of the networks")] = PRETRAINED,
    out: Annotated[Path, typer.Option(help="the table of domains")] = Path(
        "results/domains.md"
    ),
) -> None:
    """NAME.md beside every NAME.safetensors, and which domain is used for what."""
    texts = {
        path.with_suffix(".md"): model_card(path) for path in folder.glob("*.safetensors")
    }
    texts[out] = roles_table()
    for path, text in sorted(texts.items()):
        with whole_file(path) as draft:
            draft.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    script.run(main)
