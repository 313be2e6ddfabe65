"""Draw docs/rooms.svg: the rooms of the package from ground to roof, as its imports make them.

    python docs/rooms.py

A room is a folder or a file at the top of the package. It stands one floor above the highest room that it imports from, so
every arrow points down; a circle of imports cannot be drawn and is an error. An arrow that a longer way of arrows implies is
left out. The picture carries what it shows as text, which a test compares with the package.
"""

from __future__ import annotations

import ast
import graphlib
import html
import statistics
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1] / "src" / "numformer"
PICTURE = Path(__file__).with_suffix(".svg")
LABELS = {"__init__": "numformer: what a program imports", "__main__": "python -m numformer"}
WIDTH, LANE, GAP, WIDEST = 9.0, 0.16, 0.16, 5.2  # inches: of the picture, of a lane, between boxes, of a lone box
LINE, FLOOR_GAP = 0.155, 0.34  # inches: of a line of text, between floors
INK, PAPER, WALL = "#1b2733", "#eef3f8", "#5b7c99"
Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Return every file of the package by its module's name; that of a package is `numformer.nn.__init__`."""
    parts = {path: path.relative_to(PACKAGE.parent).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))}
    return {".".join(parts[path]): path for path in parts}


def imported_names(path: Path) -> Iterator[tuple[str, str]]:
    """Yield every import of a file, inside functions too, as (module, name from it); not those under TYPE_CHECKING."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            yield from ((".".join([*above, *filter(None, [node.module])]), alias.name) for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def imports() -> dict[str, set[str]]:
    """Return for every module of the package the modules of the package that it imports."""
    known = modules()
    found: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for module, member in imported_names(path):
            candidates = [f"{module}.{member}", f"{module}.{member}.__init__", module, f"{module}.__init__"]
            found[name].update([each for each in candidates if each in known][:1])
    return found


def room_of(module: str) -> str:
    """Return the room of a module: the folder or file at the top of the package, without the mark of private files."""
    room = module.split(".")[1]
    return room if room.startswith("__") else room.removeprefix("_")


def room_imports() -> dict[str, set[str]]:
    """Return for every room the other rooms that it imports from."""
    found: dict[str, set[str]] = {room_of(module): set() for module in modules()}
    for module, targets in imports().items():
        found[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return found


class Item(NamedTuple):
    """What stands on a floor: a room, or a lane that lets the arrow from a room to a lower one pass."""

    room: str
    target: str = ""
    floor: int = 0  # of a lane: an arrow has one on every floor that it crosses


def facts() -> list[str]:
    """Return what the picture shows, one line a room: its files, and the rooms to which arrows lead."""
    arrows = shortest(room_imports())
    return [
        f"{room}: {' '.join(files_of(room)) or '-'} -> {' '.join(sorted(arrows[room])) or '-'}"
        for room in sorted(arrows)
    ]


def shown() -> list[str]:
    """Return the facts that the picture carries."""
    text = html.unescape(PICTURE.read_text(encoding="utf-8"))
    return text.partition("<dc:description>")[2].partition("</dc:description>")[0].splitlines()


def files_of(room: str) -> list[str]:
    """Return the names of a folder's files; none for a room that is one file."""
    inside = [module.split(".")[2:] for module in modules() if room_of(module) == room]
    return sorted({parts[0] for parts in inside if parts} - {"__init__"})


def ground_up(graph: Graph) -> list[str]:
    """Return the rooms such that each comes after all that it imports from; raises ValueError for a circle."""
    return list(graphlib.TopologicalSorter({room: sorted(below) for room, below in graph.items()}).static_order())


def shortest(graph: Graph) -> dict[str, set[str]]:
    """Return the graph without the arrows that a longer way of arrows implies."""
    reached: dict[str, set[str]] = {}
    for room in ground_up(graph):
        reached[room] = graph[room].union(*(reached[below] for below in graph[room]))
    return {room: graph[room] - set().union(*(reached[below] for below in graph[room])) for room in graph}


def floors_of(graph: Graph) -> list[list[Item]]:
    """Return the floors from ground to roof: rooms, and a lane on every floor that an arrow crosses."""
    height: dict[str, int] = {}
    for room in ground_up(graph):
        height[room] = 1 + max((height[below] for below in graph[room]), default=-1)
    floors: list[list[Item]] = [[] for _ in range(1 + max(height.values()))]
    for room in height:
        floors[height[room]].append(Item(room))
        for target in sorted(graph[room]):
            for floor in range(height[target] + 1, height[room]):
                floors[floor].append(Item(room, target, floor))
    return floors


def ways_of(graph: Graph, floors: list[list[Item]]) -> list[list[Item]]:
    """Return every arrow as the items that it passes, from above to below."""
    ways = []
    for room in graph:
        for target in graph[room]:
            lanes = [item for floor in reversed(floors) for item in floor if item[:2] == (room, target)]
            ways.append([Item(room), *lanes, Item(target)])
    return ways


