"""One self-contained HTML page: no scripts, no network."""

import base64
from pathlib import Path
from typing import Any

from semiprune_jax.report.contents import Contents
from semiprune_jax.report.tables import CAPTION, as_grid, judged_caption, judged_grid
from semiprune_jax.select.search import sweeps
from semiprune_jax.workdir.formats import write_atomically

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>SemiPrune report</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
  table { border-collapse: collapse; margin: 1rem 0; }
  th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
  th:first-child, td:first-child { text-align: left; }
  figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
  details { margin-top: 2rem; } summary { cursor: pointer; } .config td { text-align: left; font: 13px monospace; }
</style>
<h1>SemiPrune report</h1>
<p>{{ "{:,}".format(pool) }} images of {{ classes|length }} classes, {{ "{:,}".format(labelled) }} of them labelled
({{ "%.1f"|format(100 * labelled / pool) }}%{% if held_out %}; {{ "{:,}".format(held_out) }} of these are held out
{%- endif %}).
{% if oracle %}Retraining uses true labels.
{% elif clustered %}Pseudo-labels are clusters, which have no names, so that no network is retrained.
{% else %}Retraining uses the labels that are known, and pseudo-labels for the rest.{% endif %}</p>

{% if verdict %}<h2>Verdict</h2>
<ul>{% for sentence in verdict.words %}<li>{{ sentence }}</li>
{% endfor %}</ul>
{% if verdict.judged %}<p>{{ judged_caption }}</p>
<table>
<tr>{% for cell in judged[0] %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for line in judged[1:] %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% if verdict.truth is not none %}<p>By all true labels, {{ "%.1f"|format(100 * verdict.truth) }}% of the pseudo-labels
of the unlabelled are right.</p>{% endif %}{% endif %}

{% if tested or not verdict %}<h2>Results</h2>
<p>{{ caption }}</p>
{% if grid|length > 1 %}
<table>
<tr>{% for cell in grid[0] %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for line in grid[1:] %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% else %}<p>No network has been retrained yet.</p>{% endif %}{% endif %}

{% if search %}<h2>Search</h2>
<p>Chosen by {{ "{:,}".format(search.trials) }} trials of {{ "{:,.0f}".format(search.steps) }} steps and
{{ "{:,.0f}".format(search.seconds) }} s in all, trained and tested on pseudo-labels. search/trials.csv lists them.</p>
<table>
<tr><th>selection</th>{% for title in searched.values() %}<th>{{ title }}</th>{% endfor %}</tr>
{% for name, found in search.chosen.items() %}<tr><td>{{ name }}</td>
{% for field in searched %}<td>{{ found[field]|setting }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}

{% if quality %}<h2>Pseudo-labels</h2>
<table>
<tr><th>against the truth, %</th>
{% for key in quality.values()|first %}<th>{{ {"nmi": "NMI", "ari": "ARI"}.get(key, key.replace("_", " ")) }}</th>
{% endfor %}</tr>
{% for part, values in quality.items() %}<tr><td>{{ {"unlabelled": "predictions for the unlabelled", "pool":
"predictions for the pool", "pseudo_label": "pseudo-labels of the pool, known labels among them"}[part] }}</td>
{% for value in values.values() %}
<td>{{ "%.1f"|format(100 * value) }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}

<h2>Figures</h2>
{% for caption, data in figures.items() %}
<figure><img alt="{{ caption }}" src="data:image/png;base64,{{ data }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}

<h2>Coresets</h2>
<table>
<tr><th>coreset</th><th>kept</th><th>of</th><th>pruned</th><th>selector</th><th>score</th></tr>
{% for name, coreset in coresets.items() %}<tr><td>select/{{ name }}/</td>
<td>{{ "{:,}".format(coreset.spec.kept) }}</td><td>{{ "{:,}".format(coreset.spec.of) }}</td>
<td>{{ "%.0f"|format(100 * coreset.spec.pruned) }}%</td><td>{{ coreset.spec.selector }}</td>
<td>{{ coreset.spec.score|default("") }}</td></tr>
{% endfor %}</table>
{% for names in same_images %}<p>{{ names|join(" and ") }} keep the same images.</p>
{% endfor %}<p>Each directory holds coreset.parquet, a table of all images with their scores and <code>kept</code>, and
lists of image names: kept.txt, dropped.txt, and to_label.txt, the kept images whose label is not known yet.</p>

<details><summary>Configuration</summary>
<table class="config">{% for key, value in config.items() %}{% if value is mapping %}
{% for field, held in value.items() %}<tr><td>{{ key }}.{{ field }}</td><td>{{ held }}</td></tr>
{% endfor %}{% else %}<tr><td>{{ key }}</td><td>{{ value }}</td></tr>{% endif %}
{% endfor %}</table></details>
</html>
"""


def write(path: Path, contents: Contents, rows: list[dict[str, Any]], figures: dict[str, Path]) -> None:
    """Writes the page; everything shown is escaped.

    Args:
      rows: as ``tables.summarise`` returns them.
      figures: caption -> PNG.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["setting"] = _setting
    html = environment.from_string(_PAGE).render(
        pool=len(contents.examples["label"]),
        labelled=int((contents.examples["label"] >= 0).sum()) + contents.held_out,
        held_out=contents.held_out,
        classes=contents.classes,
        oracle=contents.truth is not None,
        clustered=contents.clustered,
        caption=CAPTION,
        grid=as_grid(rows),
        tested=any(row["test_accuracy_mean"] is not None for row in rows),
        verdict=contents.verdict,
        judged_caption=judged_caption(contents.verdict) if contents.verdict else "",
        judged=judged_grid(contents.verdict) if contents.verdict else [],
        quality=contents.quality,
        search=contents.search,
        searched={
            field: (sweep.title or field) + ("" if together else ", by fraction kept")
            for field, (sweep, together) in sweeps().items()
            if contents.search and any(found[field] not in (None, {}) for found in contents.search["chosen"].values())
        },
        figures={caption: base64.b64encode(file.read_bytes()).decode() for caption, file in figures.items()},
        coresets=contents.coresets,
        same_images=contents.same_images,
        config=contents.config,
    )
    write_atomically(path, html.encode())


def _setting(value: Any) -> str:
    """A chosen setting as text, or its value at each kept fraction; "" if no search has chosen it."""
    if isinstance(value, dict):
        return ", ".join(f"{keep}: {one}" for keep, one in value.items())
    return "" if value is None else str(value)
