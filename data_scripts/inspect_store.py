"""Print and draw what is inside a store of trajectories."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from hyperlab.base import ArtifactError, Progress, silent, whole_file
from hyperlab.hyperflow.trajectories import TrajectoryStore
from hyperlab.views import figures

import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script

SAMPLE = 64  # batches whose paths are read; the rest of the numbers comes from all tasks


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found.

    Args:
        damaged: batches that differ from their mark; None: not looked at.
        table: a row per domain.
        losses: support loss of every sound task at every knot.
        lengths: |theta(1) - theta(0)| of the tasks of a sample of batches.
    """

    store: TrajectoryStore
    damaged: list[int] | None
    table: pd.DataFrame
    losses: Float[Tensor, " tasks knots"]
    domain: tuple[str, ...]  # of each sound task
    lengths: Float[Tensor, " sample"]

    @property
    def words(self) -> str:
        """All of it in some lines for a terminal."""
        store, attrs = self.store, self.store.group.attrs
        marks, missing = store.group["mark"].shape[0], store.missing
        teacher = attrs["config"]["teacher"]
        lines = [
            f"{store.path}: {len(store.sound):,} sound tasks of {store.n_rows:,}, "
            f"{store.n_diverged} diverged; {store.n_bytes / 1e9:.2f} GB in memory when full",
            f"target {attrs['target']}, {teacher['steps']} steps of {teacher['lr']:g} "
            f"({teacher['optimiser']}), seed {attrs['config']['seed']}, "
            f"hyperlab {attrs['version']}",
            f"batches: {marks - len(missing)} of {marks} there; missing: {ranges(missing)}; "
            + (
                "not checked"
                if self.damaged is None
                else f"damaged: {ranges(self.damaged)}"
            ),
            "",
            self.table.to_string(index=False),
        ]
        return "\n".join(lines)

    @property
    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The mean support loss of each domain along the way."""
        times = torch.linspace(0, 1, self.losses.shape[1])
        names = np.array(self.domain)
        return {
            name: (times, self.losses[torch.from_numpy(names == name)].mean(0))
            for name in sorted(set(self.domain))
        }


def inspect(
    store: TrajectoryStore, *, check: bool = False, progress: Progress = silent
) -> Inspection:
    """Look at a store; it may be larger than memory.

    Args:
        check: compare every batch with its mark, which reads all of it.

    Raises:
        ArtifactError: nothing is there yet.
    """
    sound, small = store.sound, store.dataset()
    if not len(sound):
        raise ArtifactError(f"{store.path} holds no sound task yet; collect some first")
    names = np.array(store.group.attrs["domains"])
    losses = small["losses"].values[sound]
    facts = pd.DataFrame(
        {
            "domain": names[small["domain"].values[sound]],
            "ways": small["n_way"].values[sound],
            "images": small["n_support"].values[sound],
            "from": losses[:, 0],
            "to": losses[:, -1],
        }
    )
    return Inspection(
        store,
        store.damaged(progress=progress) if check else None,
        by_domain(facts),
        torch.from_numpy(losses),
        tuple(facts["domain"]),
        _lengths(store),
    )


def by_domain(facts: pd.DataFrame) -> pd.DataFrame:
    """Per domain: tasks, ways, support images, and the mean loss before and after."""
    groups = facts.groupby("domain")
    return pd.DataFrame(
        {
            "tasks": groups.size(),
            "ways": groups["ways"].agg(_span),
            "images": groups["images"].agg(_span),
            "loss before": groups["from"].mean().round(3),
            "after": groups["to"].mean().round(3),
        }
    ).reset_index()


def ranges(numbers: Sequence[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"; nothing -> "none"."""
    runs = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ends = [[n for _, n in run] for _, run in runs]
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in ends]
    return ", ".join(parts) or "none"


def _span(column: pd.Series) -> str:
    low, high = column.min(), column.max()
    return f"{low}" if low == high else f"{low}-{high}"


def _lengths(store: TrajectoryStore) -> Float[Tensor, " sample"]:
    there = store.there
    sample = there[:: -(-len(there) // SAMPLE)]
    parts = []
    for batch in sample:
        thetas = torch.from_numpy(store.group["thetas"][store.rows(batch)])
        parts.append((thetas[:, -1] - thetas[:, 0]).norm(dim=1))
    lengths = torch.cat(parts)
    return lengths[lengths.isfinite()]


def main(
    store: Annotated[str, typer.Argument(help="a folder, or an address such as s3://...")],
    check: Annotated[bool, typer.Option(help="read it all and look for damage")] = False,
    out: Annotated[Path, typer.Option(help="the page with the pictures")] = Path(
        "artifacts/store.html"
    ),
) -> None:
    """Domains, losses, distances, missing and damaged batches."""
    opened = TrajectoryStore.open(store)
    found = inspect(opened, check=check, progress=tqdm)
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
