"""One step of FixMatch and one of supervised training, as USB and SemiPrune take them, in PyTorch."""

import copy
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from benchmarks.reference import augmentation


def sgd(
    model: nn.Module,
    *,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    matrices_only: bool,
    fused: bool | None = None,
) -> torch.optim.SGD:
    """SGD in which all parameters decay, or (``matrices_only``, for FixMatch) those of more than one dimension."""
    flat = [p for p in model.parameters() if matrices_only and p.ndim <= 1]
    rest = [p for p in model.parameters() if not (matrices_only and p.ndim <= 1)]
    groups = [{"params": rest, "weight_decay": weight_decay}, {"params": flat, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov, fused=fused)


def fixmatch_schedule(optimizer: torch.optim.Optimizer, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """7/16 of a cosine, without warm-up."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: max(0.0, math.cos(7.0 * math.pi * step / (16.0 * total)))
    )


class Average:
    """The moving average of the parameters; the buffers are those of the online model."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in model.named_parameters()}

    def update(self, model: nn.Module) -> None:
        """After an optimizer step."""
        for name, p in model.named_parameters():
            self.shadow[name] = (1.0 - self.decay) * p.detach() + self.decay * self.shadow[name]


def fixmatch_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    average: Average,
    batch: dict[str, Tensor],
    *,
    threshold: float,
    weight: float,
) -> dict[str, float]:
    """One step with a joint forward pass (USB's use_cat).

    ``batch`` holds labelled [B, 3, H, W], label [B], weak and strong [mu B, 3, H, W].
    """
    model.train()
    size, unlabelled = len(batch["labelled"]), len(batch["weak"])
    logits = model(torch.cat([batch["labelled"], batch["weak"], batch["strong"]]))
    labelled, weak, strong = logits.split([size, unlabelled, unlabelled])
    loss_labelled = F.cross_entropy(labelled, batch["label"])
    with torch.no_grad():
        confidence, target = torch.softmax(weak, -1).max(-1)
        mask = (confidence >= threshold).to(logits.dtype)
    loss_unlabelled = (F.cross_entropy(strong, target, reduction="none") * mask).mean()
    loss = loss_labelled + weight * loss_unlabelled
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    average.update(model)
    return {
        "loss": loss.item(),
        "loss_labelled": loss_labelled.item(),
        "loss_unlabelled": loss_unlabelled.item(),
        "mask_rate": mask.mean().item(),
    }


def supervised_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    image: Tensor,
    label: Tensor,
) -> tuple[float, Tensor, float]:
    """One step; returns its loss, the logits of its forward pass before the update, and the batch's accuracy."""
    model.train()
    logits = model(image)
    loss = F.cross_entropy(logits, label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.item(), logits.detach(), (logits.argmax(-1) == label).float().mean().item()


def observe(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """p(label), the largest other probability, correctness and EL2N, [B] each."""
    p = torch.softmax(logits, -1)
    own = p.gather(1, label[:, None])[:, 0]
    others = p.scatter(1, label[:, None], -1.0)
    return {
        "p_label": own,
        "p_other": others.max(-1).values,
        "correct": p.argmax(-1) == label,
        "el2n": torch.linalg.vector_norm(p - F.one_hot(label, p.shape[-1]), dim=-1),
    }


class EmaModel(Average):
    """The average as the released code keeps it: a model that each update fills twice from state dictionaries."""

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model, decay)
        self.model = copy.deepcopy(model)

    def update(self, model: nn.Module) -> None:
        """After an optimizer step."""
        super().update(model)
        self.model.load_state_dict(model.state_dict())
        self.model.load_state_dict(self.shadow, strict=False)


class Tuned:
    """The same steps as a careful user of PyTorch would write them.

    They use channels last, bfloat16 autocast and a fused optimizer on a GPU, an average in place over all tensors at
    once, and no reads by the host. Batches lie on the device.

    Args:
      compiled: "" for eager, or the mode of ``torch.compile``.
      half: whether a GPU computes in bfloat16.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        *,
        ema_decay: float = 0.0,
        threshold: float = 0.0,
        weight: float = 0.0,
        compiled: str = "",
        half: bool = True,
    ):
        self.model, self.optimizer, self.schedule = model.train(), optimizer, schedule
        self.threshold, self.weight = threshold, weight
        self.device = next(model.parameters()).device.type
        self.half = half and self.device == "cuda"
        self.average = [p.detach().clone() for p in model.parameters()] if ema_decay else []
        self._blend = get_ema_multi_avg_fn(ema_decay)
        self._step = 0
        self._fixmatch_loss, self._supervised_loss = self._fixmatch, self._supervised
        if compiled:
            self._fixmatch_loss = torch.compile(self._fixmatch, mode=compiled)
            self._supervised_loss = torch.compile(self._supervised, mode=compiled)

    def fixmatch_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Like the function of that name, but its results stay on the device."""
        losses = self._fixmatch_loss(batch["labelled"], batch["label"], batch["weak"], batch["strong"])
        self._advance(losses["loss"])
        if self.average:
            with torch.no_grad():
                self._blend(self.average, list(self.model.parameters()), self._step)
        return losses

    def supervised_step(
        self, image: Tensor, label: Tensor, ids: Tensor, record: dict[str, Tensor], epoch: int
    ) -> Tensor:
        """Like the function of that name, but it writes into the record, [N, T] each, and returns the loss."""
        loss, seen = self._supervised_loss(image, label)
        self._advance(loss)
        for name, values in seen.items():
            record[name][ids, epoch] = values
        return loss

    def _advance(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self._step += 1

    def _logits(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            return self.model(images.contiguous(memory_format=torch.channels_last)).float()

    def _fixmatch(self, labelled: Tensor, label: Tensor, weak: Tensor, strong: Tensor) -> dict[str, Tensor]:
        size, unlabelled = len(labelled), len(weak)
        of_labelled, of_weak, of_strong = self._logits(torch.cat([labelled, weak, strong])).split(
            [size, unlabelled, unlabelled]
        )
        loss_labelled = F.cross_entropy(of_labelled, label)
        confidence, target = torch.softmax(of_weak.detach(), -1).max(-1)
        mask = (confidence >= self.threshold).to(of_strong.dtype)
        loss_unlabelled = (F.cross_entropy(of_strong, target, reduction="none") * mask).mean()
        return {
            "loss": loss_labelled + self.weight * loss_unlabelled,
            "loss_labelled": loss_labelled.detach(),
            "loss_unlabelled": loss_unlabelled.detach(),
            "mask_rate": mask.mean(),
        }

    def _supervised(self, image: Tensor, label: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self._logits(image)
        return F.cross_entropy(logits, label), observe(logits.detach(), label)


def predict(
    model: nn.Module, images: np.ndarray, statistics: tuple[tuple[float, ...], tuple[float, ...]], batch_size: int
) -> tuple[np.ndarray, list[list[float]]]:
    """Classes i64[N], and all probabilities as lists of Python's floats, as USB's evaluation gathers them."""
    model.eval()
    device, classes, probabilities = next(model.parameters()).device, [], []
    with torch.no_grad():
        for first in range(0, len(images), batch_size):
            batch = [
                augmentation.normalise(Image.fromarray(image), *statistics).astype(np.float32)
                for image in images[first : first + batch_size]
            ]
            logits = model(torch.from_numpy(np.stack(batch)).to(device))
            classes.extend(logits.argmax(-1).cpu().tolist())
            probabilities.extend(torch.softmax(logits, -1).cpu().tolist())
    return np.array(classes), probabilities
