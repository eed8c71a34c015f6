"""Networks with weights from a file: against PyTorch under three naming schemes, and the errors for other files."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from semiprune_jax.errors import DataError
from semiprune_jax.models import networks, pretrained
from tests import goldens


@pytest.fixture(autouse=True)
def small_ones(monkeypatch):
    """Replaces twelve blocks of 384 channels by two of 24."""
    for name, fields in goldens.VITS.items():
        monkeypatch.setitem(networks.PRETRAINED, name, networks.vit(*fields))


def golden(name):
    with np.load(goldens.DIRECTORY / f"pretrained_{name}.npz") as file:
        return dict(file)


def weights(found):
    """PyTorch's state dictionary."""
    shapes = [tuple(int(side) for side in text.split(",") if side) for text in found["shapes"]]
    return {
        str(key): goldens.named_weight(str(key), shape) if "num_batches" not in key else np.array(7)
        for key, shape in zip(found["names"], shapes, strict=True)
    }


def torchvisions(named):
    """A vision transformer's tensors as torchvision names them."""
    block = r"encoder.layers.encoder_layer_\1."
    patterns = {
        r"^cls_token$": "class_token",
        r"^pos_embed$": "encoder.pos_embedding",
        r"^norm\.": "encoder.ln.",
        r"^patch_embed\.proj\.": "conv_proj.",
        r"^blocks\.(\d+)\.norm(\d)\.": block + r"ln_\2.",
        r"^blocks\.(\d+)\.attn\.qkv\.": block + "self_attention.in_proj_",
        r"^blocks\.(\d+)\.attn\.proj\.": block + "self_attention.out_proj.",
        r"^blocks\.(\d+)\.mlp\.fc1\.": block + "mlp.0.",
        r"^blocks\.(\d+)\.mlp\.fc2\.": block + "mlp.3.",
    }

    def name(key):
        for pattern, other in patterns.items():
            key = re.sub(pattern, other, key)
        return key

    renamed = {name(key): value for key, value in named.items()}
    return renamed | {"heads.head.weight": np.zeros((5, 24), np.float32)}


NAMINGS = {
    "plain": lambda named: named,
    "wrapped": lambda named: (
        {f"module.backbone.{key}": value for key, value in named.items()}
        | {"module.prototypes.weight": np.zeros((3, 2), np.float32), "module.projection_head.0.bias": np.zeros(2)}
    ),
    "torchvision": torchvisions,
    "chunked": lambda named: (
        {re.sub(r"^blocks\.", "blocks.0.", key): value for key, value in named.items()}
        | {"mask_token": np.zeros((1, 24), np.float32)}
    ),
}


@pytest.mark.parametrize(
    ("name", "naming"),
    [
        ("vit_s16", "plain"),
        ("vit_s16", "wrapped"),
        ("vit_s16", "torchvision"),
        ("vit_s14", "plain"),
        ("vit_s14", "chunked"),
        ("resnet50", "plain"),
        ("resnet50", "wrapped"),
    ],
)
def test_features_agree_with_pytorch(tmp_path, name, naming):
    found = golden(name)
    save_file(NAMINGS[naming](weights(found)), tmp_path / "w.safetensors")
    apply, variables = pretrained.load(name, tmp_path / "w.safetensors")
    for side in goldens.VIT_PIXELS.get(name, (32,)):
        x = (found[f"image/{side}"] / 255 - np.array(goldens.MEAN)) / np.array(goldens.STD)
        got, expected = apply(variables, jnp.asarray(x, jnp.float32)), found[f"features/{side}"]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"extra.weight": np.zeros(3, np.float32)}, "'params/extra.weight' is unknown to it"),
        (lambda w: {k: v for k, v in w.items() if k != "norm.bias"}, r"'params/norm/bias' is missing \(1 in all\)"),
        (lambda w: w | {"norm.bias": np.zeros(3, np.float32)}, r"'params/norm/bias' is \(3,\), but \(24,\) in vit_s16"),
        (lambda w: {}, r"'params/block0_fc1/bias' is missing \(\d+ in all\); check embed.network"),
    ],
)
def test_weights_of_another_network(tmp_path, change, message):
    save_file(change(weights(golden("vit_s16"))), tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=message):
        pretrained.load("vit_s16", tmp_path / "w.safetensors")


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    (tmp_path / "w.pt").write_bytes(b"nothing")
    for name, message in (
        ("w.safetensors", "cannot be read"),
        ("w.pt", "expected a .safetensors"),
        ("x.safetensors", "expected"),
    ):
        with pytest.raises(DataError, match=message):
            pretrained.load("vit_s16", tmp_path / name)
