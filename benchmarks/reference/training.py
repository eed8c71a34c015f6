"""One step of FixMatch and one of supervised training, as USB and SemiPrune take them, in PyTorch."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sgd(
    model: nn.Module, *, learning_rate: float, momentum: float, nesterov: bool, weight_decay: float, matrices_only: bool
) -> torch.optim.SGD:
    """All parameters decay, or (``matrices_only``, FixMatch's) those of more than one dimension."""
    flat = [p for p in model.parameters() if matrices_only and p.ndim <= 1]
    rest = [p for p in model.parameters() if not (matrices_only and p.ndim <= 1)]
    groups = [{"params": rest, "weight_decay": weight_decay}, {"params": flat, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=nesterov)


def fixmatch_schedule(optimizer: torch.optim.Optimizer, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """7/16 of a cosine, without warm-up."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: max(0.0, math.cos(7.0 * math.pi * step / (16.0 * total)))
    )


class Average:
    """The moving average of the parameters; buffers are the online model's."""

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
    """``batch``: labelled [B, 3, H, W], label [B], weak and strong [mu B, 3, H, W]; one joint forward (use_cat)."""
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
) -> tuple[float, dict[str, Tensor]]:
    """The loss, and what the training forward pass says of each example before the update."""
    model.train()
    logits = model(image)
    loss = F.cross_entropy(logits, label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    return loss.item(), observe(logits.detach(), label)


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
