"""The sections ``report`` and ``runtime``: the report of a run, and its use of the machine."""

from semiprune_jax.field import NOT_NEGATIVE, POSITIVE, POSITIVE_SHARE, Field, OneOf, Rule, Section

REPORT = Section(
    "The report.",
    {
        "examples": Field(8, "Images in each row of the example grid.", POSITIVE),
        "wandb_project": Field("", "The project to also log to at Weights & Biases (extra wandb); empty: none."),
    },
)

RUNTIME = Section(
    "How a run uses the machine; these settings change its results by rounding only.",
    {
        "parallel": Field("jit", "How steps are spread over devices.", OneOf(("jit", "pmap"))),
        "devices": Field(0, "Devices to use; 0: all.", NOT_NEGATIVE),
        "compute_dtype": Field(
            "auto",
            "auto: bfloat16 on GPU and TPU, float32 on CPU.",
            OneOf(("auto", "float32", "bfloat16")),
        ),
        "memory_share": Field(
            0.3,
            "Share of a device's memory that the pool and the test set may each take with data.pool = 'auto'.",
            POSITIVE_SHARE,
        ),
        "workers": Field(
            -1,
            "Processes that decode a streamed pool; -1: one per core, 64 at most; 0: threads.",
            Rule("-1 (one per core), 0 (threads) or more", lambda value: value >= -1),
        ),
        "steps_per_dispatch": Field(
            0, "Training steps in one compiled program; 0: 1 on a CPU or while streaming, else 16.", NOT_NEGATIVE
        ),
        "compilation_cache": Field(
            "~/.cache/semiprune_jax", "Where compiled programs are kept for later runs; empty: nowhere."
        ),
        "deterministic": Field(False, "GPU: use deterministic kernels only."),
        "join_timeout_seconds": Field(300, "Several processes: how long to wait for all of them to start.", POSITIVE),
        "peer_timeout_seconds": Field(
            100, "Several processes: how long one may be silent before the others end as well.", POSITIVE
        ),
        "log_every_steps": Field(50, "Steps between two lines of metrics.", POSITIVE),
        "checkpoint_every_steps": Field(
            0, "Steps between two checkpoints; 0: chosen so that they lie at least 15 s apart.", NOT_NEGATIVE
        ),
    },
)
