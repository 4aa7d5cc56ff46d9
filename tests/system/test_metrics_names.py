"""The names of metrics: what the docs list is what is served, and rules and boards use nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpupool_agent.metrics import METRICS as AGENTS
from gpupool_agent.metrics import AgentCollector, Snapshot
from gpupool_broker.api.metrics import METRICS as BROKERS
from gpupool_broker.api.metrics import render
from gpupool_broker.core.pool import Pool
from gpupool_broker.tally import Tally

ROOT = Path(__file__).parents[2]
SERVED = {f"gpupool_{name}": labels for name, (_, labels) in BROKERS.items()} | {
    f"gpupool_agent_{name}": labels for name, (_, labels) in AGENTS.items()
}
LINE = re.compile(r"^\| `(gpupool_\w+)` \| ([\w, ]*?) ?\| \S.* \|$", re.MULTILINE)
NAME = re.compile(r"\bgpupool_\w+")
LABEL = re.compile(r"{{\s*(?:\$labels\.)?(\w+)\s*}}|[{,]\s*(\w+)\s*=")
#: Prometheus' own, of every scraped target.
TARGET = {"instance", "job"}


def expressions() -> list[tuple[str, str, str]]:
    """Return where, expression and what is shown of it, of every rule and panel."""
    found = []
    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]:
        found += [(rule["alert"], rule["expr"], rule["annotations"]["summary"]) for rule in group["rules"]]
    board: dict[str, Any] = json.loads((ROOT / "deploy/grafana/gpupool.json").read_text())
    for panel in board["panels"]:
        found += [(panel["title"], target["expr"], target["legendFormat"]) for target in panel["targets"]]
    return found


def test_the_docs_list_exactly_what_is_served_with_its_labels() -> None:
    listed = LINE.findall((ROOT / "docs/metrics.md").read_text())
    assert {name: tuple(labels.split(", ")) if labels else () for name, labels in listed} == SERVED
    assert len(listed) == len(SERVED)


def test_a_broker_serves_every_name_of_its_table() -> None:
    text = render(Pool(lambda: "never asked"), Tally(), 0)
    assert set(re.findall(r"^# HELP (\w+) ", text, re.MULTILINE)) == {f"gpupool_{name}" for name in BROKERS}


def test_an_agent_serves_every_name_of_its_table() -> None:
    families = AgentCollector([], Snapshot, None).collect()
    counted = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert counted == {f"gpupool_agent_{name}" for name in AGENTS}


@pytest.mark.parametrize(("where", "expression", "shown"), expressions(), ids=lambda text: text[:40])
def test_rules_and_boards_use_names_and_labels_that_exist(where: str, expression: str, shown: str) -> None:
    names = set(NAME.findall(expression))
    assert names, where
    assert names <= SERVED.keys(), where
    labels = {label for name in names for label in SERVED[name]} | TARGET
    used = {one or other for one, other in LABEL.findall(expression + shown)}
    assert used <= labels, where
