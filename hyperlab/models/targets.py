"""Targets: a frozen backbone, the parameters that move, and a prototype head."""

import difflib
import itertools
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..base import PRETRAINED, ArtifactError, ConfigError, DataMissingError, find_device
from ..params import ParamSubset, Predicate, qkv_biases
from ..tasks.episodes import Episode, LabelledImages
from .rows import RowLayerNorm, RowLinear, row_layers

SHIPPED = PRETRAINED / "vit_micro.safetensors"
LOGIT_SCALE = 10.0  # what cosines are multiplied by (P>M>F: 10 at the start)
# functional_call puts theta into the shared module for a moment: a second thread would see it,
# and put it back as if it were the frozen value.
ONE_AT_A_TIME = threading.Lock()


class ConvStem(nn.Module):
    """Image to tokens by three strided convolutions instead of one big patch.

    Source: Xiao et al. 2021, arXiv:2106.14881 (early convolutions make small ViTs trainable).
    """

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


VIT_MICRO = {  # the course's backbone: 17 tokens of 96 numbers
    "embed_layer": ConvStem,
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 96,
    "depth": 6,
    "num_heads": 3,
    "class_token": True,
}


class ClassTokenViT(timm.models.VisionTransformer):
    """A vision transformer whose last block is computed for the class token alone.

    The head reads no other token, so the answer is the same for a ninth of the work less.
    """

    def forward(self, x: Float[Tensor, " n 3 h w"]) -> Float[Tensor, " n dim"]:
        x = self.norm_pre(self._pos_embed(self.patch_embed(x)))
        x = self._last(self.blocks[-1], self.blocks[:-1](x))
        return self.forward_head(self.norm(x))

    @staticmethod
    def _last(block: nn.Module, x: Tensor) -> Float[Tensor, " n 1 dim"]:
        attn = block.attn
        qkv = attn.qkv(block.norm1(x)).unflatten(-1, (3, attn.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        x = x[:, :1] + block.ls1(attn.proj(y.transpose(1, 2).flatten(2)))
        return x + block.ls2(block.mlp(block.norm2(x)))


def reads_class_token_alone(model: nn.Module) -> bool:
    """Whether `ClassTokenViT` computes the same function as this model."""
    if type(model) is not timm.models.VisionTransformer or model.global_pool != "token":
        return False
    attn = model.blocks[-1].attn
    extras = (model.attn_pool, getattr(attn, "gate", None))
    norms = (attn.q_norm, attn.k_norm, getattr(attn, "norm", nn.Identity()))
    plain = (
        type(model.blocks[-1]).__name__ == "Block" and type(attn).__name__ == "Attention"
    )
    return plain and extras == (None, None) and all(type(n) is nn.Identity for n in norms)


def build(name: str, **options: object) -> nn.Module:
    """A timm vision transformer, or `vit_micro`, with a linear head that is the identity."""
    if name == "vit_micro":
        model = timm.models.VisionTransformer(num_classes=0, **(VIT_MICRO | options))
    elif name in timm.list_models("vit_*") + timm.list_models("vit_*", pretrained=True):
        model = _from_timm(name, **{"pretrained": True, "num_classes": 0} | options)
    else:
        raise ConfigError(f"no target {name!r}; have 'vit_micro' and timm's vit_* models")
    model.head = nn.Linear(model.num_features, model.num_features)
    nn.init.eye_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    if reads_class_token_alone(model):
        model.__class__ = ClassTokenViT
    return row_layers(model).eval().requires_grad_(False)


def classifier(name: str, n_classes: int, *, size: int, pretrained: bool) -> nn.Module:
    """Any timm network, frozen, with a linear head of its own for so many classes.

    Args:
        size: of an image, in pixels.
        pretrained: False gives random weights, drawn from torch's global stream.

    Raises:
        ConfigError: there is no such network.
        DataMissingError: no weights in the cache and none to be fetched.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 5)
        raise ConfigError(f"timm has no network {name!r}; near it: {near}")
    fixed = getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    options = {"img_size": size} if fixed else {}
    model = _from_timm(name, pretrained=pretrained, num_classes=n_classes, **options)
    return model.eval().requires_grad_(False)


def _from_timm(name: str, *, pretrained: bool, **options: object) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:  # each hub client fails in its own way without a network
        if not pretrained:
            raise
        raise DataMissingError(
            f"no weights of {name!r} in the cache and none could be fetched "
            f"({type(error).__name__}); run once with a network, or pass pretrained=False "
            "for random weights (enough for a cost audit)"
        ) from error


@dataclass(frozen=True, eq=False)
class Target:
    """A frozen backbone of which `subset` moves, under a cosine prototype head.

    Nothing here has state: every method takes the moving parameters `theta`.

    Args:
        logit_scale: what cosines are multiplied by.
        image_size: pixels; other sizes are resized.

    Source: Hu et al. 2022 (P>M>F), arXiv:2204.07305, section 3; prototypes: Snell et al. 2017.
    """

    name: str
    model: nn.Module
    subset: ParamSubset
    logit_scale: float = LOGIT_SCALE
    image_size: int = 32

    @property
    def theta0(self) -> Float[Tensor, " params"]:
        """The pre-trained values: where every trajectory starts."""
        return self.subset.flatten(self.subset.base)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def context_sizes(self) -> tuple[int, int]:
        """Numbers that a context holds of an image, and those of a feature."""
        dim = self.model.num_features
        return (2 * len(self.model.blocks) + 2) * dim, dim

    def moving(self, match: Predicate) -> "Target":
        """The same frozen backbone with another subset free to move."""
        return replace(self, subset=ParamSubset.select(self.model, match))

    def to(self, device: torch.device | str) -> "Target":
        """A copy on `device`; ConfigError if there is no such device here."""
        model = self.model.to(find_device(device))
        base = {name: tensor.to(device) for name, tensor in self.subset.base.items()}
        return replace(self, model=model, subset=ParamSubset(base, self.subset.thirds))

    def prepare(self, images: Float[Tensor, " n 3 h w"]) -> Float[Tensor, " n 3 size size"]:
        """Resize to the backbone's size and centre grey levels at 0."""
        if images.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return (images.to(self.device) - 0.5) / 0.25

    def features(
        self,
        theta: Float[Tensor, "*tasks params"],
        images: Float[Tensor, " n 3 h w"],
        task: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, " n dim"]:
        """Features of `images` under `theta`; with many thetas, image i uses theta[task[i]].

        Raises:
            ConfigError: if there are many thetas and `task` is missing, or the length is wrong.
        """
        if len(theta) == 1 and theta.ndim == 2:
            theta = theta[0]  # one task: ordinary tensors, so matrices may move too
        moved = self.subset.unflatten(theta)
        if theta.ndim == 2:
            if task is None:
                raise ConfigError("many thetas need `task`: which of them each image uses")
            return self._each(theta[task], images)
        with ONE_AT_A_TIME:
            return functional_call(self.model, moved, (self.prepare(images),))

    def _each(self, thetas: Tensor, images: Tensor) -> Tensor:
        """Features of images with a theta for each of them."""
        for name, tensor in self.subset.base.items():
            layer = self.model.get_submodule(name.rpartition(".")[0])
            if tensor.ndim > 1 or not isinstance(layer, RowLinear | RowLayerNorm):
                raise ConfigError(
                    f"within a batch only vectors of linear and norm layers can differ, not "
                    f"{name}; fine-tune such a subset one task at a time"
                )
        moved = self.subset.unflatten(thetas)
        with ONE_AT_A_TIME:
            return functional_call(self.model, moved, (self.prepare(images),))

    def block_features(
        self, images: Float[Tensor, " n 3 h w"]
    ) -> tuple[Float[Tensor, " n depth 2 dim"], Float[Tensor, " n dim"]]:
        """[class token, mean patch token] after every block, and the features, all at theta0."""
        with torch.no_grad(), ONE_AT_A_TIME:
            last, layers = self.model.forward_intermediates(
                self.prepare(images), output_fmt="NLC", return_prefix_tokens=True
            )
            features = self.model.forward_head(last)
        tokens = [torch.stack([prefix[:, 0], patch.mean(1)], 1) for patch, prefix in layers]
        return torch.stack(tokens, 1), features

    def centres(
        self,
        theta: Float[Tensor, " params"],
        support: LabelledImages,
        *,
        chunk: int | None = None,
    ) -> Float[Tensor, " way dim"]:
        """The class means of `support` under theta, `chunk` images a pass (None: all)."""
        parts = support.images.split(chunk or len(support.images))
        features = torch.cat([self.features(theta, part) for part in parts])
        return prototypes(features, support.labels, support.n_way)

    def scores(
        self,
        theta: Float[Tensor, " params"],
        centres: Float[Tensor, " way dim"],
        images: Float[Tensor, " n 3 h w"],
    ) -> Float[Tensor, " n way"]:
        """Scaled cosines between `images` under theta and given class means."""
        return self.logit_scale * cosine(self.features(theta, images), centres)

    def logits(
        self,
        theta: Float[Tensor, " params"],
        support: LabelledImages,
        images: Float[Tensor, " n 3 h w"],
    ) -> Float[Tensor, " n way"]:
        """Scaled cosines between `images` and the class means of `support`, both under theta."""
        return self.scores(theta, self.centres(theta, support), images)

    def support_loss(
        self, theta: Float[Tensor, " params"], support: LabelledImages
    ) -> float:
        """Leave-one-out loss of the plain support images, without a gradient."""
        with torch.no_grad():
            features = self.features(theta, support.images)
        labels = support.labels.to(features.device)
        return leave_one_out_loss(features, labels, support.n_way, self.logit_scale).item()

    def accuracy(
        self,
        theta: Float[Tensor, " params"],
        episode: Episode,
        centres: Float[Tensor, " way dim"] | None = None,
    ) -> float:
        """Share of the query images that are classified well, in [0, 1].

        Args:
            centres: class means; None: those of the support under theta.
        """
        with torch.no_grad():
            if centres is None:
                centres = self.centres(theta, episode.support)
            named = self.scores(theta, centres, episode.query.images).argmax(1)
        return (named == episode.query.labels.to(named.device)).float().mean().item()


def prototypes(
    features: Float[Tensor, " n dim"], labels: Int[Tensor, " n"], n_way: int
) -> Float[Tensor, " way dim"]:
    """The mean feature of every class."""
    one_hot = F.one_hot(labels.to(features.device), n_way).to(features)
    return (one_hot / one_hot.sum(0)).T @ features


def cosine(
    x: Float[Tensor, " n dim"], y: Float[Tensor, " way dim"]
) -> Float[Tensor, " n way"]:
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T


def leave_one_out(
    features: Float[Tensor, " n dim"],
    labels: Int[Tensor, " n"],
    task: Int[Tensor, " n"],
    n_way: Int[Tensor, " tasks"],
    scale: float,
) -> Float[Tensor, " n"]:
    """Each image's prototype cross-entropy; no image helps to make its own prototype.

    Several tasks lie end to end; an image meets the prototypes of its own task only. An image
    that is alone in its class has itself as prototype (cosine 1): only the others push it away.
    """
    tasks, way = len(n_way), int(n_way.max())
    slot = task * way + labels
    sums = features.new_zeros(tasks * way, features.shape[1]).index_add(0, slot, features)
    sizes = features.new_zeros(tasks * way).index_add(0, slot, features.new_ones(len(slot)))
    alone = sizes[slot] == 1
    unit = F.normalize(features, dim=1)
    centres = F.normalize(sums, dim=1, eps=1e-6).view(tasks, way, -1)
    logits = torch.einsum("nd,nwd->nw", unit, centres[task])
    others = F.normalize(sums[slot] - features, dim=1, eps=1e-6)
    own = (others * unit).sum(1).masked_fill(alone, 1.0)
    logits = logits.scatter(1, labels[:, None], own[:, None])
    absent = torch.arange(way, device=task.device) >= n_way.to(task.device)[task, None]
    logits = (scale * logits).masked_fill(absent, float("-inf"))
    return F.cross_entropy(logits, labels, reduction="none")


def leave_one_out_loss(
    features: Float[Tensor, " n dim"], labels: Int[Tensor, " n"], n_way: int, scale: float
) -> Float[Tensor, ""]:
    """The mean of `leave_one_out` over the images of one task."""
    counts = torch.tensor([n_way], device=labels.device)
    return leave_one_out(features, labels, torch.zeros_like(labels), counts, scale).mean()


def load(
    name: str = "vit_micro",
    *,
    subset: Predicate = qkv_biases,
    pretrained: bool = True,
    weights: Path = SHIPPED,
    image_size: int | None = None,
) -> Target:
    """A target by name: `vit_micro` or any timm vision transformer.

    Args:
        pretrained: False gives random weights, enough for a cost audit.
        weights: of `vit_micro`, the shipped ones or those of another pre-training.
        image_size: pixels; None is the backbone's own.

    Raises:
        ConfigError: unknown name, or a subset that selects nothing.
        DataMissingError: no weights on disk and none to be fetched.
    """
    if name == "vit_micro":
        model = build(name)
        if pretrained:
            model.load_state_dict(read_weights(weights, model))
        size = VIT_MICRO["img_size"]
    else:
        size = image_size or 224
        model = build(name, pretrained=pretrained, img_size=size)
    return Target(name, model, ParamSubset.select(model, subset), image_size=size)


def read_weights(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The state of `model` from a safetensors file.

    Raises:
        DataMissingError: no such file.
        ArtifactError: the file is damaged or belongs to another model.
    """
    if not path.exists():
        raise DataMissingError(
            f"no {path.name}; run: python data_scripts/pretrain_backbone.py"
        )
    try:
        state = load_file(path)
    except Exception as error:
        raise ArtifactError(f"{path} is not a whole safetensors file ({error})") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        odd = sorted(expected.items() ^ found.items())[:3]
        raise ArtifactError(f"{path} belongs to another model; first differences: {odd}")
    return state
