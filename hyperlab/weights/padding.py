"""Networks of grey images as networks of coloured ones: rows of one length for all."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError, choose
from ..models.cnn import Architecture


def pad_rows(
    grey: Architecture, coloured: Architecture, w: Float[Tensor, " n params"], mode: str
) -> Float[Tensor, " n padded"]:
    """Rows of networks for fewer channels, as long as those of networks for more.

    Args:
        mode: "channels" gives the first convolution zeros for the channels that are missing: a
            network says of an image what it said of its first channels. "tail" puts zeros behind
            the row, after which no later weight stands at its place: cut before use.

    Source: FLoWN, arXiv:2503.19371, section 3, fills up at the end; "channels" is ours.
    """
    first, missing = _first(grey, coloured), coloured.channels - grey.channels
    state = grey.unflatten(w)
    state[first] = F.pad(state[first], (0, 0, 0, 0, 0, missing))
    behind = (0, coloured.n_params - grey.n_params)
    return choose({"channels": coloured.flatten(state), "tail": F.pad(w, behind)}, mode)


def cut_rows(
    coloured: Architecture, grey: Architecture, w: Float[Tensor, " n padded"], mode: str
) -> Float[Tensor, " n params"]:
    """What `pad_rows` was given, from what it gave."""
    first, state = _first(grey, coloured), coloured.unflatten(w)
    state[first] = state[first][:, :, : grey.channels]
    kept = {"channels": grey.flatten(state), "tail": w[:, : grey.n_params]}
    return choose(kept, mode)


def _first(grey: Architecture, coloured: Architecture) -> str:
    """The name of the weights that differ, if no others do."""
    name = next(iter(grey.shapes))
    others = [{k: v for k, v in a.shapes.items() if k != name} for a in (grey, coloured)]
    if others[0] != others[1] or grey.channels > coloured.channels:
        raise ConfigError(
            "want two networks that differ in their input channels alone, fewer in the "
            f"first; got {grey.name} with {grey.channels} and {coloured.name} with "
            f"{coloured.channels}"
        )
    return name
