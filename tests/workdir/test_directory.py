import pytest

from semiprune_jax.errors import ConfigError
from semiprune_jax.workdir import directory as workdir
from semiprune_jax.workdir import formats


def test_foreign_directories_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"holds 'thesis\.tex' and no manifest\.json"):
            workdir.open_workdir(tmp_path, overwrite=overwrite)
    with pytest.raises(ConfigError, match="cannot be used"):
        workdir.open_workdir(tmp_path / "thesis.tex" / "run", overwrite=False)


def test_overwrite_removes_what_is_ours(tmp_path):
    workdir.open_workdir(tmp_path, overwrite=False)
    for name in ("metrics.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    for place in ("label/DONE.json", "select/random_keep0.50/STARTED.json", "report/index.html"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    (tmp_path / "drafts").mkdir()
    workdir.open_workdir(tmp_path, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"manifest.json", "notes.txt", "drafts"}


def test_starts_and_configs_are_recorded(tmp_path):
    workdir.open_workdir(tmp_path, overwrite=False)
    for seed in (1, 2):
        workdir.record_start(tmp_path, f'{{"seed": {seed}}}', oracle=True)
    manifest = formats.read_json(tmp_path / "manifest.json")
    assert manifest["oracle"] is True
    assert len(manifest["starts"]) == 2
    assert "jax" in manifest["starts"][0]["versions"]
    assert formats.read_json(tmp_path / "config.json") == {"seed": 1}
    workdir.record_config(tmp_path, '{"seed": 2}')
    assert formats.read_json(tmp_path / "config.json") == {"seed": 2}


def test_a_directory_is_ours_from_the_first_file_on(tmp_path):
    """A directory can be opened again after a kill just after it was made."""
    workdir.open_workdir(tmp_path / "new", overwrite=False)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["manifest.json"]
    workdir.open_workdir(tmp_path / "new", overwrite=False)
