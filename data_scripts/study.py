"""A study: key -> row in one file, each measured once, and one table of them for people."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hyperlab.base import ConfigError, differences, whole_file
from hyperlab.evaluation import timing
from hyperlab.evaluation.tables import Row
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.trajectories import TrajectoryStore
from hyperlab.identity import checksum
from hyperlab.models.targets import Target
from hyperlab.weights.recipes import Splits
from hyperlab.weights.zoo import Zoo

from tqdm import tqdm

LOG = logging.getLogger(__name__)
Parts = Mapping[str, object]
DATA = ("networks", "data", "seed")  # parts that rows beside each other have in common


@dataclass(frozen=True)
class Study:
    """What a script measures row by row, and goes on with.

    Args:
        part: what the file calls its rows, e.g. "zoos".
        markdown: the table of all rows.
        joint: it averages over rows, so that all have to depend on the same.
    """

    part: str
    markdown: Callable[[Mapping[str, Row]], str]
    joint: bool = False

    def text(self, content: Mapping[str, Mapping[str, Row]]) -> str:
        """The table of a file's content."""
        return self.markdown(content[self.part])

    def begun(self, path: Path) -> dict[str, Row]:
        """The rows of a file that this run adds to; none without a file.

        Raises:
            ConfigError: another script wrote the file.
        """
        if not path.exists():
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
        if self.part not in content:
            raise ConfigError(
                f"{path} has {list(content)} and no {self.part!r}: another script wrote it; "
                "take another --out"
            )
        return content[self.part]

    def run(
        self,
        path: Path,
        asked: Mapping[str, Parts],
        measure: Callable[[str], Row],
        about: Parts,
        again: Callable[[str, Row], Row] | None = None,
    ) -> None:
        """Measure what the file does not have yet; every row is written as soon as it is there.

        Args:
            asked: what each row depends on, by key.
            about: of this run, kept with every row.
            again: makes a row of the one in the file instead, with parts of it measured anew.
        """
        rows = self.begun(path)
        for parts in asked.values() if self.joint else ():
            require_all_same(rows, parts)
        for key, parts in tqdm(asked.items(), desc=self.part):
            if again:
                require_same(rows[key], parts, key)
                rows[key] = again(key, rows[key])
            elif not current(rows.get(key), parts, key):
                rows[key] = {"about": about, "made_of": parts, **measure(key)}
            write(path, {self.part: rows}, self.markdown(rows))
        print(f"wrote {path} and {path.with_suffix('.md')}")


def write(path: Path, content: object, table: str = "") -> None:
    """Facts as `path`, JSON, and a table for people beside it, as .md; each file whole."""
    texts = {path: json.dumps(content, indent=1) + "\n", path.with_suffix(".md"): table}
    for out, text in texts.items():
        if text:
            with whole_file(out) as draft:
                draft.write_text(text, encoding="utf-8")


def about(*packages: str, **facts: object) -> Row:
    """What stands beside every number: command, facts, machine and versions of packages."""
    found = {"command": timing.command(), **facts, "machine": timing.machine()}
    return found | {"versions": timing.versions(packages)}


def made_of(
    zoo: Zoo, images: Mapping[str, Splits], config: object, **more: object
) -> Parts:
    """What the row of a zoo depends on, part by part: networks, images, labels, settings.

    Args:
        images: of every data set that is looked at.
        more: further settings.
    """
    networks = checksum(zoo.architecture.name, zoo.w, zoo.epochs, zoo.seeds)
    data = {name: dict(splits.checksums) for name, splits in images.items()}
    parts = {"networks": networks, "data": data, "config": asdict(config), **more}
    return json.loads(json.dumps(parts, default=checksum))


def current(row: Mapping | None, now: Parts, key: str) -> bool:
    """Whether a row depends on just this; where it does not, says what differs."""
    if row is None:
        return False
    if found := differences(row.get("made_of", {}), now):
        LOG.warning("%s is measured anew: %s", key, "; ".join(found))
    return not found


def require_all_same(rows: Mapping[str, Row], now: Parts) -> None:
    """Raise ConfigError if any of these rows depends on something else than these parts."""
    for key, row in rows.items():
        require_same(row, now, key, tuple(now))


def require_same(row: Mapping, now: Parts, key: str, parts: Sequence[str] = DATA) -> None:
    """Raise ConfigError unless a new row goes with one that is there, in these parts."""
    both = (row.get("made_of", {}), now)
    if found := differences(*({part: x.get(part) for part in parts} for x in both)):
        raise ConfigError(
            f"new rows do not go with those of {key} ({'; '.join(found)}); measure all of them "
            "anew: take another --out"
        )


def reopen(path: Path | str, target: Target) -> TrajectoryStore:
    """A store that is there, for the target that was fine-tuned for it and no other."""
    store = TrajectoryStore.open(path)
    store.require(collect.backbone(target))
    return store
