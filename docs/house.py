"""Draws the house from its imports: ``python docs/house.py`` writes docs/house.png and prints its figures.

A room is a folder of the package, or a file beside the folders; an arrow leads from a room to one whose modules it
imports. ``--root=DIR`` measures another checkout, without a picture.
"""

import argparse
import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class House(NamedTuple):
    """A package, measured."""

    lines: dict[str, int]  # of each room
    words: dict[str, str]  # the first sentence of each room's docstring
    arrows: set[tuple[str, str]]
    modules: dict[str, int]  # file -> lines
    functions: dict[str, int]  # file:function -> lines
    classes: dict[str, int]

    def floors(self) -> list[list[str]]:
        """The rooms by the longest way down from them, the highest first."""
        depth: dict[str, int] = {}

        def below(room: str) -> int:
            if room not in depth:
                depth[room] = 1 + max((below(other) for one, other in self.arrows if one == room), default=-1)
            return depth[room]

        rooms = sorted(self.lines, key=lambda room: (-below(room), room))
        return [list(group) for _, group in itertools.groupby(rooms, below)]

    def direct(self) -> set[tuple[str, str]]:
        """The arrows that no longer way implies."""
        return {(one, other) for one, other in self.arrows if not self._leads(one, other, but=(one, other))}

    def _leads(self, one: str, other: str, but: tuple[str, str] | None = None) -> bool:
        ways = [b for a, b in self.arrows if a == one and (a, b) != but]
        return other in ways or any(self._leads(way, other) for way in ways)


def measure(root: Path) -> House:
    """Reads every module of the package below ``root``."""
    package = root / "semiprune_jax"
    house = House({}, {}, set(), {}, {}, {})
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        if parts == ("__init__.py",):
            continue
        room, source = parts[0].removesuffix(".py"), path.read_text()
        tree, name = ast.parse(source), "/".join(parts)
        house.lines[room] = house.lines.get(room, 0) + source.count("\n")
        house.modules[name] = source.count("\n")
        if len(parts) == 1 or parts[1] == "__init__.py":
            house.words[room] = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").split(". ")[0]
        house.arrows.update((room, other) for other in _imported(tree) if other != room)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                house.functions[f"{name}:{node.name}"] = _length(node)
            elif isinstance(node, ast.ClassDef):
                house.classes[f"{name}:{node.name}"] = _length(node)
    house.arrows.intersection_update(itertools.product(house.lines, repeat=2))
    return house


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semiprune_jax"):
            inside = (node.module or "").split(".")[1:]
            yield from inside[:1] or [alias.name for alias in node.names]


def _length(node: ast.FunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def table(house: House) -> list[tuple[str, str]]:
    """The figures of a house: name and value."""

    def longest(sizes: dict[str, int]) -> str:
        name = max(sizes, key=lambda key: sizes[key])
        return f"{sizes[name]} ({name})"

    return [
        ("rooms", str(len(house.lines))),
        ("arrows between them", str(len(house.arrows))),
        ("longest way down", f"{len(house.floors())} rooms"),
        ("modules", str(len(house.modules))),
        ("lines", f"{sum(house.modules.values()):,}"),
        ("longest module", longest(house.modules)),
        ("modules over 350 lines", str(sum(lines > 350 for lines in house.modules.values()))),
        ("longest function", longest(house.functions)),
        ("functions over 60 lines", str(sum(lines > 60 for lines in house.functions.values()))),
        ("longest class", longest(house.classes)),
        ("classes over 150 lines", str(sum(lines > 150 for lines in house.classes.values()))),
    ]


def draw(house: House, path: Path) -> None:
    """Draws the rooms on floors, wide as their lines, with the arrows that no longer way implies."""
    from matplotlib.figure import Figure

    floors = house.floors()
    figure = Figure((11, 1.15 * len(floors)), layout="constrained")
    ax = figure.subplots()
    places: dict[str, tuple[float, float]] = {}
    for number, rooms in enumerate(floors):
        widths = [max(0.9 + house.lines[room] / 900, 0.3 + 0.105 * len(room)) for room in rooms]
        left, y = -(sum(widths) + 0.5 * (len(rooms) - 1)) / 2, -float(number)
        for room, width in zip(rooms, widths, strict=True):
            box = {"facecolor": "#e8edf2", "edgecolor": "#1f3b57", "linewidth": 0.8}
            ax.add_patch(_rectangle((left, y - 0.22), width, 0.44, **box))
            ax.text(left + width / 2, y + 0.05, room, ha="center", va="center", fontsize=9, weight="bold")
            ax.text(left + width / 2, y - 0.13, f"{house.lines[room]:,}", ha="center", va="center", fontsize=7)
            places[room] = left + width / 2, y
            left += width + 0.5
    for one, other in sorted(house.direct()):
        (x, y), (x2, y2) = places[one], places[other]
        style = {"arrowstyle": "-|>", "color": "#7f8fa0", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
        bend = f"arc3,rad={0.0 if y - y2 < 1.5 else 0.08 * (1 if x2 >= x else -1)}"
        ax.annotate("", (x2, y2 + 0.22), (x, y - 0.22), arrowprops=style | {"connectionstyle": bend}, zorder=0)
    ax.autoscale_view()
    ax.margins(0.02, 0.05)
    ax.axis("off")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _rectangle(*arguments: object, **options: object):
    from matplotlib.patches import Rectangle

    return Rectangle(*arguments, **options)  # pyright: ignore[reportArgumentType]


def main() -> None:
    """Measures, prints, and draws this checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT)
    root = parser.parse_args().root
    house = measure(root)
    for name, value in table(house):
        print(f"{name:<26}{value}")
    if root == ROOT:
        draw(house, ROOT / "docs" / "house.png")


if __name__ == "__main__":
    main()
