"""Rows that a script keeps beside its table: whether they are of what is there now."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from hyperlab.base import ConfigError, differences
from hyperlab.identity import checksum
from hyperlab.weights.recipes import Splits
from hyperlab.weights.zoo import Zoo

LOG = logging.getLogger(__name__)
Parts = Mapping[str, object]
DATA = ("networks", "data", "seed")  # parts that rows beside each other have in common


def made_of(
    zoo: Zoo, images: Mapping[str, Splits], config: object, **more: object
) -> Parts:
    """What the rows of a zoo depend on, part by part: networks, images, labels, settings.

    Args:
        images: of every data set that is looked at.
        more: further settings.
    """
    parts = {
        "networks": checksum(zoo.architecture.name, zoo.w, zoo.epochs, zoo.seeds),
        "data": {name: dict(splits.checksums) for name, splits in images.items()},
        "config": asdict(config),
        **more,
    }
    return json.loads(json.dumps(parts, default=checksum))


def current(rows: Mapping | None, now: Parts, name: str) -> bool:
    """Whether the rows under a name are of just this; where they are not, says what differs."""
    if rows is None:
        return False
    if found := differences(rows.get("made_of", {}), now):
        LOG.warning("%s is measured anew: %s", name, "; ".join(found))
    return not found


def require_same(rows: Mapping, now: Parts, name: str, parts: Sequence[str] = DATA) -> None:
    """Raise ConfigError unless new rows go with those that are there.

    Args:
        parts: what must be the same.
    """
    was = rows.get("made_of", {})
    if found := differences(*({part: x.get(part) for part in parts} for x in (was, now))):
        raise ConfigError(
            f"new rows of {name} do not go with the old ones ({'; '.join(found)}); measure all of "
            "them into another --out"
        )
