"""A module of which a part is a row of numbers: many networks at once that differ in that part."""

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..params import ParamSubset

# functional_call puts a row into the shared module for a moment: a second thread would see it,
# and put it back as if it were the frozen value.
ONE_AT_A_TIME = threading.Lock()
SLOW = "There is a performance drop|.*batching rule for aten::as_strided"  # vmap says


def for_each(
    run: Callable[[Tensor, Tensor], Tensor], rows: Tensor, x: Tensor, axis: int | None = 0
) -> Tensor:
    """run(row, x_i) for every row at once, or with axis None run(row, x) of the same x."""
    mha = torch.backends.mha
    with ONE_AT_A_TIME, warnings.catch_warnings(), ExitStack() as stack:
        warnings.filterwarnings("ignore", SLOW)
        stack.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
        mha.set_fastpath_enabled(False)  # of torch's attention: it has no derivative
        return torch.vmap(run, (0, axis))(rows, x)


@dataclass(frozen=True, eq=False)
class FlatNetwork:
    """A classifier whose moving parameters are a row of numbers; all else stays as it is.

    Offers what a zoo's architecture does, so that rows are scored, encoded, generated and judged
    alike. `cnn.Architecture` is the same for the zoos' networks, written out to be fast.
    """

    name: str
    model: nn.Module
    n_classes: int

    def moving(self) -> set[str]:
        """Names of the parameters that a row holds: all that are not frozen."""
        return {name for name, p in self.model.named_parameters() if p.requires_grad}

    @cached_property
    def subset(self) -> ParamSubset:
        """What a row holds, in the module's own order."""
        return ParamSubset.select(self.model, self.moving().__contains__)

    @property
    def n_params(self) -> int:
        return self.subset.n_params

    @property
    def w0(self) -> Float[Tensor, " params"]:
        """The module's own row."""
        return self.flatten(self.subset.base)

    def unflatten(self, w: Float[Tensor, "*batch params"]) -> dict[str, Tensor]:
        """See `ParamSubset.unflatten`."""
        return self.subset.unflatten(w)

    def flatten(self, state: Mapping[str, Tensor]) -> Float[Tensor, "*batch params"]:
        """See `ParamSubset.flatten`."""
        return self.subset.flatten(state)

    def see(self, images: Float[Tensor, " n c h w"]) -> Float[Tensor, " n c2 h2 w2"]:
        """Images as the module takes them."""
        return images

    def passes(self, images: Tensor, n_rows: int) -> Sequence[Tensor]:
        """The images, in parts that so many networks look at together."""
        return (images,)

    def logits(
        self, w: Float[Tensor, " models params"], images: Float[Tensor, " n c h w"]
    ) -> Float[Tensor, " models n classes"]:
        """What every network says of the same images.

        What comes before the moving layers is the same for all, and vmap computes it once.

        Raises:
            ConfigError: rows of another length, or images that the module does not take.
        """
        self.unflatten(w[:0])
        run = partial(self.subset.call, self.model)
        parts = self.passes(images, len(w))
        return torch.cat([for_each(run, w, self.see(part), None) for part in parts], 1)
