"""One retraining as the released scripts make it: a process of its own loads the pool, trains, and tests.

python -m benchmarks.reference.retrain POOL.npz NETWORK BATCH_SIZE EPOCHS KEEP
"""

import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from benchmarks.reference import loader, networks, training

_STATISTICS = ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))


def main(path: str, network: str, batch_size: str, epochs: str, keep: str) -> None:
    """Prints the test accuracy."""
    with np.load(path) as pool:
        images, labels, tests, truth = (pool[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    size = images.shape[1]
    views = loader.Views(images, labels, ("weak",), _STATISTICS, padding=0.125, size=size)
    kept = np.random.default_rng(0).permutation(len(images))[: int(len(images) * float(keep))].tolist()
    batches = DataLoader(Subset(views, kept), int(batch_size), shuffle=True, num_workers=2)
    model = networks.create(network, int(labels.max()) + 1)
    optimizer = training.sgd(
        model, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, matrices_only=False
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(epochs) * len(batches), 1e-4)
    for _ in range(int(epochs)):
        for _, label, image in batches:
            training.supervised_step(model, optimizer, schedule, image, label)
    print(np.mean(training.predict(model, tests, _STATISTICS, int(batch_size))[0] == truth))


if __name__ == "__main__":
    main(*sys.argv[1:])
