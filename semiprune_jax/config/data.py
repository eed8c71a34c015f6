"""The sections ``data`` and ``label``: the images, how networks see them, and the labels that a run may use."""

from semiprune_jax.data.budget import LEAST_HELD_OUT, RULES
from semiprune_jax.data.sources import SOURCES
from semiprune_jax.field import FRACTION, POSITIVE, POSITIVE_SHARE, SHARE, Field, OneOf, Rule, Section

_NONE_OR_MEAN = Rule("3 numbers, one per channel, or none", lambda values: len(values) in (0, 3))
_NONE_OR_STD = Rule(
    "3 positive numbers, one per channel, or none",
    lambda values: len(values) in (0, 3) and all(value > 0 for value in values),
)
_CLASSES = Rule("two or more different names, or none", lambda names: len(set(names)) == len(names) != 1)
_COUNTS = Rule(
    "3 whole numbers (pool, test set, classes), or none",
    lambda counts: not counts or (len(counts) == 3 and all(count >= 0 for count in counts)),
)
_MEAN = Rule("3 numbers, one per channel", lambda values: len(values) == 3)
_STD = Rule(
    "3 positive numbers, one per channel", lambda values: len(values) == 3 and all(value > 0 for value in values)
)
_BUDGET = Rule(
    "a fraction below 1, or a count above 1", lambda value: 0 < value < 1 or (value > 1 and value == int(value))
)

DATA = Section(
    "The images: where they lie, which of them a run uses, and how networks see them.",
    {
        "source": Field(
            "digits",
            "Where the images come from: scikit-learn's digits, arrays in an .npz file, a folder of images, or a TFDS "
            "dataset that was prepared as ArrayRecord.",
            OneOf(SOURCES),
        ),
        "path": Field(
            "",
            "arrays: the .npz file. folder: class folders, or the images that data.labels names. tfds: the data "
            "directory. Folders and data directories may be in a bucket (gs://...).",
        ),
        "labels": Field(
            "",
            "folder: a CSV or parquet table with the columns path,label; a blank label is unknown. Empty: class "
            "folders, or Tiny-ImageNet's val_annotations.txt. With an empty data.path the table names the images.",
        ),
        "test_path": Field(
            "",
            "folder: the test set, with the same classes. If this and data.test_labels are empty, there is no test set "
            "but the one of data.test_fraction.",
        ),
        "test_labels": Field("", "folder: a table of the test set."),
        "name": Field("", "tfds: the dataset, such as cifar10 or cifar10:3.0.2."),
        "split": Field("train", "tfds: the split of the pool."),
        "test_split": Field("test", "tfds: the split of the test set; empty: no test set."),
        "classes": Field(
            (),
            "folder: the classes, in order; any other name is an error. Empty: those of the folders or of the table, "
            "sorted.",
            _CLASSES,
            element=str,
        ),
        "follow_links": Field(False, "folder: whether images may be links that leave their folder."),
        "skip_bad": Field(
            False,
            "folder, tfds: whether to leave out images that cannot be decoded, and to list them in label/skipped.json.",
        ),
        "imbalance": Field(
            1.0,
            "Long tail: the last class keeps this share of the first class's examples; 1 keeps all.",
            POSITIVE_SHARE,
        ),
        "corruption": Field(
            0.0,
            "Share of the pool that is corrupted, in five kinds; the test set stays clean. The paper has 0.3.",
            SHARE,
        ),
        "corruption_faithful": Field(
            False,
            "Whether to repeat the mistakes of the released script: black fog, and noise that wraps around.",
        ),
        "test_fraction": Field(
            0.0, "Part of the labelled examples that is set apart for testing if there is no test set.", FRACTION
        ),
        "expected": Field(
            (),
            "Numbers of images in the pool, of images in the test set, and of classes. A run refuses data with other "
            "numbers, and plan uses these instead of the data. Empty: any numbers.",
            _COUNTS,
            element=int,
        ),
        "limit_per_class": Field(
            0,
            "Largest number of images of each class, in the pool and in the test set; 0: all.",
            Rule("0 (all) or more", lambda value: value >= 0),
        ),
        "image_size": Field(32, "Side of a network's square input, in pixels.", POSITIVE),
        "crops": Field(
            "padded",
            "padded: images become squares of data.image_size, and views are windows of them with a reflected border "
            "(CIFAR). resized: weak views for semi-supervised learning are windows of larger squares, strong and "
            "supervised views are random parts of the image, resized, and tests see the centre (ImageNet).",
            OneOf(("padded", "resized")),
        ),
        "square_size": Field(
            256, "resized: side of the squares, and of an image's shorter side before its centre is cut out, in pixels."
        ),
        "supervised_crops": Field(
            "original",
            "resized: cut the parts out of the original image, or out of its cached square, which is fast but inexact.",
            OneOf(("original", "cached")),
        ),
        "decoder": Field(
            "pillow",
            "The decoder; fast decodes JPEG with simplejpeg (extra fast-decode) and may differ by a grey level.",
            OneOf(("pillow", "fast")),
        ),
        "pool": Field(
            "auto",
            "Keep the pool in the memory of the devices, or stream it, decoding images as they are used; auto decides "
            "by runtime.memory_share.",
            OneOf(("auto", "memory", "stream")),
        ),
        "cache": Field(
            "",
            "A directory on a local disk that all runs share. It keeps streamed squares, 3 * square_size^2 bytes each, "
            "and the labels of a prepared dataset. Empty: none.",
        ),
        "mean": Field(
            (0.485, 0.456, 0.406),
            "Mean of each channel in [0, 1], subtracted from images. FixMatch in USB uses ImageNet's for CIFAR-10.",
            _MEAN,
        ),
        "std": Field((0.229, 0.224, 0.225), "Standard deviation of each channel, which divides images.", _STD),
        "supervised_mean": Field(
            (),
            "Mean for the proxy and the retrainings; empty: data.mean. ELFS and SemiPrune use CIFAR's for CIFAR.",
            _NONE_OR_MEAN,
        ),
        "supervised_std": Field(
            (), "Standard deviation for the proxy and the retrainings; empty: data.std.", _NONE_OR_STD
        ),
        "padding": Field(0.125, "Reflected border of random windows, as a fraction of the side.", FRACTION),
        "flip": Field(True, "Whether views may be mirrored; digits and text need False."),
        "oracle": Field(
            False,
            "For benchmarks: whether to keep all true labels beside the budget, to measure quality and to retrain.",
        ),
    },
)

LABEL = Section(
    "The label budget: which labels a run may use, and which of them judge its results.",
    {
        "budget": Field(0.1, "Labels that a run may use: a fraction below 1, or a count.", _BUDGET),
        "rule": Field(
            "per_class",
            "per_class draws from each class in proportion to its size, equal draws the same number of each class (all "
            "of a class that has fewer), uniform draws from the whole pool, and given takes every label that the "
            "source has.",
            OneOf(RULES),
        ),
        "held_out": Field(
            0.1,
            "Share of the budget that no training and no search reads. Its true labels judge pseudo-labels and "
            f"selections. At least {LEAST_HELD_OUT} of each class, but no more than half of its labels; 0: none.",
            FRACTION,
        ),
    },
)
