"""Every setting of a run, once, with its default and meaning.

The defaults are the paper's CIFAR-10 recipe. A file in ``configs/`` starts from ``base_config()`` and sets what is
different. Importing this module imports neither JAX nor the rest of the package.
"""

import math
from typing import Any, TypeAlias

from ml_collections import ConfigDict

# A ConfigDict. The union that it declares as the type of its attributes fits no use of them, hence Any.
Config: TypeAlias = Any

STAGES = ("label", "pseudolabel", "score", "search", "select", "retrain", "report")  # in order


def base_config() -> Config:
    """All fields with their defaults. Batch sizes are global, whatever the number of devices."""
    config = _section()
    config.seed = 0  # of everything but the retrainings, which have retrain.seeds

    config.data = data = _section()
    data.source = "digits"  # digits | arrays (an .npz) | folder (of images) | tfds (prepared as ArrayRecord)
    # arrays: the .npz file. folder: class folders, or images together with data.labels. tfds: the data directory.
    # Folders and data directories may be in a bucket (gs://...).
    data.path = ""
    # folder: a CSV or parquet table with the columns path,label (label may be blank); empty: class folders, or
    # Tiny-ImageNet's val_annotations.txt. With an empty data.path the images are those of the table.
    data.labels = ""
    data.test_path = ""  # folder: of the test set, with the same classes; both empty: none, unless test_fraction
    data.test_labels = ""  # folder: a table of the test set
    data.name = ""  # tfds: the dataset, "cifar10" or "cifar10:3.0.2"
    data.split = "train"  # tfds: of the pool
    data.test_split = "test"  # tfds: of the test set; empty: none
    # folder: the classes, in order; any other name is an error. Empty: those of the folders or in the table, sorted.
    data.classes = ()
    data.follow_links = False  # folder: images may be links that leave their folder
    data.skip_bad = False  # folder, tfds: leave out images that cannot be decoded, and list them in label/skipped.json
    data.imbalance = 1.0  # long tail: the last class keeps this share of the first one's examples; 1: all
    data.corruption = 0.0  # share of the pool corrupted, in five kinds; the test set stays clean. The paper: 0.3
    data.corruption_faithful = False  # with the released script's mistakes: black fog, noise that wraps around
    data.test_fraction = 0.0  # part of the labelled examples set apart for testing where there is no test set
    # Images of the pool, of the test set, and classes: what a run is held to, and what plan counts with where there is
    # no data. Empty: whatever there is.
    data.expected = ()
    data.limit_per_class = 0  # at most so many images of each class, of the pool and of the test set; 0: all
    data.image_size = 32  # pixels of a network's input, square
    # padded: images become squares of that size, views are windows of them with a reflected border (CIFAR).
    # resized: FixMatch's weak views are windows of larger squares; strong and supervised ones are random parts of the
    # image, resized; tested is the centre (ImageNet).
    data.crops = "padded"
    data.square_size = 256  # resized: side of the squares, and of an image's shorter side before its centre is cut out
    data.supervised_crops = "original"  # resized: parts of the original image | cached: of its square; inexact, fast
    data.decoder = "pillow"  # pillow | fast (simplejpeg for JPEG, extra fast-decode; may differ by a grey level)
    data.pool = "auto"  # memory (of the devices) | stream (decoded as they are used) | auto: see runtime.memory_share
    # A directory on a local disk, for all runs: for streamed squares, 3 * square_size^2 bytes each, and for what a
    # prepared dataset's records say. Empty: none.
    data.cache = ""
    data.mean = (0.485, 0.456, 0.406)  # of each channel in [0, 1]; FixMatch in USB uses ImageNet's for CIFAR-10
    data.std = (0.229, 0.224, 0.225)
    data.padding = 0.125  # reflected border of random crops, as a fraction of the side
    data.flip = True  # whether left and right may be exchanged; not for digits or text
    data.oracle = False  # benchmark: keep the true labels beside the budget, to measure with and to retrain on

    config.label = label = _section()
    label.budget = 0.1  # labels a run may use: a fraction below 1, or a count
    label.rule = "per_class"  # per_class | uniform | given (all that the source has)

    config.pseudolabel = pseudolabel = _section()
    # fixmatch | clusters: of embeddings that need no label (embed.source), by TEMI, as ELFS. A pool whose labels are
    # all in the budget needs neither.
    pseudolabel.source = "fixmatch"

    config.model = model = _section()
    # wrn_<depth>_<width> | resnet8 | resnet18_cifar | resnet50_cifar | resnet18, resnet34 or resnet50 (torchvision's)
    model.fixmatch = "wrn_28_2"
    model.proxy = "resnet18_cifar"
    model.retrain = "resnet18_cifar"
    model.wide_resnet = "usb"  # usb: conv1 of stages 2 and 3 reads the raw input | tf: the activated one

    config.fixmatch = fixmatch = _section()
    # fixmatch | flexmatch (a threshold for each class) | freematch (adaptive ones) | softmatch (weights) | pseudo_label
    fixmatch.learner = "fixmatch"
    # Predictions divided by their average, for pools with a long tail, so that the shares of classes are: none (as they
    # come) | uniform | labelled (those of the labels).
    fixmatch.alignment = "none"
    fixmatch.steps = 11_100  # 100 passes of a pool of 50,000 at mu * batch_size = 448
    fixmatch.batch_size = 64  # labelled examples of a step
    fixmatch.mu = 7  # unlabelled examples to each labelled one
    fixmatch.threshold = 0.95  # probability from which on a pseudo-label counts; freematch and softmatch have none
    fixmatch.unsupervised_weight = 1.0  # lambda_u; at 0 the unlabelled images leave the batch statistics too
    fixmatch.operations = 3  # RandAugment operations of a strong view
    fixmatch.learning_rate = 0.03  # peak of the 7/16 cosine
    fixmatch.momentum = 0.9
    fixmatch.nesterov = True
    fixmatch.weight_decay = 5e-4  # of matrices and kernels only
    fixmatch.ema_decay = 0.999  # of the evaluated parameters; ruins runs of fewer than a few thousand steps
    fixmatch.bn_momentum = 0.999  # part of the old running statistics kept (PyTorch's 1 - momentum); as ema_decay
    fixmatch.eval_every_steps = 1000  # on the test set, where there is one

    config.temi = temi = _section()  # read with pseudolabel.source = "clusters" only; there are as many as classes
    temi.heads = 50  # trained at once; the one of the least loss counts
    temi.neighbours = 50  # of each embedding, one of which is its partner in a step
    temi.epochs = 200
    temi.batch_size = 1024
    temi.learning_rate = 4e-4
    temi.warm_up_epochs = 20
    temi.teacher_decay = 0.996
    # Whose clusters count: last (epoch) | min_loss (the epoch of the least loss) | oracle (of ten candidates over the
    # training, the one that true labels agree with most, as ELFS's code does with those of its test set).
    temi.select = "last"
    temi.beta = 0.6  # 1: mutual information; lower values keep clusters alike in size

    config.proxy = _supervised_recipe()
    config.proxy.examples = "all"  # all | labelled (of the budget alone, by their labels: Score Extrapolation)
    config.proxy.record_entropy = False  # adds 4 bytes an example and epoch, and the entropy score
    config.proxy.record_grad_norm = False  # the same for GraNd
    # The same for TDDS, and on the devices 4 bytes an example and class.
    config.proxy.record_kl = False

    config.score = score = _section()
    score.window = 10  # epochs of a DUAL, Dyn-Unc or TDDS window
    score.exponent = 1.0  # of DUAL's standard deviation
    score.decay = 0.9  # of TDDS: the weight of its last window, each one before it (1 - decay) times the next one's
    score.never_learned = "zero"  # forgetting of examples that were never right: zero (CCS, ELFS) | hardest (Toneva)
    score.first = 0  # EL2N, GraNd: first epoch summed
    score.last = 10  # EL2N, GraNd: epoch it ends before (10: CCS, ELFS; 20: SemiPrune on CIFAR; 11: on ImageNet)

    # Read by the selectors moderate, prototypicality, k_centre, d2, badge and zcore, by extrapolated scores and by
    # clusters only.
    config.embed = embed = _section()
    # proxy | fixmatch (what that network's last layer sees) | file | weights (of embed.network) | swav (trained on the
    # pool)
    embed.source = "proxy"
    # file: .npy, .npz, .safetensors or .parquet, with a row for each image of the pool. weights: .safetensors, by
    # timm's, torchvision's or the official names.
    embed.path = ""
    embed.network = "vit_b16"  # vit_s16 | vit_b16 (DINO) | vit_s14 | vit_b14 (DINOv2) | resnet50 (torchvision, SwAV)
    embed.image_size = 224  # weights: pixels that images are resized to

    # SwAV, without any label; read with embed.source = "swav" only. As for CIFAR; recipes.large_images has the other.
    config.swav = swav = _section()
    swav.network = "resnet50_cifar"  # a ResNet of those above
    swav.epochs = 500
    swav.batch_size = 512
    swav.learning_rate = 0.06
    swav.final_learning_rate = 6e-4
    swav.warm_up_epochs = 10
    swav.weight_decay = 1e-6
    swav.prototypes = 30
    swav.temperature = 0.5
    swav.epsilon = 0.05  # of Sinkhorn's codes
    swav.frozen_steps = 900  # in which the prototypes stay
    swav.crop_area = (0.08, 1.0)  # share of the image of the two crops that codes are of
    swav.small_crops = 0  # more crops of each image, which only predict
    swav.small_crop_area = (0.05, 0.14)
    swav.small_crop_size = 96  # pixels

    config.select = select = _section()
    select.names = ("random", "semi_aum", "semi_dual")  # which of the selections below to make, ...
    select.keep = (0.7, 0.5, 0.3, 0.2, 0.1)  # ... each at each of these kept fractions
    select.random = selection(selector="random")
    # Cutoffs of the paper's table 9 for CIFAR-10, one a kept fraction.
    select.semi_aum = selection(selector="double_end", score="aum", cutoff=(0.0, 0.0, 0.1, 0.2, 0.4))
    select.semi_forgetting = selection(selector="double_end", score="forgetting")
    select.semi_el2n = selection(selector="double_end", score="el2n")
    select.semi_dual = selection(selector="beta", score="dual", horizon=30, c_d=5.5)
    select.ccs = selection(selector="stratified", score="aum", cutoff=(0.0, 0.0, 0.1, 0.2, 0.3))
    select.hardest = selection(selector="top", score="aum")
    # Of each class (as images are labelled or taken for) its share of the pool.
    select.balanced_random = selection(selector="balanced_random")
    select.balanced_hardest = selection(selector="balanced_top", score="aum")
    select.dual_hardest = selection(selector="top", score="dual", horizon=30)
    select.tdds = selection(selector="top", score="tdds")
    # The scores of labelled images, carried over to all by a graph network; with proxy.examples = "labelled".
    select.extrapolated = selection(selector="top", score="dyn_unc", extrapolate="graph")

    select.moderate = selection(selector="moderate")
    select.prototypicality = selection(selector="prototypicality")
    select.balanced_prototypicality = selection(selector="prototypicality", balanced=True)
    select.k_centre = selection(selector="k_centre")
    select.d2 = selection(selector="d2", score="forgetting")
    select.badge = selection(selector="badge")
    select.zcore = selection(selector="zcore")

    # Selections whose cutoff (double_end, stratified) or horizon and c_D (beta) are chosen by trials, which are trained
    # and tested on pseudo-labels of the pool; what is configured for them is then only where their search begins.
    config.search = search = _section()
    search.names = ()
    search.held_out = 0.1  # part of the pool that trials are tested on
    search.horizons = ()  # beta: tried; empty: every 10 epochs from score.window on
    search.c_d = (3.0, 4.0, 5.0, 6.0)  # beta: tried
    search.seeds = (0,)  # each trial is made with each

    config.retrain = retrain = _supervised_recipe()
    retrain.seeds = (0,)  # one network each
    retrain.batch_rule = "paper"  # paper: half the batch at 80% pruned, a quarter at 90% | fixed
    retrain.full = False  # also train on the whole pool
    retrain.labelled_only = False  # also train on the label budget alone
    retrain.save_model = True  # parameters of the last epoch, in retrain/<run>/model

    config.report = report = _section()
    report.examples = 8  # images in each row of the example grid
    report.wandb_project = ""  # also log to Weights & Biases (extra wandb)

    config.runtime = runtime = _section()  # changes nothing in the results but rounding
    runtime.parallel = "jit"  # jit | pmap
    runtime.devices = 0  # how many to use; 0: all
    runtime.compute_dtype = "auto"  # auto (bfloat16 on GPU and TPU, float32 on CPU) | float32 | bfloat16
    runtime.memory_share = 0.3  # of a device's memory that pool and test set may each take with data.pool = auto
    runtime.workers = -1  # processes that decode a streamed pool; -1: one a core, 64 at most; 0: threads
    runtime.steps_per_dispatch = 0  # training steps in one program; 0: 1 on CPU or streaming, 16 elsewhere
    runtime.compilation_cache = "~/.cache/semiprune_jax"  # compiled programs are kept here for later runs; "": nowhere
    runtime.deterministic = False  # GPU: only deterministic kernels
    runtime.join_timeout_seconds = 300  # several processes: how long all of them may take to come
    runtime.peer_timeout_seconds = 100  # several processes: how long one may be silent until the others give it up
    runtime.log_every_steps = 50
    runtime.checkpoint_every_steps = 0  # 0: chosen so that at least 15 s lie between two
    config.lock()  # a misspelled field is an error, ...
    config.select.unlock()  # ... but a config may add selections of its own (whose fields are locked again)
    for value in config.select.values():
        if isinstance(value, ConfigDict):
            value.lock()
    return config


