"""How `vit_micro` makes tokens of an image."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn


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