def arranged(floors: list[list[Item]], ways: list[list[Item]]) -> dict[Item, tuple[float, float]]:
    """Return the left and right border of every item, neighbours on an arrow as nearly above each other as they fit."""
    beside: dict[Item, list[Item]] = {item: [] for floor in floors for item in floor}
    for way in ways:
        for upper, lower in pairwise(way):
            beside[upper].append(lower)
            beside[lower].append(upper)
    borders: dict[Item, tuple[float, float]] = {}
    for _ in range(12):
        for floor in (*floors, *reversed(floors)):
            floor.sort(
                key=lambda item: statistics.fmean([sum(borders.get(b, (0, WIDTH))) for b in beside[item]] or [WIDTH])
            )
            borders |= spread(floor)
    return borders


def spread(floor: list[Item]) -> dict[Item, tuple[float, float]]:
    """Return the borders of the items of one floor, in their order, in the middle of the picture."""
    lanes = sum(bool(item.target) for item in floor)
    free = WIDTH - GAP * (len(floor) + 1) - LANE * lanes
    box = min(WIDEST, free / max(1, len(floor) - lanes))
    widths = [LANE if item.target else box for item in floor]
    left, borders = (WIDTH - sum(widths) - GAP * (len(floor) - 1)) / 2, {}
    for item, width in zip(floor, widths, strict=True):
        borders[item] = (left, left + width)
        left += width + GAP
    return borders


def draw() -> None:
    """Write the picture."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    graph = shortest(room_imports())
    floors = floors_of(graph)
    ways = ways_of(graph, floors)
    borders = arranged(floors, ways)
    texts = {room: wrapped(files_of(room), borders[Item(room)]) for room in graph}
    tops, top = [], FLOOR_GAP / 2
    heights = [LINE * (1.9 + max(len(texts[item.room]) for item in floor if not item.target)) for floor in floors]
    for height in heights:
        tops.append(top + height)
        top += height + FLOOR_GAP
    with mpl.rc_context({"svg.hashsalt": "numformer", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH, top), facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, top))
        axes.set_axis_off()
        span: dict[Item, tuple[float, float]] = {}  # lower and upper border
        for floor, high, height in zip(floors, tops, heights, strict=True):
            for item in floor:
                span[item] = (high - height, high)
                if not item.target:
                    draw_room(axes, item.room, borders[item], span[item], texts[item.room])
        for way in ways:
            draw_arrow(axes, [(borders[item], span[item]) for item in way])
        figure.savefig(
            PICTURE, metadata={"Date": None, "Title": "The rooms of numformer", "Description": "\n".join(facts())}
        )


def wrapped(files: list[str], borders: tuple[float, float]) -> list[str]:
    """Return the names of files in lines that fit a box."""
    return textwrap.wrap("  ".join(files), int((borders[1] - borders[0]) * 13.5), break_long_words=False)


def draw_room(axes: Any, room: str, across: tuple[float, float], span: tuple[float, float], lines: list[str]) -> None:
    """Draw a box with the room's name and the names of its files."""
    from matplotlib.patches import FancyBboxPatch

    (left, right), (low, high) = across, span
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((left, low), right - left, high - low, style, facecolor=PAPER, edgecolor=WALL))
    middle = (left + right) / 2
    name_at = high - LINE if lines else (low + high) / 2
    axes.text(middle, name_at, LABELS.get(room, room), ha="center", va="center", size=9.5, weight="bold", color=INK)
    for number, line in enumerate(lines):
        axes.text(middle, high - LINE * (2.2 + number), line, ha="center", va="center", size=7.5, color=INK)


def draw_arrow(axes: Any, way: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    """Draw an arrow from the bottom of the first item through the lanes to the top of the last."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    middles = [sum(across) / 2 for across, _ in way]
    points = [(nearest(middles[1], way[0][0]), way[0][1][0])]
    for middle, (_, (low, high)) in zip(middles[1:-1], way[1:-1], strict=True):
        points += [(middle, high), (middle, low)]
    points.append((nearest(middles[-2], way[-1][0]), way[-1][1][1]))
    corners, codes = [points[0]], [Outline.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (y0 + y1) / 2
        corners += [(x0, bend), (x1, bend), (x1, y1)] if x0 != x1 else [(x1, y1)]
        codes += [Outline.CURVE4] * 3 if x0 != x1 else [Outline.LINETO]
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 0.9, "color": WALL, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(path=Outline(corners, codes), **style))


def nearest(x: float, across: tuple[float, float]) -> float:
    """Return the place on the border of a box that is nearest to x, away from its corners."""
    margin = 0.2 * (across[1] - across[0])
    return min(max(x, across[0] + margin), across[1] - margin)


if __name__ == "__main__":
    draw()