def selection(
    *,
    selector: str,
    score: str = "aum",
    horizon: int = 0,
    cutoff: tuple[float, ...] = (0.0,),
    c_d: float = 4.0,
    concentration: float = 15.0,
    form: str = "code",
    strata: int = 50,
    end: str = "hard",
    balanced: bool = False,
    neighbours: int = 10,
    gamma: float = 0.1,
    samples: int = 1_000_000,
    extrapolate: str = "none",
) -> Config:
    """One named selection.

    Args:
      selector: random | balanced_random | top | balanced_top | double_end | beta | stratified, and by embeddings
        moderate | prototypicality | k_centre | d2 | badge | zcore.
      score: aum | dual | forgetting | el2n | grand | correctness | dyn_unc | mean_probability | entropy | tdds.
      horizon: epochs that dual, tdds, mean_probability and beta look at; 0: all that were recorded.
      cutoff: double_end, stratified: fraction of the pool dropped at the hard end, d2: of the least AUM; one, or one a
        kept fraction.
      c_d: beta: how fast the preference moves from uncertain to easy examples as more is pruned.
      concentration: beta: C.
      form: beta: code (a = C + 1 - b, what DUAL's numbers were made with) | paper (a = C - b).
      strata: stratified: how many.
      end: top, balanced_top, d2: which end of the score is kept, hard | easy.
      balanced: prototypicality: whether each cluster gives its share.
      neighbours: d2 and extrapolated scores: of each example in the graph.
      gamma: d2: how far a choice reaches; 0 silences all neighbours.
      samples: zcore: points drawn.
      extrapolate: none | neighbours | graph: whether scores are those of labelled examples, carried over to the others
        by their nearest ones or by a graph network.
    """
    return ConfigDict(locals()).lock()


