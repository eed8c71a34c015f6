"""Networks with weights that a user brings: a .safetensors file, with PyTorch's names for them.

Vision transformers are named as in DINO's, DINOv2's and timm's repositories (which agree) or torchvision's; ResNet-50
as in torchvision's, timm's and SwAV's. Prefixes that wrappers leave (``module.``, ``backbone.``, ...) are taken off.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import DataError
from semiprune_jax.models.resnet import ResNet
from semiprune_jax.models.vit import VisionTransformer

# patch, width, depth, heads, patches along a side of its own images, and whether residuals are scaled
VITS: dict[str, tuple[int, int, int, int, int, bool]] = {
    "vit_s16": (16, 384, 12, 6, 14, False),  # DINO: 224 pixels
    "vit_b16": (16, 768, 12, 12, 14, False),
    "vit_s14": (14, 384, 12, 6, 37, True),  # DINOv2: 518 pixels
    "vit_b14": (14, 768, 12, 12, 37, True),
}
NAMES = (*VITS, "resnet50")

_PREFIX = re.compile(r"^((module|backbone|encoder_q|teacher|student|model|_orig_mod)\.)+")
# Heads, and what only training needed.
_IGNORED = re.compile(r"(mask_token|head\..*|heads\..*|fc\..*|projection_head\..*|prototypes.*|.*num_batches_tracked)$")

Weights = dict[str, np.ndarray]


def load(name: str, path: Path) -> tuple[Callable, Any]:
    """(apply, variables) of the named network with the weights of a file.

    ``apply(variables, x f32[B, H, W, 3]) -> f32[B, D]``: features of normalised images, sides multiples of the patch.

    Raises:
      DataError: the file cannot be read, or its weights are not those of the network; says which.
    """
    (apply, expected), weights = shapes(name), _read(path)
    found = {"params": dict(_vit(_from_torchvision(weights)))} if name in VITS else _resnet_variables(weights)
    return apply, _fitted(name, path, expected, found)


def shapes(name: str) -> tuple[Callable, Any]:
    """What ``load`` returns, with the shapes of the weights in their place."""
    if name in VITS:
        patch, width, depth, heads, grid, layer_scale = VITS[name]
        vit = VisionTransformer(patch, width, depth, heads, grid, layer_scale)
        return vit.apply, jax.eval_shape(vit.init, jax.random.key(0), _image(patch))
    resnet = ResNet(1, (3, 4, 6, 3), 64, stem="torchvision", bottleneck=True)

    def apply(variables: Any, x: jax.Array) -> Any:
        _, features = resnet.apply(variables, x, train=False)  # pyright: ignore[reportGeneralTypeIssues]
        return features

    return apply, jax.eval_shape(lambda key, x: resnet.init(key, x, train=True), jax.random.key(0), _image(32))


def _resnet_variables(weights: Weights) -> dict[str, Any]:
    params: dict[str, Any] = {"head": {"kernel": np.zeros((2048, 1)), "bias": np.zeros(1)}}  # not looked at
    stats: dict[str, Any] = {}
    for part, held in _resnet(weights):
        params[part] = {key: value for key, value in held.items() if key not in ("mean", "var")}
        if len(params[part]) < len(held):
            stats[part] = {key: held[key] for key in held.keys() - params[part].keys()}
    return {"params": params, "batch_stats": stats}


def _read(path: Path) -> Weights:
    from safetensors.numpy import load_file

    if path.suffix != ".safetensors" or not path.is_file():
        raise DataError(f"embed.path = {str(path)!r}: expected a .safetensors file of a network's weights")
    try:
        found = load_file(path)
    except Exception as error:  # a type for each way a file can be broken
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); write it anew") from None
    weights = {}
    for key, value in found.items():
        plain = _PREFIX.sub("", key)
        if not _IGNORED.fullmatch(plain):
            weights[plain] = np.asarray(value, np.float32)
    return weights


def _from_torchvision(weights: Weights) -> Weights:
    """A vision transformer's weights by DINO's names; torchvision has its own."""
    if "class_token" not in weights:
        return weights
    names = {
        r"class_token": "cls_token", r"encoder\.pos_embedding": "pos_embed", r"encoder\.ln\.(.*)": r"norm.\1",
        r"conv_proj\.(.*)": r"patch_embed.proj.\1",
        r"encoder\.layers\.encoder_layer_(\d+)\.ln_(\d)\.(.*)": r"blocks.\1.norm\2.\3",
        r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(.*)": r"blocks.\1.attn.qkv.\2",
        r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(.*)": r"blocks.\1.attn.proj.\2",
        r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.(.*)": r"blocks.\1.mlp.fc1.\2",
        r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.(.*)": r"blocks.\1.mlp.fc2.\2",
    }  # fmt: skip

    def renamed(key: str) -> str:
        for pattern, name in names.items():
            if match := re.fullmatch(pattern, key):
                return match.expand(name)
        return key

    return {renamed(key): value for key, value in weights.items()}


def _vit(weights: Weights) -> Iterator[tuple[str, Any]]:
    """The parts of ``VisionTransformer``'s parameters, of weights by DINO's names."""
    layers: dict[str, Any] = {}
    modules = {"attn.qkv": "qkv", "attn.proj": "out", "mlp.fc1": "fc1", "mlp.fc2": "fc2", "norm1": "norm1",
               "norm2": "norm2"}  # fmt: skip
    for key, value in weights.items():
        if key == "cls_token":
            yield "class_token", value.reshape(-1)
        elif key == "pos_embed":
            yield "positions", value.reshape(-1, value.shape[-1])
        elif match := re.fullmatch(r"patch_embed\.proj\.(weight|bias)", key):
            layers.setdefault("patches", {}).update(_layer(match[1], value))
        elif match := re.fullmatch(r"norm\.(weight|bias)", key):
            layers.setdefault("norm", {}).update(_layer(match[1], value, norm=True))
        # DINOv2 was trained with its blocks in chunks, blocks.<chunk>.<block>.
        elif match := re.fullmatch(r"blocks\.(?:\d+\.)?(\d+)\.ls(\d)\.gamma", key):
            yield f"block{match[1]}_scale{match[2]}", value
        elif (match := re.fullmatch(r"blocks\.(?:\d+\.)?(\d+)\.(.*)\.(weight|bias)", key)) and match[2] in modules:
            part = modules[match[2]]
            made = _layer(match[3], value, norm=part.startswith("norm"))
            layers.setdefault(f"block{match[1]}_{part}", {}).update(made)
        else:
            yield key, value  # told as unknown
    yield from layers.items()


def _resnet(weights: Weights) -> Iterator[tuple[str, Any]]:
    """The parts of ``ResNet``'s parameters and statistics, of weights by torchvision's names."""
    layers: dict[str, Any] = {}
    stems = {"conv1": "stem", "bn1": "stem_bn"}
    shortcuts = {"downsample.0": "shortcut", "downsample.1": "shortcut_bn"}
    for key, value in weights.items():
        module, _, kind = key.rpartition(".")
        if match := re.fullmatch(r"layer(\d)\.(\d+)\.(.*)", module):
            name = f"stage{int(match[1]) - 1}_block{match[2]}_{shortcuts.get(match[3], match[3])}"
        else:
            name = stems.get(module, module)
        layers.setdefault(name, {}).update(_layer(kind, value, norm="bn" in name))
    yield from layers.items()


def _layer(kind: str, value: np.ndarray, norm: bool = False) -> Mapping[str, np.ndarray]:
    """A weight by flax's name and in its layout."""
    names = {"weight": "scale" if norm else "kernel", "running_mean": "mean", "running_var": "var"}
    if kind == "weight" and not norm:
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return {names.get(kind, kind): value}


def _fitted(name: str, path: Path, shapes: Any, weights: Any) -> Any:
    """The weights as JAX's arrays; DataError if their names or shapes are not the network's."""

    def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
        for key, value in tree.items():
            yield from flat(value, f"{prefix}{key}/") if hasattr(value, "items") else [(prefix + key, value.shape)]

    expected, found = dict(flat(shapes)), dict(flat(weights))
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        what = f"no {missing[0]!r} ({len(missing)} are missing)" if missing else f"{unknown[0]!r}, which it has not"
        raise DataError(f"{path} does not hold the weights of {name}: {what}; check embed.network")
    for key, shape in expected.items():
        if shape != found[key]:
            raise DataError(f"{path}: {key!r} is {found[key]}, but {shape} in {name}; check embed.network")
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), weights)


def _image(side: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
