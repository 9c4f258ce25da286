"""Writes the Grafana dashboards ``dmvpn-*.json`` from ``fleet.py``, ``hub.py``, ``spoke.py`` and ``peer.py``.

Run it after a change in them; a test compares the committed files with its output. It needs grafana-foundation-sdk
(the ``dev`` extra).
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    StackingMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    GridPos,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

sys.path.insert(0, str(Path(__file__).parent))

from fleet import FLEET
from hub import HUB
from panels import STAGES, Board, Panel
from peer import PEER
from spoke import SPOKE

BOARDS = (FLEET, HUB, SPOKE, PEER)

FOLDER = Path(__file__).parent
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
GRID_WIDTH = 24
#: The references of the queries of a panel.
NAMES = tuple("ABCDEFGHIJKL")


def _queries(panel: Panel) -> Iterator[prometheus.Dataquery]:
    instant = panel.kind in {"stat", "bars", "table"}
    # Exactly as many names as queries: a query that is left out is a mistake.
    for name, (expression, legend) in zip(NAMES[: len(panel.queries)], panel.queries, strict=True):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(name)
        if instant:
            query.instant()
        if panel.kind == "table":
            query.format(PromQueryFormat.TABLE)
        yield query


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if panel.good:
        steps = [Threshold(value=None, color="red"), Threshold(value=1, color="green")]
    elif panel.limits:
        steps += [Threshold(value=panel.limits[0], color="orange"), Threshold(value=panel.limits[1], color="red")]
    elif panel.line is not None:
        steps.append(Threshold(value=panel.line, color="red"))
    elif panel.kind == "stat":
        steps = [Threshold(value=None, color="blue")]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _stage_texts() -> ValueMap:
    return ValueMap(
        options={
            str(number): ValueMappingResult(text=stage, color=color, index=number)
            for number, (stage, color) in enumerate(STAGES.items())
        }
    )


def _texts(panel: Panel) -> list[ValueMap]:
    if panel.good:
        good, bad = panel.good
        return [ValueMap(options={"1": ValueMappingResult(text=good), "0": ValueMappingResult(text=bad)})]
    return [_stage_texts()] if "peer_stage{" in panel.queries[0][0] and panel.kind != "table" else []


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .decimals(0)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.BACKGROUND)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _graph(panel: Panel) -> timeseries.Panel:
    built = timeseries.Panel().min(0).line_width(1).fill_opacity(40 if panel.stacked else 5)
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if any(legend == "{{stage}}" for _, legend in panel.queries):
        for stage, color in STAGES.items():
            value = {"mode": "fixed", "fixedColor": color}
            built.override_by_name(stage, [DynamicConfigValue(id_val="color", value=value)])
    if panel.line is not None:
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE))
    return built


def _bars(_: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .min(0)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _timeline(_: Panel) -> statetimeline.Panel:
    return statetimeline.Panel().show_value(VisibilityMode.NEVER).merge_values(True).row_height(0.85).fill_opacity(80)


def _table(panel: Panel) -> table.Panel:
    built = table.Panel()
    hidden = dict.fromkeys(("Time", "__name__", "job", "cluster", "alertstate"), True)
    names = {}
    if panel.key:
        hidden |= {f"Time {number}": True for number in range(1, len(panel.queries) + 1)}
        names = {f"Value #{name}": column for name, (_, column) in zip(NAMES, panel.queries, strict=False)}
        hidden["Value #A"] = panel.queries[0][1] == "info"
        built.with_transformation(
            DataTransformerConfig(id_val="joinByField", options={"byField": panel.key, "mode": "outer"})
        )
    else:
        hidden["Value"] = panel.queries[0][1] in {"peer", "alert"}
        names = {"Value": panel.queries[0][1]}
    built.with_transformation(
        DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": names})
    )
    for _, column in panel.queries:
        if properties := _column(column):
            built.override_by_name(column, [DynamicConfigValue(id_val=key, value=value) for key, value in properties])
    return built


def _column(name: str) -> list[tuple[str, Any]]:
    """Return how a column of a table looks."""
    cell = ("custom.cellOptions", {"type": "color-background"})
    if name == "stage":
        return [("mappings", [_stage_texts()]), cell]
    if name in {"agent", "nhrpd", "charon", "sources", "bound", "BGP"}:
        texts = {"1": ValueMappingResult(text="yes", color="green"), "0": ValueMappingResult(text="no", color="red")}
        return [("mappings", [ValueMap(options=texts)]), cell]
    return [("unit", "bps")] if name == "bit/s" else [("unit", "s")] if name.endswith("(s)") else []


_BUILDERS: dict[str, Any] = {"stat": _stat, "graph": _graph, "bars": _bars, "timeline": _timeline, "table": _table}


def _panel(panel: Panel) -> Any:
    built = _BUILDERS[panel.kind](panel)
    built.title(panel.title).description(panel.meaning).datasource(SOURCE).unit(panel.unit)
    built.no_value(panel.empty).thresholds(_thresholds(panel)).mappings(_texts(panel))
    for query in _queries(panel):
        built.with_target(query)
    if panel.link:
        board = next(board for board in BOARDS if board.uid == panel.link)
        one = f"&var-{board.variable[0]}=${{__field.labels.{board.variable[0]}}}" if board.variable else ""
        node = "&var-instance=${__field.labels.instance}"
        if panel.kind == "table":
            one = f"&var-{panel.key}=${{__data.fields.{panel.key}}}"
            node = ""
        url = f"/d/{panel.link}?${{datasource:queryparam}}&${{cluster:queryparam}}&${{__url_time_range}}{one}{node}"
        built.data_links([dashboard.DashboardLink(board.title).url(url)])
    return built


def _variables(board: Board) -> Iterator[Any]:
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    queries = [
        ("cluster", "Cluster", "label_values(dmvpn_agent_build_info, cluster)"),
        ("job", "Job", 'label_values(dmvpn_agent_build_info{cluster=~"$cluster"}, job)'),
        ("instance", "Node", 'label_values(dmvpn_agent_build_info{cluster=~"$cluster",job=~"$job"}, instance)'),
        *([board.variable] if board.variable else []),
    ]
    for name, label, query in queries:
        yield (
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query(query)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )


def build(board: Board) -> str:
    """Return a dashboard as JSON."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["dmvpn", "dmvpn-agent"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("DMVPN")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["dmvpn-agent"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    for variable in _variables(board):
        built.with_variable(variable)
    y = 0
    for title, panels in board.rows:
        row = dashboard.Row(title).grid_pos(GridPos(x=0, y=y, w=GRID_WIDTH, h=1))
        if board.variable and f"${board.variable[0]}" in title:
            row.repeat(board.variable[0])
        built.with_row(row)
        y += 1
        for panel, position in placed(panels, y):
            built.with_panel(_panel(panel).grid_pos(position))
            y = max(y, position.y + position.h)
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def placed(panels: tuple[Panel, ...], top: int) -> Iterator[tuple[Panel, GridPos]]:
    """Yield each panel with its place: from left to right, on the next line if it is too wide."""
    x, y, height = 0, top, 0
    for panel in panels:
        if x + panel.width > GRID_WIDTH:
            x, y, height = 0, y + height, 0
        yield panel, GridPos(x=x, y=y, w=panel.width, h=panel.height)
        x, height = x + panel.width, max(height, panel.height)


if __name__ == "__main__":
    for one in BOARDS:
        (FOLDER / f"{one.uid}.json").write_text(build(one))