def _section() -> Config:
    return ConfigDict()


def _supervised_recipe() -> Config:
    """Fields that the proxy and the retrainings share: SemiPrune's CIFAR recipe."""
    recipe = _section()
    recipe.epochs = 200
    recipe.batch_size = 128
    recipe.learning_rate = 0.1  # peak of the per-step cosine
    recipe.final_learning_rate = 1e-4  # its floor
    recipe.momentum = 0.9
    recipe.nesterov = True  # the other datasets' recipes: False
    recipe.weight_decay = 5e-4  # of all parameters; the other datasets' recipes: 1e-4
    recipe.bn_momentum = 0.9  # part of the old running statistics kept
    recipe.eval_every_epochs = 10  # on the test set, where there is one
    return recipe


def cutoff_at(spec: Config, keep: tuple[float, ...], k: float) -> float:
    """The cutoff of a selection at the kept fraction ``k`` of ``keep``.

    >>> cutoff_at(selection(selector="double_end", cutoff=(0.1, 0.4)), keep=(0.3, 0.1), k=0.1)
    0.4
    """
    return spec.cutoff[0] if len(spec.cutoff) == 1 else spec.cutoff[tuple(keep).index(k)]


def settings(section: Config, *without: str) -> dict[str, Any]:
    """A section as plain values, for fingerprints and manifests, less the named fields."""
    plain = {key: value for key, value in section.to_dict().items() if key not in without}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def paper_batch_size(batch_size: int, keep: float, rule: str) -> int:
    """The retraining batch at a kept fraction: halved at 80% pruned, quartered at 90% (SemiPrune table 8).

    >>> [paper_batch_size(128, keep, "paper") for keep in (0.3, 0.2, 0.1)]
    [128, 64, 32]
    """
    if rule == "fixed" or keep > 0.2 + 1e-9:
        return batch_size
    return max(1, math.floor(batch_size / (4 if keep <= 0.1 + 1e-9 else 2)))
