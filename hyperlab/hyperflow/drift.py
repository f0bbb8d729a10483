"""The drift network h(theta, t | S): where fine-tuning would move theta, from the support alone.

Parameters are cut into tokens (for qkv biases: the query, key and value bias of each layer), and
measured in units of how far fine-tuning usually moves them. Images of the support set become
class tokens, so that the order of images and of classes cannot matter.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ArtifactError, ConfigError, DataMissingError, Velocity, whole_file
from ..models.targets import PRETRAINED
from ..nn import ConditionedBlock, GatedEncoder, TimeEmbedding
from .context import Context

SHIPPED = ("linear", "cubic")  # HyperFlow-L and HyperFlow-C


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a drift network, enough to build it again."""

    n_params: int  # of theta
    token_size: int  # numbers of theta in a token; divides n_params
    n_inputs: int  # context features of an image
    n_residual: int  # numbers of a head residual
    width: int = 128
    depth: int = 3  # blocks
    n_heads: int = 4
    dropout: float = 0.1


class DriftNetwork(nn.Module):
    """h(theta, t | S) for a batch of tasks; `given(context)` binds one support set.

    The output layer is zero at first, so an untrained network means no adaptation. Tokens whose
    scale is zero (the inert key biases) never move.

    Source: HyperFlow, arXiv:2504.15323, section 3.2, gives the task (theta, t, S) -> drift but not
    the body; this one follows DiT (adaLN-Zero), and its context is the target's own features.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        tokens = shape.n_params // shape.token_size
        self.time = TimeEmbedding(width)
        self.encoder = GatedEncoder(shape.n_inputs, shape.n_residual, width, shape.dropout)
        self.counts = nn.Linear(2, width)
        self.theta_in = nn.Linear(shape.token_size, width)
        self.place = nn.Parameter(
            0.02 * torch.randn(tokens, width, generator=torch.Generator().manual_seed(0))
        )
        self.pooled_in = nn.Parameter(torch.zeros(tokens, width, width))
        self.blocks = nn.ModuleList(
            ConditionedBlock(width, shape.n_heads, shape.dropout)
            for _ in range(shape.depth)
        )
        self.out = nn.Parameter(torch.zeros(tokens, width, shape.token_size))
        self.register_buffer("theta0", torch.zeros(shape.n_params))
        self.register_buffer("scale", torch.ones(shape.n_params))
        self.register_buffer("feature_mean", torch.zeros(shape.n_inputs))
        self.register_buffer("feature_std", torch.ones(shape.n_inputs))
        self.register_buffer("residual_std", torch.ones(()))
        nn.init.normal_(
            self.pooled_in, std=width**-0.5, generator=torch.Generator().manual_seed(1)
        )

    def forward(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        context: Context,
    ) -> Float[Tensor, " batch params"]:
        self._check(theta, context)
        classes, present, pooled = self.read(context)
        condition = F.silu(self.time(t) + pooled)
        moved = (theta - self.theta0) / self.scale.clamp(min=1e-12) * (self.scale > 0)
        x = self.theta_in(moved.unflatten(1, (-1, self.shape.token_size))) + self.place
        x = x + torch.einsum("bw,kwv->bkv", pooled, self.pooled_in)
        for block in self.blocks:
            x = block(x, classes, present, condition)
        return self.scale * torch.einsum("bkw,kws->bks", x, self.out).flatten(1)

    def _check(self, theta: Tensor, context: Context) -> None:
        found = theta.shape[-1], context.features.shape[-1], context.residual.shape[-1]
        shape = self.shape
        if found != (wanted := (shape.n_params, shape.n_inputs, shape.n_residual)):
            raise ConfigError(
                f"theta, context features and residual have {found} numbers, this drift "
                f"network takes {wanted}: use the target and subset it was trained for"
            )

    def read(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Class tokens, which of them are present, and their mean weighted by class size."""
        features = (context.features.float() - self.feature_mean) / self.feature_std
        images = self.encoder(features, context.residual.float() / self.residual_std)
        way = int(context.labels.max()) + 1
        one_hot = (
            context.labels[..., None] == torch.arange(way, device=images.device)
        ).float()
        sizes = one_hot.sum(1)
        present = sizes > 0
        classes = one_hot.transpose(1, 2) @ images / sizes.clamp(min=1)[..., None]
        share = sizes / sizes.sum(1, keepdim=True)
        pooled = (share[:, None] @ classes)[:, 0]
        numbers = torch.stack([sizes.sum(1).log(), present.sum(1).float().log()], 1) - 3.0
        classes = classes + self.counts(torch.stack([sizes.clamp(min=1).log(), share], 2))
        return classes, present, pooled + self.counts(numbers)

    def given(self, context: Context) -> Velocity:
        """The plain velocity f(t, theta) of one support set, ready for any solver."""
        batch = Context(
            context.features[None], context.residual[None], context.labels[None]
        )

        @torch.no_grad()
        def velocity(
            t: Tensor, theta: Float[Tensor, " params"]
        ) -> Float[Tensor, " params"]:
            return self(theta[None], t.reshape(1).to(theta), batch)[0]

        return velocity


def save(net: DriftNetwork, path: Path | str, about: Mapping[str, str]) -> None:
    """The network as half-precision safetensors, its shape and `about` as metadata."""
    state = {name: p.half() if p.ndim > 1 else p for name, p in net.state_dict().items()}
    meta = {"shape": json.dumps(asdict(net.shape)), **about}
    with whole_file(path) as draft:
        save_file({name: p.contiguous() for name, p in state.items()}, draft, meta)


def load(name: Path | str = "cubic") -> DriftNetwork:
    """A drift network from a file, or a shipped one: "linear" or "cubic".

    Raises:
        DataMissingError: no such file.
        ArtifactError: the file is damaged, or is no drift network.
    """
    path = PRETRAINED / f"drift_{name}.safetensors" if name in SHIPPED else Path(name)
    if not path.exists():
        raise DataMissingError(
            f"no drift network at {path}; shipped are {list(SHIPPED)}, or run: "
            "python data_scripts/train_drift.py"
        )
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        net = DriftNetwork(Shape(**json.loads(meta["shape"])))
        net.load_state_dict(state)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is no whole drift network ({error})") from error
    return net.eval()
