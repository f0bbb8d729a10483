"""Targets: a frozen backbone, the parameters that move, and a prototype head."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import timm
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from .. import checkpoint
from ..base import PRETRAINED, ConfigError, DataMissingError, find_device, stream
from ..checkpoint import Checkpoint
from ..params import ParamSubset, Predicate, qkv_biases
from ..tasks.episodes import Episode, LabelledImages, require_images
from .head import cosine, largest, leave_one_out_loss, prototypes
from .inputs import Inputs
from .network import ONE_AT_A_TIME
from .rows import ConvStem, RowLayerNorm, RowLinear, row_layers

KIND = "backbone"
SHIPPED = PRETRAINED / "vit_micro.safetensors"
LOGIT_SCALE = 10.0  # what cosines are multiplied by (P>M>F: 10 at the start)
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
    block = model.blocks[-1]
    attn = getattr(block, "attn", None)
    if (type(block).__name__, type(attn).__name__) != ("Block", "Attention"):
        return False
    extras = (model.attn_pool, getattr(attn, "gate", None))
    norms = (attn.q_norm, attn.k_norm, getattr(attn, "norm", nn.Identity()))
    return extras == (None, None) and all(type(n) is nn.Identity for n in norms)


def build(name: str, **options: object) -> nn.Module:
    """A timm vision transformer, or `vit_micro`, with a linear head that is the identity."""
    if name == "vit_micro":
        model = timm.models.VisionTransformer(num_classes=0, **(VIT_MICRO | options))
    else:
        options = {"pretrained": True, "num_classes": 0} | options
        model = _from_timm(_vit(name), **options)
    model.head = nn.Linear(model.num_features, model.num_features)
    nn.init.eye_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    if reads_class_token_alone(model):
        model.__class__ = ClassTokenViT
    return row_layers(model).eval().requires_grad_(False)


def _vit(name: str) -> str:
    if not (name.startswith("vit_") and timm.is_model(name)):
        raise ConfigError(f"no target {name!r}; have 'vit_micro' and timm's vit_* models")
    return name


def classifier(name: str, n_classes: int, *, size: int, pretrained: bool) -> nn.Module:
    """Any timm network for images of `size` pixels, frozen, with a linear head of its own.

    Without `pretrained` its weights are random, drawn from torch's global stream.
    """
    options = {"img_size": size} if _known(name).get("fixed_input_size") else {}
    model = _from_timm(name, pretrained=pretrained, num_classes=n_classes, **options)
    _require_whole_patches(model, name, size)
    return model.eval().requires_grad_(False)


def _known(name: str) -> Mapping[str, object]:
    """What timm says about the inputs of a network's weights."""
    try:
        return timm.get_pretrained_cfg(name).to_dict()
    except (RuntimeError, AttributeError) as error:
        have = timm.list_models() + timm.list_pretrained()
        near = difflib.get_close_matches(name, have, 5)
        raise ConfigError(f"timm has no network {name!r}; near it: {near}") from error


def own_inputs(name: str, size: int | None = None) -> tuple[int, Inputs]:
    """Pixels and inputs of a timm network's own data configuration, or `size` pixels."""
    config = timm.data.resolve_data_config(pretrained_cfg=_known(name))
    _, height, width = config["input_size"]
    if size is None and height != width:
        raise ConfigError(f"{name} was trained on {height} x {width} pixels; give one size")
    return size or height, Inputs.of(config)


def _require_whole_patches(model: nn.Module, name: str, size: int) -> None:
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    patch = patch if isinstance(patch, int) else max(patch)
    if size < patch or size % patch:
        raise ConfigError(
            f"{name} cuts images into patches of {patch} pixels, and {size} is no multiple of "
            f"that; take a larger size, e.g. {-(-size // patch) * patch}"
        )


