"""Write the model card of every shipped network and the table of domains."""

from pathlib import Path
from typing import Annotated

from hyperlab.base import PRETRAINED, whole_file
from hyperlab.study import cards, script

import typer


def main(
    folder: Annotated[Path, typer.Option(help="of the networks")] = PRETRAINED,
    out: Annotated[Path, typer.Option(help="the table of domains")] = Path(
        "results/domains.md"
    ),
) -> None:
    """NAME.md beside every NAME.safetensors, and which domain is used for what."""
    texts = {
        path.with_suffix(".md"): cards.model_card(path)
        for path in folder.glob("*.safetensors")
    }
    texts[out] = cards.roles_table()
    for path, text in sorted(texts.items()):
        with whole_file(path) as draft:
            draft.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    script.run(main)
