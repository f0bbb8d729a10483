"""What adaptation costs, in closed form, and after how many tasks a drift network has paid off.

FLOPs count 2 per multiply-add in matrix products, convolutions and attention, as `cost` does.
"""

import math
from dataclasses import dataclass

from ..base import choose
from ..hyperflow.jacobian_flow import Shape


@dataclass(frozen=True, kw_only=True)
class Vit:
    """The sizes of a vision transformer, enough to count its work; one head D x D at its end."""

    depth: int  # blocks
    width: int  # D, numbers of a token
    patch: int  # pixels of image per token and side
    stem: str = (
        "patch"  # one convolution, or "convolutions": 3 x 3, thrice, as in vit_micro
    )

    def tokens(self, size: int) -> int:
        """N: patches of an image of size x size pixels, and the class token."""
        return (size // self.patch) ** 2 + 1

    def first(self, size: int) -> int:
        """The first convolution: the one whose input needs no gradient."""
        places, d = self.tokens(size) - 1, self.width
        if self.stem == "patch":
            return 2 * places * self.patch**2 * 3 * d
        return 2 * 16 * places * 9 * 3 * (d // 4)

    def embedding(self, size: int) -> int:
        """Image to tokens."""
        places, d = self.tokens(size) - 1, self.width
        if self.stem == "patch":
            return self.first(size)
        later = 4 * 9 * (d // 4) * (d // 2) + 9 * (d // 2) * d + d * d
        return self.first(size) + 2 * places * later

    def forward(self, size: int) -> int:
        """One image through every block and token: embedding + L (24 D^2 N + 4 N^2 D) + 2 D^2."""
        n, d = self.tokens(size), self.width
        blocks = self.depth * (24 * d * d * n + 4 * n * n * d)
        return self.embedding(size) + blocks + 2 * d * d

    def linear(self, size: int) -> int:
        """Linear layers of the blocks and the head; the last block for the class token alone."""
        n, d = self.tokens(size), self.width
        return (self.depth - 1) * 24 * d * d * n + 6 * d * d * n + 20 * d * d

    def attention(self, size: int) -> int:
        """Attention's products; the last block for the class token alone."""
        n, d = self.tokens(size), self.width
        return (self.depth - 1) * 4 * n * n * d + 4 * n * d

    def features(self, size: int) -> int:
        """One image as `Target.features` computes it: the head reads the class token alone."""
        return self.embedding(size) + self.linear(size) + self.attention(size)

    def tuning(self, size: int, what: str = "everything") -> int:
        """Forward and backward of one image when "everything" or only the qkv "biases" move.

        Backward takes two products for each of forward's, one towards the input and one towards
        the weights. Frozen weights, as the head's, spare the second; what lies before the first
        bias spares both. The cosines of the loss are left out, less than a thousandth.
        """
        linear, attention = self.linear(size), self.attention(size)
        first_qkv = 6 * self.width**2 * self.tokens(size)
        backward = {
            "everything": 2 * (self.features(size) - self.width**2) - self.first(size),
            "biases": linear - first_qkv + 2 * attention,
        }
        return self.features(size) + choose(backward, what)


BACKBONES = {
    "vit_micro": Vit(depth=6, width=96, patch=8, stem="convolutions"),
    "ViT-S/16": Vit(depth=12, width=384, patch=16),
    "ViT-B/16": Vit(depth=12, width=768, patch=16),
    "ViT-L/16": Vit(depth=24, width=1024, patch=16),
}


def drift_shape(vit: Vit) -> Shape:
    """A Jacobian flow like the shipped one, for the qkv biases of a backbone."""
    d = vit.width
    return Shape(
        n_params=3 * d * vit.depth,
        token_size=d,
        n_inputs=(2 * vit.depth + 2) * d,
        n_residual=d,
    )


def drift_flops(shape: Shape, *, n_images: int, n_way: int, calls: int = 50) -> int:
    """Reading a context once and calling a Jacobian flow `calls` times, nothing of a backbone."""
    d, p, w = shape.n_residual, shape.n_params, shape.jacobian_width
    hidden = 2 * d * w + 2 * w * w  # one image, one way through the Jacobian
    head = 14 * n_way * d
    gradient = 4 * p * w + n_images * (2 * hidden + head)
    gates = n_images * (2 * shape.n_inputs * w + 2 * w * w)
    return gates + (1 + calls) * gradient


def push_flops(shape: Shape, *, n_images: int, n_way: int) -> int:
    """Class means by the learned Jacobian: gates, J delta, a mean for every class."""
    d, w = shape.n_residual, shape.jacobian_width
    each = 2 * shape.n_inputs * w + 4 * w * w + 2 * d * w + 2 * n_way * d
    return 2 * shape.n_params * w + n_images * each


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One task for which both ways of adapting are to be paid."""

    backbone: str = "ViT-S/16"  # of BACKBONES
    size: int = 224  # pixels
    n_images: int = 400  # of the support set
    n_way: int = 20  # classes
    steps: int = 50  # gradient steps
    views: int = 2  # passes over the support set a step
    calls: int = 50  # of the drift network
    max_images: int | None = None  # Jacobian flow looks at; None: all
    push: bool = False  # class means by the learned Jacobian; False: by another pass

    @property
    def vit(self) -> Vit:
        return choose(BACKBONES, self.backbone)

    def fine_tuning(self, what: str = "everything") -> int:
        """FLOPs of all gradient steps when "everything" or the "biases" move."""
        return self.steps * self.views * self.n_images * self.vit.tuning(self.size, what)

    def flow(self) -> dict[str, int]:
        """FLOPs of Jacobian flow, part by part."""
        shape, seen = drift_shape(self.vit), min(self.n_images, self.max_images or math.inf)
        sizes = {"n_images": seen, "n_way": self.n_way}
        again = seen * self.vit.features(self.size)
        return {
            "context": seen * self.vit.forward(self.size),
            "drift": drift_flops(shape, **sizes, calls=self.calls),
            "class means": push_flops(shape, **sizes) if self.push else again,
        }

    def recording(self, n_tasks: int) -> int:
        """FLOPs of recording `n_tasks` bias-tunings of this size: most of the cost offline."""
        return n_tasks * self.fine_tuning("biases")


def break_even(offline: float, rival: float, own: float) -> float:
    """Tasks after which offline + n * own <= n * rival; infinite where a task saves nothing."""
    return offline / (rival - own) if rival > own else math.inf