def _from_timm(name: str, *, pretrained: bool, **options: object) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"timm makes no {name} with {options}: {error}") from error
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
        inputs: the grey levels and the way of resizing that the backbone was trained with.

    Source: Hu et al. 2022 (P>M>F), arXiv:2204.07305, section 3; prototypes: Snell et al. 2017.
    """

    name: str
    model: nn.Module
    subset: ParamSubset
    logit_scale: float = LOGIT_SCALE
    image_size: int = 32
    inputs: Inputs = Inputs()

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
        """Images in [0, 1] as the backbone takes them, on its device."""
        return self.inputs(images, self.image_size, self.device)

    def features(
        self,
        theta: Float[Tensor, "*tasks params"],
        images: Float[Tensor, " n 3 h w"],
        task: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, " n dim"]:
        """Features of `images` under `theta`; with many thetas, image i uses theta[task[i]].

        Raises:
            ConfigError: many thetas without `task`, a wrong length, or images outside [0, 1].
        """
        if not theta.requires_grad:  # else views of a support set that was checked
            require_images(images)
        if len(theta) == 1 and theta.ndim == 2:
            theta = theta[0]  # one task: ordinary tensors, so matrices may move too
        if theta.ndim == 1:
            return self._run(theta, images)
        self.subset.unflatten(theta)
        if task is None:
            raise ConfigError("many thetas need `task`: which of them each image uses")
        return self._each(theta[task], images)

    def _run(self, theta: Tensor, images: Tensor) -> Tensor:
        with ONE_AT_A_TIME:
            return self.subset.call(self.model, theta, self.prepare(images))

    def _each(self, thetas: Tensor, images: Tensor) -> Tensor:
        """Features of images with a theta for each of them."""
        for name, tensor in self.subset.base.items():
            layer = self.model.get_submodule(name.rpartition(".")[0])
            if tensor.ndim > 1 or not isinstance(layer, RowLinear | RowLayerNorm):
                raise ConfigError(
                    f"within a batch only vectors of linear and norm layers can differ, not "
                    f"{name}; fine-tune such a subset one task at a time: CollectConfig(batch=1)"
                )
        return self._run(thetas, images)

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
        support.require()
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

    @torch.no_grad()
    def support_loss(
        self, theta: Float[Tensor, " params"], support: LabelledImages
    ) -> float:
        """Leave-one-out loss of the plain support images, without a gradient."""
        support.require()
        features = self.features(theta, support.images)
        labels = support.labels.to(features.device)
        return leave_one_out_loss(features, labels, support.n_way, self.logit_scale).item()

    @torch.no_grad()
    def accuracy(
        self,
        theta: Float[Tensor, " params"],
        episode: Episode,
        centres: Float[Tensor, " way dim"] | None = None,
    ) -> float:
        """Share of the queries classified well, in [0, 1]; centres None: the support's means."""
        episode.require()
        centres = self.centres(theta, episode.support) if centres is None else centres
        named = largest(self.scores(theta, centres, episode.query.images))
        return (named == episode.query.labels.to(named.device)).float().mean().item()


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
        ConfigError: unknown name, subset or size, or a transformer that gives no context.
        DataMissingError: no weights on disk and none to be fetched.
    """
    if name != "vit_micro":
        size, inputs = own_inputs(_vit(name), image_size)
        model = build(name, pretrained=pretrained, img_size=size)
        _require_whole_patches(model, name, size)
        moving = ParamSubset.select(model, subset)
        return tried(Target(name, model, moving, image_size=size, inputs=inputs))
    model, size = build(name), VIT_MICRO["img_size"]
    if image_size not in (None, size):
        raise ConfigError(f"vit_micro takes images of {size} pixels, got {image_size}")
    if pretrained:
        model = read_weights(weights, model)
    return Target(name, model, ParamSubset.select(model, subset), image_size=size)


def tried(target: Target) -> Target:
    """The same target after a trial; ConfigError if it gives no tokens, or other features."""
    name, size = target.name, target.image_size
    other = "take models.backbones.load, or another backbone"
    if getattr(target.model, "cls_token", None) is None:
        raise ConfigError(
            f"{name} has no class token, which a context begins with; {other}"
        )
    images = torch.rand(2, 3, size, size, generator=stream(0, "trial")).to(target.device)
    try:
        with torch.no_grad():
            feature = target.features(target.theta0, images)
            maps, last = target.block_features(images)
    except Exception as error:  # a network of timm's may raise anything
        raise ConfigError(
            f"{name} gives no features and tokens of images of {size} pixels "
            f"({type(error).__name__}: {error}); {other}"
        ) from error
    inputs, dim = target.context_sizes
    same = feature.shape == last.shape == (2, dim) and maps[0].numel() == inputs - 2 * dim
    if not same or not torch.allclose(feature, last, rtol=1e-2, atol=1e-3):
        raise ConfigError(f"{name} says no feature of its last tokens; {other}")
    return target


def read_weights(path: Path | str, model: nn.Module) -> nn.Module:
    """`model` with the weights of a file."""

    def fill(found: Checkpoint) -> nn.Module:
        model.load_state_dict(found.tensors)
        return model

    remedy = "run: python data_scripts/pretrain_backbone.py"
    return checkpoint.load(path, KIND, fill, remedy)
