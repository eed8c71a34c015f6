"""The networks as PyTorch modules: WRN as USB builds it, ResNets with the CIFAR or torchvision's stem."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WideBlock(nn.Module):
    """BN, LeakyReLU, 3x3, BN, LeakyReLU, 3x3, plus a shortcut.

    ``first`` (of stage 1) activates before the residual; elsewhere a block that changes its width reads the raw
    input in both branches, its first batch norm computed for nothing (USB), unless ``activated`` (TensorFlow).
    """

    def __init__(self, channels_in: int, channels: int, stride: int, *, first: bool, activated: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in, eps=1e-5, momentum=0.001)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.001)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if channels_in != channels else None
        self.first, self.activated = first, activated

    def forward(self, x: Tensor) -> Tensor:
        o = F.leaky_relu(self.bn1(x), 0.1)
        if self.first:  # at width 1 its shortcut is the raw input
            x = o if self.shortcut is not None or self.activated else x
        elif self.shortcut is not None and not self.activated:
            o = x
        y = self.conv2(F.leaky_relu(self.bn2(self.conv1(o)), 0.1))
        return y + (x if self.shortcut is None else self.shortcut(x))


class WideResNet(nn.Module):
    """WRN-depth-width (methods of ``semilearn/nets/wrn/wrn.py``)."""

    def __init__(self, classes: int, depth: int, width: int, activated: bool = False):
        super().__init__()
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=True)
        blocks = (depth - 4) // 6
        self.stages = nn.ModuleList(
            nn.ModuleList(
                WideBlock(
                    widths[stage] if block == 0 else widths[stage + 1],
                    widths[stage + 1],
                    2 if stage > 0 and block == 0 else 1,
                    first=stage == 0 and block == 0,
                    activated=activated,
                )
                for block in range(blocks)
            )
            for stage in range(3)
        )
        self.bn = nn.BatchNorm2d(widths[3], eps=1e-3, momentum=0.001)
        self.fc = nn.Linear(widths[3], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.xavier_normal_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in self.stages:
            for block in stage:  # pyright: ignore[reportGeneralTypeIssues]  (a ModuleList is iterable)
                x = block(x)
        return self.fc(F.leaky_relu(self.bn(x), 0.1).mean((2, 3)))


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(channels_in, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride ("v1.5"), 1x1 to four times the channels."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = _shortcut(channels_in, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(channels_in: int, channels: int, stride: int) -> nn.Sequential | None:
    if channels_in == channels and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class ResNet(nn.Module):
    """Four stages (or as many as ``sizes``), under torchvision's names of parameters."""

    def __init__(self, classes: int, block: type, sizes: tuple[int, ...], *, cifar: bool, channels: int = 64):
        super().__init__()
        self.cifar, self.stages = cifar, len(sizes)
        self.conv1 = nn.Conv2d(3, channels, 3 if cifar else 7, 1 if cifar else 2, 1 if cifar else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        channels_in = channels
        for stage, size in enumerate(sizes):
            blocks = []
            for i in range(size):
                blocks.append(block(channels_in, channels * 2**stage, 2 if stage > 0 and i == 0 else 1))
                channels_in = channels * 2**stage * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels_in, classes)
        if not cifar:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if not self.cifar:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def create(name: str, classes: int) -> nn.Module:
    """Creates a network by the package's name of it."""
    if name.startswith("wrn_"):
        depth, width = map(int, name.split("_")[1:3])
        return WideResNet(classes, depth, width, activated=name.endswith("_tf"))
    return {
        "resnet8": lambda: ResNet(classes, Basic, (1, 1, 1), cifar=True, channels=16),
        "resnet18_cifar": lambda: ResNet(classes, Basic, (2, 2, 2, 2), cifar=True),
        "resnet18": lambda: ResNet(classes, Basic, (2, 2, 2, 2), cifar=False),
        "resnet34": lambda: ResNet(classes, Basic, (3, 4, 6, 3), cifar=False),
        "resnet50": lambda: ResNet(classes, Bottleneck, (3, 4, 6, 3), cifar=False),
    }[name]()


def forward_flops(model: nn.Module, pixels: int) -> float:
    """FLOPs of one image, by formula: two for each multiply-add of convolutions and linear layers."""
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module.weight, Tensor)
        total += 2 * output.numel() / output.shape[1] * module.weight.numel()

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, pixels, pixels))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return total
