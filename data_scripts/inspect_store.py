"""Print and draw what is inside a store of trajectories."""

from pathlib import Path
from typing import Annotated

from hyperlab.base import whole_file
from hyperlab.hyperflow.trajectories import TrajectoryStore
from hyperlab.study import inspection, script
from hyperlab.views import figures

import typer
from tqdm import tqdm


def main(
    store: Annotated[str, typer.Argument(help="a folder, or an address such as s3://...")],
    check: Annotated[bool, typer.Option(help="read it all and look for damage")] = False,
    out: Annotated[Path, typer.Option(help="the page with the pictures")] = Path(
        "artifacts/store.html"
    ),
) -> None:
    """Domains, losses, distances, missing and damaged batches."""
    opened = TrajectoryStore.open(store)
    found = inspection.inspect(opened, check=check, progress=tqdm)
    print(found.words)
    losses = figures.lines(
        found.curves, x_title="t (0: pre-trained, 1: fine-tuned)", y_title="support loss"
    ).update_layout(title="Mean support loss of each domain")
    fall = found.losses[:, -1] / found.losses[:, 0]
    spread = figures.histograms(
        {"distance moved": found.lengths, "loss after / before": fall}
    ).update_layout(title="Every task")
    parts = [losses.to_html(full_html=False), spread.to_html(False, include_plotlyjs=False)]
    text = f"<!doctype html><meta charset=utf-8><title>{store}</title>"
    text += f"<pre>{found.words}</pre>{''.join(parts)}"
    with whole_file(out) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
