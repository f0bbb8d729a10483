"""Print every table of results/ again from its figures, without measuring anything."""

from pathlib import Path
from typing import Annotated

from hyperlab.base import whole_file
from hyperlab.study import printed, script

import typer


def main(
    folder: Annotated[Path, typer.Option(help="of the JSON files")] = Path("results"),
) -> None:
    """NAME.json -> NAME.md, and NAME.html where there is a page; a second."""
    for path in sorted(folder.glob("*.json")):
        for out, text in printed.texts(path).items():
            with whole_file(out) as draft:
                draft.write_text(text, encoding="utf-8")
            print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
