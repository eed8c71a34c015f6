"""Names and layouts of tensors, in the PyTorch modules here and in Flax's parameter trees of the same networks."""

import re
from collections.abc import Mapping

import numpy as np
import torch


def flax_path(torch_name: str) -> str:
    """Our name of a PyTorch tensor: "layer1.0.downsample.1.weight" -> "stage0_block0_shortcut_bn/scale"."""
    *module, leaf = torch_name.split(".")
    name = ".".join(module)
    if match := re.fullmatch(r"(layer|stages\.)(\d+)\.(\d+)\.(.+)", name):
        stage = int(match[2]) - (match[1] == "layer")
        part = {"downsample.0": "shortcut", "downsample.1": "shortcut_bn"}.get(match[4], match[4])
        name = f"stage{stage}_block{match[3]}_{part}"
    else:
        name = {"conv1": "stem", "bn1": "stem_bn", "fc": "head"}.get(name, name)
    norm = name == "bn" or "bn" in name.split("_")[-1]
    leaves = {"weight": "scale" if norm else "kernel", "running_mean": "mean", "running_var": "var"}
    return f"{name}/{leaves.get(leaf, leaf)}"


def to_flax(tensor: torch.Tensor) -> np.ndarray:
    """Transposes OIHW to HWIO, and OI to IO."""
    array = tensor.detach().cpu().numpy()
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def from_flax(array: np.ndarray) -> torch.Tensor:
    """The inverse of ``to_flax``."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T))


def load(model: torch.nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Fills parameters and statistics from arrays by their names in Flax, "stage0_block0_conv1/kernel"."""
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if "num_batches" not in key:
                tensor.copy_(from_flax(arrays[flax_path(key)]))


def dump(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The inverse of ``load``."""
    named = {key: tensor for key, tensor in model.state_dict().items() if "num_batches" not in key}
    return {flax_path(key): to_flax(tensor) for key, tensor in named.items()}
