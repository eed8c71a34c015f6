"""The sections ``pseudolabel``, ``temi``, ``embed`` and ``swav``: the source of pseudo-labels, and embeddings."""

from semiprune_jax.field import FRACTION, NOT_NEGATIVE, POSITIVE, Field, OneOf, Rule, Section
from semiprune_jax.models.networks import NETWORKS, PRETRAINED
from semiprune_jax.select.selectors import readers

_AREA = Rule(
    "two shares of an image, 0 < smallest <= largest <= 1",
    lambda shares: len(shares) == 2 and 0 < shares[0] <= shares[1] <= 1,
)

PSEUDOLABEL = Section(
    "The source of pseudo-labels. A pool whose labels are all in the budget needs none.",
    {
        "source": Field(
            "fixmatch",
            "fixmatch: semi-supervised learning, see ssl. clusters: clusters of embeddings that need no label "
            "(embed.source), found by TEMI as in ELFS.",
            OneOf(("fixmatch", "clusters")),
        ),
    },
)

TEMI = Section(
    "TEMI, which finds as many clusters of embeddings as there are classes; read with pseudolabel.source = 'clusters' "
    "only.",
    {
        "heads": Field(50, "Heads that are trained at once; the one with the lowest loss counts.", POSITIVE),
        "neighbours": Field(
            50, "Nearest neighbours of each embedding, one of which is its partner in a step.", POSITIVE
        ),
        "epochs": Field(200, "Passes over the embeddings.", POSITIVE),
        "batch_size": Field(1024, "Embeddings in a step.", POSITIVE),
        "learning_rate": Field(4e-4, "Learning rate after warm-up.", POSITIVE),
        "warm_up_epochs": Field(20, "Epochs in which the learning rate rises.", NOT_NEGATIVE),
        "teacher_decay": Field(0.996, "Decay of the teacher, an average of the heads.", FRACTION),
        "select": Field(
            "last",
            "Which clusters count. last: those of the last epoch. min_loss: those of the epoch with the lowest loss. "
            "oracle: of ten candidates, those that agree best with true labels (in ELFS's code, with the test set's).",
            OneOf(("last", "min_loss", "oracle")),
        ),
        "beta": Field(0.6, "1 is mutual information; lower values keep the clusters similar in size.", POSITIVE),
    },
)

EMBED = Section(
    f"Embeddings, which are read by some selectors ({', '.join(readers('features'))}), by extrapolated scores and by "
    "clusters only.",
    {
        "source": Field(
            "proxy",
            "proxy, fixmatch: the input of that network's last layer. file: your own embeddings. weights: "
            "embed.network with your weights. swav: a network that SwAV trains on the pool.",
            OneOf(("proxy", "fixmatch", "file", "weights", "swav")),
        ),
        "path": Field(
            "",
            "file: .npy, .npz, .safetensors or .parquet, with a row for each image of the pool. weights: .safetensors "
            "with timm's, torchvision's or the official names.",
        ),
        "network": Field(
            "vit_b16",
            "weights: vit_s16 and vit_b16 are DINO's, vit_s14 and vit_b14 DINOv2's, resnet50 torchvision's or SwAV's.",
            OneOf(PRETRAINED),
        ),
        "image_size": Field(224, "weights: side of the resized images, in pixels.", POSITIVE),
    },
)

SWAV = Section(
    "SwAV, which learns without any label; read with embed.source = 'swav' only. The defaults are for CIFAR; "
    "recipes.large_images has those for larger images.",
    {
        "network": Field("resnet50_cifar", "The network that is trained.", OneOf(NETWORKS)),
        "epochs": Field(500, "Passes over the pool.", POSITIVE),
        "batch_size": Field(512, "Images in a step.", POSITIVE),
        "learning_rate": Field(0.06, "Peak of the cosine.", POSITIVE),
        "final_learning_rate": Field(6e-4, "Floor of the cosine.", NOT_NEGATIVE),
        "warm_up_epochs": Field(10, "Epochs in which the learning rate rises.", NOT_NEGATIVE),
        "weight_decay": Field(1e-6, "Weight decay.", NOT_NEGATIVE),
        "prototypes": Field(30, "Number of prototypes.", Rule("2 or more", lambda value: value >= 2)),
        "temperature": Field(0.5, "Divides the scores of prototypes.", POSITIVE),
        "epsilon": Field(0.05, "Entropy regularisation of Sinkhorn's codes.", POSITIVE),
        "frozen_steps": Field(900, "Steps at the beginning in which the prototypes do not change.", NOT_NEGATIVE),
        "crop_area": Field(
            (0.08, 1.0), "Smallest and largest share of the image in each of the two crops that get codes.", _AREA
        ),
        "small_crops": Field(0, "Further crops of each image, which only predict.", NOT_NEGATIVE),
        "small_crop_area": Field((0.05, 0.14), "Smallest and largest share of the image in a small crop.", _AREA),
        "small_crop_size": Field(96, "Side of a small crop, in pixels.", POSITIVE),
    },
)
