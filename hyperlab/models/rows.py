"""Layers of the backbones: a stem for small images, and vectors that differ from row to row."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ConvStem(nn.Module):
    """Image to tokens by three strided convolutions instead of one big patch.

    Source: Xiao et al. 2021, arXiv:2106.14881 (early convolutions make small ViTs trainable).
    """

    norms_stay = True  # no result was made with them moving, see `params.norms`

    def __init__(self, img_size: int, embed_dim: int, **_: object) -> None:
        super().__init__()
        self.num_patches = (img_size // 8) ** 2
        self.grid_size = (img_size // 8, img_size // 8)
        widths = (3, embed_dim // 4, embed_dim // 2, embed_dim)
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 3, 2, 1), nn.GroupNorm(4, n_out), nn.GELU()]
        self.proj = nn.Sequential(*layers, nn.Conv2d(embed_dim, embed_dim, 1))

    def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // 8, size[1] // 8

    def forward(self, x: Float[Tensor, " n 3 h w"]) -> Float[Tensor, " n tokens dim"]:
        return self.proj(x).flatten(2).transpose(1, 2)


class RowLinear(nn.Linear):
    """A linear layer whose bias may differ from row to row of the batch.

    With biases (n, out) for inputs (n, tokens, in), one fused product serves every task.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or self.bias.ndim == 1:
            return F.linear(x, self.weight, self.bias)
        return F.linear(x, self.weight).add_(_as_rows(self.bias, x))


class RowLayerNorm(nn.LayerNorm):
    """A layer norm whose scale and shift may differ from row to row of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 1 and self.bias.ndim == 1:
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        plain = F.layer_norm(x, self.normalized_shape, eps=self.eps)
        return plain * _as_rows(self.weight, x) + _as_rows(self.bias, x)


def _as_rows(p: Tensor, x: Tensor) -> Tensor:
    return p.unflatten(-1, (1,) * (x.ndim - 2) + (-1,)) if p.ndim > 1 else p


def row_layers(model: nn.Module) -> nn.Module:
    """`model` with its linear and norm layers able to take one bias row per image."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = RowLinear
        elif type(layer).__name__ == "LayerNorm" and layer.bias is not None:
            layer.__class__ = (
                RowLayerNorm  # torch's or timm's, none that norms another axis
            )
    return model
