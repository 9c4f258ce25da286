"""Draws the dashboards as PNG from a real Prometheus' answers: ``python -m contract.deploy.pictures FOLDER``.

Grafana cannot be installed everywhere; these pictures show what its panels show, in their places. Look at them after
a change to the dashboards.
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from PIL import Image

from contract.deploy.fleet_data import END, scrapes
from contract.deploy.prometheus_server import Prometheus, load, prometheus
from contract.deploy.test_grafana import BOARDS, GRAFANA, expanded
from factories import NOW

#: Grafana's names of colours.
COLORS = {"text": "#888888", "dark-red": "#8f0d1f", "red": "#d4313f", "orange": "#f2801d", "dark-orange": "#c95f00",
          "purple": "#8f3bb8", "yellow": "#e0b400", "light-yellow": "#ffee52", "light-blue": "#5794f2",
          "green": "#56a64b", "blue": "#3274d9"}  # fmt: skip
COLUMN, LINE = 0.75, 0.42  # inches
#: Names in a legend.
LEGEND = 10
SCALES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def draw(server: Prometheus, board: dict[str, Any], file: Path) -> None:
    """Draw one dashboard."""
    panels = board["panels"]
    height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels)
    figure = plt.figure(figsize=(24 * COLUMN, height * LINE), facecolor="white")
    for panel in panels:
        panel["board"] = board["uid"]
        place = panel["gridPos"]
        left, bottom = place["x"] / 24, 1 - (place["y"] + place["h"]) / height
        if panel["type"] == "row":
            figure.text(
                left + 0.003, bottom + 0.3 / height, panel["title"], fontsize=15, weight="bold", color="#333333"
            )
            continue
        margin = {"state-timeline": 0.075, "bargauge": 0.05}.get(panel["type"], 0.028)
        room = (left + margin, bottom + 1.1 / height, place["w"] / 24 - margin - 0.008, (place["h"] - 2.2) / height)
        if panel["type"] in {"stat", "table"}:
            room = (left + 0.004, bottom + 0.2 / height, place["w"] / 24 - 0.008, (place["h"] - 1.3) / height)
        axes = figure.add_axes(room)
        figure.text(left + 0.006, bottom + (place["h"] - 0.85) / height, panel["title"], fontsize=11, weight="bold")
        _DRAWERS[panel["type"]](axes, panel, server)
    figure.savefig(file, dpi=60)
    plt.close(figure)
    Image.open(file).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)


def _expanded(panel: dict[str, Any], target: dict[str, Any]) -> str:
    return expanded(panel["board"], target["expr"])


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    text = re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), target.get("legendFormat", ""))
    return text or ", ".join(labels.values())


def _instant(panel: dict[str, Any], server: Prometheus) -> list[tuple[dict[str, Any], dict[str, str], float]]:
    return [
        (target, one["metric"], float(one["value"][1]))
        for target in panel["targets"]
        for one in server.instant(_expanded(panel, target), END.timestamp())
    ]


def _stat(axes: Axes, panel: dict[str, Any], server: Prometheus) -> None:
    found = [value for _, _, value in _instant(panel, server)]
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_xticks([])
    axes.set_yticks([])
    cells: list[float | None] = [*found[:3]] or [None]
    for number, value in enumerate(cells):
        text, color = _shown(value, defaults)
        axes.add_patch(Rectangle((number / len(cells), 0), 1 / len(cells), 1, facecolor=color, edgecolor="white"))
        size = 13 if len(cells) > 1 else 19
        middle = (number + 0.5) / len(cells)
        axes.text(middle, 0.5, text, ha="center", va="center", fontsize=size, color="white", weight="bold")


def _shown(value: float | None, defaults: dict[str, Any]) -> tuple[str, str]:
    if value is None:
        return defaults.get("noValue", "no data"), COLORS["text"]
    for mapping in defaults.get("mappings", ()):
        if (result := mapping["options"].get(f"{value:g}")) and result.get("color"):
            return result["text"], COLORS[result["color"]]
    steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    texts = [
        mapping["options"][f"{value:g}"]["text"]
        for mapping in defaults.get("mappings", ())
        if f"{value:g}" in mapping["options"]
    ]
    return (texts or [_number(value, defaults.get("unit", "none"))])[0], COLORS[steps[-1]["color"]]


def _number(value: float, unit: str) -> str:
    if unit == "s":
        scale, name = next(((scale, name) for scale, name in SCALES if abs(value) >= scale), (1.0, "s"))
        return f"{value / scale:.3g} {name}"
    if unit in {"bps", "bytes", "pps"}:
        power = min(int(np.log10(value) // 3) if value >= 1 else 0, 4)
        name = {"bps": "b/s", "bytes": "B", "pps": "p/s"}[unit]
        return f"{value / 1000**power:.3g} {'kMGT'[power - 1] if power else ''}{name}"
    return f"{value * 100:.2g} %" if unit == "percentunit" else f"{value:.4g}"


def _graph(axes: Axes, panel: dict[str, Any], server: Prometheus) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    times = np.arange(NOW.timestamp(), END.timestamp() + 1, 60)
    names, rows = [], []
    for target in panel["targets"]:
        for one in server.range(_expanded(panel, target), times[0], times[-1]):
            row = np.full(len(times), np.nan)
            for time, value in one["values"]:
                row[round((float(time) - times[0]) / 60)] = float(value)
            names.append(_legend(target, one["metric"]))
            rows.append(row)
    minutes = (times - times[-1]) / 60
    largest = sorted(range(len(rows)), key=lambda number: -float(np.nansum(rows[number])))
    names = [
        name if number in largest[:LEGEND] else f"_{name}" for number, name in enumerate(names)
    ]  # _: not in the legend
    stacked = defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal"
    if not rows:
        axes.text(0.5, 0.5, defaults.get("noValue", "no data"), ha="center", transform=axes.transAxes)
    elif stacked:
        fixed = {name: _properties(panel, name).get("color", {}).get("fixedColor") for name in names}
        colors = [COLORS[color] for color in fixed.values() if color] or None
        axes.stackplot(minutes, np.nan_to_num(np.array(rows)), labels=names, colors=colors, alpha=0.8)
    else:
        for name, row in zip(names, rows, strict=True):
            axes.plot(minutes, row, label=name, linewidth=1.3, marker="." if np.isfinite(row).sum() < 20 else "")
    for step in defaults["thresholds"]["steps"][1:]:
        if defaults.get("custom", {}).get("thresholdsStyle", {}).get("mode") == "line":
            axes.axhline(step["value"], color=COLORS[step["color"]], linestyle="--")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: _number(value, defaults.get("unit", "none")))
    axes.tick_params(labelsize=7)
    axes.set_xlim(-180, 0)
    axes.grid(alpha=0.25)
    if names:
        axes.legend(fontsize=6, ncols=2, loc="upper left", framealpha=0.6, handlelength=1)


def _bars(axes: Axes, panel: dict[str, Any], server: Prometheus) -> None:
    found = _instant(panel, server)[::-1]
    axes.barh(
        [_legend(target, labels) for target, labels, _ in found],
        [value for *_, value in found],
        color=COLORS["green"],
    )
    for number, (*_, value) in enumerate(found):
        axes.text(
            value,
            number,
            " " + _number(value, panel["fieldConfig"]["defaults"].get("unit", "none")),
            va="center",
            fontsize=8,
        )
    axes.tick_params(labelsize=7)
    axes.margins(x=0.2)
    axes.set_xticks([])


def _timeline(axes: Axes, panel: dict[str, Any], server: Prometheus) -> None:
    target = panel["targets"][0]
    found = server.range(_expanded(panel, target), NOW.timestamp(), END.timestamp())
    found.sort(key=lambda one: _natural(_legend(target, one["metric"])), reverse=True)
    mapping = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    colors = ListedColormap([COLORS[mapping[str(number)]["color"]] for number in range(len(mapping))])
    grid = np.full((len(found), 180), np.nan)
    for row, one in enumerate(found):
        for time, value in one["values"]:
            grid[row, round((float(time) - NOW.timestamp()) / 60)] = float(value)
    axes.pcolormesh(
        np.arange(-180, 1), np.arange(len(found) + 1), grid, cmap=colors, vmin=-0.5, vmax=len(mapping) - 0.5
    )
    axes.set_yticks(np.arange(len(found)) + 0.5, [_legend(target, one["metric"]) for one in found], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.hlines(np.arange(len(found)), -180, 0, color="white", linewidth=2)
    handles = [Rectangle((0, 0), 1, 1, color=COLORS[one["color"]]) for one in mapping.values()]
    axes.legend(
        handles,
        [one["text"] for one in mapping.values()],
        fontsize=7,
        ncols=10,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part or 0), name) for name, part in re.findall(r"(\D+)(\d*)", text)]


def _table(axes: Axes, panel: dict[str, Any], server: Prometheus) -> None:
    axes.axis("off")
    organized = next(one["options"] for one in panel["transformations"] if one["id"] == "organize")
    joined = next((one["options"]["byField"] for one in panel["transformations"] if one["id"] == "joinByField"), None)
    rows: dict[str, dict[str, str]] = {}
    for target, labels, value in _instant(panel, server):
        field = f"Value #{target['refId']}" if joined else "Value"
        row = rows.setdefault(labels.get(joined, "") if joined else str(sorted(labels.items())), {})
        row.update({key: text for key, text in labels.items() if not organized["excludeByName"].get(key)})
        if not organized["excludeByName"].get(field):
            name = organized["renameByName"].get(field, field)
            row[name] = _cell(panel, name, value)[0]
    if not rows:
        axes.text(0.5, 0.5, panel["fieldConfig"]["defaults"].get("noValue", "no data"), ha="center")
        return
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    ordered = sorted(rows.values(), key=lambda row: _natural(row.get(joined, ""))) if joined else list(rows.values())
    cells = [[row.get(column, "") for column in columns] for row in ordered]
    tall = min(1, 0.1 * (len(cells) + 1))
    drawn = axes.table(
        cells,
        colLabels=columns,
        loc="upper left",
        cellLoc="left",
        bbox=Bbox.from_bounds(0, 1 - tall, 1, tall),
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.auto_set_column_width(range(len(columns)))
    for (line, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("#dddddd")
        color = _colors(panel, columns[column]).get(cells[line - 1][column]) if line else None
        if color:
            cell.set_facecolor(COLORS[color])


def _properties(panel: dict[str, Any], column: str) -> dict[str, Any]:
    """Return how a column of a table looks."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == column:
            return {one["id"]: one["value"] for one in override["properties"]}
    return {}


def _cell(panel: dict[str, Any], column: str, value: float) -> tuple[str, str]:
    look = _properties(panel, column)
    for mapping in look.get("mappings", ()):
        if result := mapping["options"].get(f"{value:g}"):
            return result["text"], result["color"]
    return _number(value, look.get("unit", panel["fieldConfig"]["defaults"].get("unit", "none"))), ""


def _colors(panel: dict[str, Any], column: str) -> dict[str, str]:
    """Return the colours of the texts of a column."""
    mappings = _properties(panel, column).get("mappings", ())
    return {one["text"]: one["color"] for mapping in mappings for one in mapping["options"].values()}


_DRAWERS: dict[str, Callable[[Axes, dict[str, Any], Prometheus], None]] = {
    "stat": _stat, "timeseries": _graph, "bargauge": _bars, "state-timeline": _timeline, "table": _table,
}  # fmt: skip


def main(target: Path) -> None:
    """Draw all dashboards into a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load(folder, scrapes())
        with prometheus(folder) as server:
            for board in BOARDS:
                draw(server, json.loads((GRAFANA / f"{board}.json").read_text()), target / f"{board}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
