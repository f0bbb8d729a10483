"""Layers whose vectors may differ from row to row of a batch: many tasks in one pass."""

from torch import Tensor, nn
from torch.nn import functional as F


class RowLinear(nn.Linear):
    """A linear layer whose bias may differ from row to row of the batch.

    With biases (n, out) for inputs (n, tokens, in), one fused product serves every task.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or self.bias.ndim == 1:
            return F.linear(x, self.weight, self.bias)
        as_rows = (1,) * (x.ndim - 2) + (-1,)
        return F.linear(x, self.weight).add_(self.bias.unflatten(-1, as_rows))


class RowLayerNorm(nn.LayerNorm):
    """A layer norm whose scale and shift may differ from row to row of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 1 and self.bias.ndim == 1:
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        as_rows = (1,) * (x.ndim - 2) + (-1,)
        plain = F.layer_norm(x, self.normalized_shape, eps=self.eps)
        scale, shift = (
            p.unflatten(-1, as_rows) if p.ndim > 1 else p for p in (self.weight, self.bias)
        )
        return plain * scale + shift


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
