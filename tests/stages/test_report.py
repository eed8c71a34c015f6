"""The report stage: the results that it gathers, and their order."""

from semiprune_jax.stages import report
from semiprune_jax.workdir import formats


def test_finished_work_is_read_in_the_order_of_the_config(tmp_path):
    """Results are ordered by name, by decreasing kept fraction, and by seed."""
    parts = [
        ("b", 0.1, 0),
        ("a", 0.5, 0),
        ("full", 1.0, 0),
        ("z", 0.1, 1),
        ("z", 0.1, 0),
        ("z", 0.25, 0),
        ("no", 1.0, 0),
    ]
    for name, keep, seed in parts:
        place = tmp_path / "retrain" / f"{name}_keep{keep}_seed{seed}"
        formats.write_json(place / "result.json", {"name": name, "keep": keep, "seed": seed})
        if name != "no":
            formats.write_json(place / "DONE.json", {})
    found = report.results(tmp_path, ("z", "a"))
    assert [(r["name"], r["keep"], r["seed"]) for r in found.values()] == [
        *(("full", 1.0, 0), ("z", 0.25, 0), ("z", 0.1, 0), ("z", 0.1, 1), ("a", 0.5, 0), ("b", 0.1, 0)),
    ]
