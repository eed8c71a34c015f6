"""Networks with weights from a .safetensors file that a user has, in which they have PyTorch's names.

Vision transformers may have the names of DINO's, DINOv2's and timm's repositories (which agree) or torchvision's;
ResNet-50 those of torchvision, timm and SwAV. Prefixes that wrappers add (``module.``, ``backbone.``, ...) are removed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.errors import DataError
from semiprune_jax.models.networks import PRETRAINED, Pretrained
from semiprune_jax.models.resnet import ResNet
from semiprune_jax.models.vit import VisionTransformer

_PREFIX = re.compile(r"^((module|backbone|encoder_q|teacher|student|model|_orig_mod)\.)+")
# Weights of heads, and weights that only training needed.
_IGNORED = re.compile(r"(mask_token|head\..*|heads\..*|fc\..*|projection_head\..*|prototypes.*|.*num_batches_tracked)$")
_LAYER = r"encoder\.layers\.encoder_layer_(\d+)\."
_FROM_TORCHVISION = {  # a vision transformer's names there: DINO's names
    r"class_token": "cls_token",
    r"encoder\.pos_embedding": "pos_embed",
    r"encoder\.ln\.(.*)": r"norm.\1",
    r"conv_proj\.(.*)": r"patch_embed.proj.\1",
    _LAYER + r"ln_(\d)\.(.*)": r"blocks.\1.norm\2.\3",
    _LAYER + r"self_attention\.in_proj_(.*)": r"blocks.\1.attn.qkv.\2",
    _LAYER + r"self_attention\.out_proj\.(.*)": r"blocks.\1.attn.proj.\2",
    _LAYER + r"mlp\.(?:0|linear_1)\.(.*)": r"blocks.\1.mlp.fc1.\2",
    _LAYER + r"mlp\.(?:3|linear_2)\.(.*)": r"blocks.\1.mlp.fc2.\2",
}
_IN_BLOCK = {  # DINO's names of the modules of a block: ours
    "attn.qkv": "qkv",
    "attn.proj": "out",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
    "norm1": "norm1",
    "norm2": "norm2",
}

Weights = dict[str, np.ndarray]


def load(name: str, path: Path) -> tuple[Callable, Any]:
    """(apply, variables) of the network of this name in ``networks.PRETRAINED``, with the weights of a file.

    ``apply(variables, x f32[B, H, W, 3]) -> f32[B, D]`` computes features of normalised images, whose sides are
    multiples of the network's ``multiple``.

    Raises:
      DataError: the file cannot be read, or its weights are not those of the network; says which.
    """
    (apply, expected), weights = shapes(name), _read(path)
    convert = _vit_variables if PRETRAINED[name].kind == "vit" else _resnet_variables
    return apply, _fitted(name, path, expected, convert(weights))


def shapes(name: str) -> tuple[Callable, Any]:
    """The same as ``load``, with the shapes of the weights instead of the weights."""
    record = PRETRAINED[name]
    return _vit_shapes(record) if record.kind == "vit" else _resnet_shapes(record)


def _vit_shapes(record: Pretrained) -> tuple[Callable, Any]:
    vit = VisionTransformer(**record.fields)
    return vit.apply, jax.eval_shape(vit.init, jax.random.key(0), _image(record.multiple))


def _resnet_shapes(record: Pretrained) -> tuple[Callable, Any]:
    resnet = ResNet(1, **record.fields)

    def apply(variables: Any, x: jax.Array) -> Any:
        _, features = resnet.apply(variables, x, train=False)  # pyright: ignore[reportGeneralTypeIssues]
        return features

    init = jax.eval_shape(lambda key, x: resnet.init(key, x, train=True), jax.random.key(0), _image(record.multiple))
    return apply, init


def _image(side: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)


def _read(path: Path) -> Weights:
    from safetensors.numpy import load_file

    if path.suffix != ".safetensors" or not path.is_file():
        raise DataError(f"embed.path = {str(path)!r}: expected a .safetensors file of a network's weights")
    try:
        found = load_file(path)
    except Exception as error:  # there is a type for each way in which a file can be broken
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())[:200]}); write it again") from None
    weights = {}
    for key, value in found.items():
        plain = _PREFIX.sub("", key)
        if not _IGNORED.fullmatch(plain):
            weights[plain] = np.asarray(value, np.float32)
    return weights


def _vit_variables(weights: Weights) -> dict[str, Any]:
    """The variables of ``VisionTransformer``; weights with unknown names keep them."""
    return {"params": dict(_vit(_from_torchvision(weights)))}


def _from_torchvision(weights: Weights) -> Weights:
    """A vision transformer's weights by DINO's names, if they have torchvision's."""
    if "class_token" not in weights:
        return weights

    def renamed(key: str) -> str:
        for pattern, name in _FROM_TORCHVISION.items():
            if match := re.fullmatch(pattern, key):
                return match.expand(name)
        return key

    return {renamed(key): value for key, value in weights.items()}


def _vit(weights: Weights) -> Iterator[tuple[str, Any]]:
    """The parts of ``VisionTransformer``'s parameters, from weights by DINO's names."""
    layers: dict[str, Any] = {}
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
        elif (match := re.fullmatch(r"blocks\.(?:\d+\.)?(\d+)\.(.*)\.(weight|bias)", key)) and match[2] in _IN_BLOCK:
            part = _IN_BLOCK[match[2]]
            made = _layer(match[3], value, norm=part.startswith("norm"))
            layers.setdefault(f"block{match[1]}_{part}", {}).update(made)
        else:
            yield key, value  # ``_fitted`` reports it
    yield from layers.items()


def _resnet_variables(weights: Weights) -> dict[str, Any]:
    """The variables of ``ResNet``; weights with unknown names keep them."""
    params: dict[str, Any] = {"head": {"kernel": np.zeros((2048, 1)), "bias": np.zeros(1)}}  # features do not need it
    stats: dict[str, Any] = {}
    for part, held in _resnet(weights):
        params[part] = {key: value for key, value in held.items() if key not in ("mean", "var")}
        if len(params[part]) < len(held):
            stats[part] = {key: held[key] for key in held.keys() - params[part].keys()}
    return {"params": params, "batch_stats": stats}


def _resnet(weights: Weights) -> Iterator[tuple[str, Any]]:
    """The parts of ``ResNet``'s parameters and statistics, from weights by torchvision's names."""
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
        wrong = f"{missing[0]!r} is missing ({len(missing)} in all)" if missing else f"{unknown[0]!r} is unknown to it"
        raise DataError(f"{path} does not hold the weights of {name}: {wrong}; check embed.network")
    for key, shape in expected.items():
        if shape != found[key]:
            raise DataError(f"{path}: {key!r} is {found[key]}, but {shape} in {name}; check embed.network")
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), weights)
