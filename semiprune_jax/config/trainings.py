"""The sections ``model``, ``ssl``, ``proxy`` and ``retrain``: the networks that a run trains, and their trainings."""

from semiprune_jax.field import FRACTION, NOT_NEGATIVE, POSITIVE, SHARE, Field, OneOf, Rule, Section
from semiprune_jax.learners import LEARNERS
from semiprune_jax.models.networks import NETWORK_NAMES, is_network

NETWORK = Rule(NETWORK_NAMES, is_network)
SEEDS = Rule("whole numbers, 0 or more", lambda seeds: len(seeds) > 0 and all(seed >= 0 for seed in seeds))

MODEL = Section(
    "The network of each training. resnet18, resnet34 and resnet50 are torchvision's.",
    {
        "ssl": Field("wrn_28_2", "The network of semi-supervised learning. Former name: model.fixmatch.", NETWORK),
        "proxy": Field(
            "resnet18_cifar", "The network whose training records the dynamics that give the scores.", NETWORK
        ),
        "retrain": Field("resnet18_cifar", "The network that is trained on each coreset.", NETWORK),
        "wide_resnet": Field(
            "usb",
            "Wide ResNets: usb lets conv1 of stages 2 and 3 read the raw input, tf the activated one.",
            OneOf(("usb", "tf")),
        ),
    },
)

SSL = Section(
    "Semi-supervised learning: FixMatch or a relative learns from the labelled images and from all others. "
    "Former name: fixmatch.",
    {
        "learner": Field(
            "fixmatch",
            "flexmatch has a threshold for each class, freematch adaptive thresholds, softmatch weights, and "
            "pseudo_label no strong views.",
            OneOf(LEARNERS),
        ),
        "alignment": Field(
            "none",
            "For pools with a long tail: none keeps the predicted shares of classes; uniform makes them equal, by "
            "dividing predictions by their average; labelled makes them those of the labels.",
            OneOf(("none", "uniform", "labelled")),
        ),
        "steps": Field(
            102_400,
            "Steps of the training. The default is 100 epochs of USB's 1,024 steps, which CIFAR-10 needs; after 11,100 "
            "(100 passes of its 50,000 images) the accuracy of its pseudo-labels was still rising at 85%.",
            POSITIVE,
        ),
        "batch_size": Field(64, "Labelled images in a step.", POSITIVE),
        "mu": Field(7, "Unlabelled images for each labelled one.", POSITIVE),
        "threshold": Field(
            0.95,
            "Lowest probability at which a pseudo-label counts; freematch and softmatch do not read it.",
            SHARE,
        ),
        "unsupervised_weight": Field(
            1.0,
            "Weight of the loss of unlabelled images, lambda_u; at 0 batch statistics leave them out, too.",
            NOT_NEGATIVE,
        ),
        "operations": Field(3, "RandAugment operations of a strong view.", NOT_NEGATIVE),
        "learning_rate": Field(0.03, "Peak of the 7/16 cosine.", POSITIVE),
        "momentum": Field(0.9, "Momentum of SGD.", FRACTION),
        "nesterov": Field(True, "Whether the momentum is Nesterov's."),
        "weight_decay": Field(5e-4, "Weight decay of matrices and kernels only.", NOT_NEGATIVE),
        "ema_decay": Field(
            0.999,
            "Decay of the average of the parameters, which makes the predictions. The default ruins runs of fewer than "
            "a few thousand steps.",
            FRACTION,
        ),
        "bn_momentum": Field(
            0.999,
            "Part of the old running statistics that batch norm keeps (1 - momentum in PyTorch). The default ruins "
            "short runs, as that of ema_decay does.",
            FRACTION,
        ),
        "eval_every_steps": Field(1000, "Steps between two evaluations on the test set, if there is one.", POSITIVE),
    },
)


def _supervised(title: str, own: dict[str, Field]) -> Section:
    """SemiPrune's CIFAR recipe, which the proxy and the retrainings share, and a training's own fields."""
    shared = {
        "epochs": Field(200, "Passes over the examples.", POSITIVE),
        "batch_size": Field(128, "Images in a step.", POSITIVE),
        "learning_rate": Field(0.1, "Peak of the per-step cosine.", POSITIVE),
        "final_learning_rate": Field(1e-4, "Floor of the cosine.", NOT_NEGATIVE),
        "momentum": Field(0.9, "Momentum of SGD.", FRACTION),
        "nesterov": Field(True, "Whether the momentum is Nesterov's; False in the other datasets' recipes."),
        "weight_decay": Field(
            5e-4, "Weight decay of all parameters; 1e-4 in the other datasets' recipes.", NOT_NEGATIVE
        ),
        "bn_momentum": Field(0.9, "Part of the old running statistics that batch norm keeps.", FRACTION),
        "eval_every_epochs": Field(10, "Epochs between two evaluations on the test set, if there is one.", POSITIVE),
    }
    return Section(title, shared | own)


PROXY = _supervised(
    "The proxy: a network that trains on the pseudo-labels and records how it predicts each example.",
    {
        "examples": Field(
            "all",
            "Train on all examples, or on the labelled ones alone, with their labels (Score Extrapolation).",
            OneOf(("all", "labelled")),
        ),
        "record_entropy": Field(
            False, "Record entropies for the entropy score; adds 4 bytes for each example and epoch."
        ),
        "record_grad_norm": Field(False, "Record gradient norms for GraNd; adds 4 bytes for each example and epoch."),
        "record_kl": Field(
            False,
            "Record divergences for TDDS; adds 4 bytes for each example and epoch, and on the devices 4 bytes for each "
            "example and class.",
        ),
    },
)

RETRAIN = _supervised(
    "Retraining: a fresh network trains on each coreset and is tested.",
    {
        "steps": Field(
            0,
            "Steps of each retraining, the same at every kept fraction; 0: retrain.epochs decides. The literature on "
            "ImageNet has 300,000.",
            NOT_NEGATIVE,
        ),
        "seeds": Field((0,), "One network is trained with each seed.", SEEDS, element=int),
        "batch_rule": Field(
            "paper",
            "paper: half the batch at 80% pruned, a quarter at 90%. fixed: always the whole batch.",
            OneOf(("paper", "fixed")),
        ),
        "full": Field(False, "Whether to train on the whole pool as well."),
        "labelled_only": Field(False, "Whether to train on the label budget alone as well."),
        "save_model": Field(True, "Whether to keep the parameters of the last epoch, in retrain/<run>/model."),
    },
)
