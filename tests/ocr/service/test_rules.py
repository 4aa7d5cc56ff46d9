"""Alarm rules name metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
import yaml

RULES = Path(__file__).parents[3] / "deploy/prometheus/gpupool-ocr.rules.yml"


def test_every_metric_of_the_alarms_is_served(client: httpx.Client, page: bytes) -> None:
    assert client.post("/v1/recognize", content=page, headers={"Content-Type": "image/png"}).status_code == 200
    served = set(re.findall(r"^# TYPE (\S+)", client.get("/metrics").text, re.MULTILINE))
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert len(group["rules"]) >= 7
    for rule in group["rules"]:
        assert {"summary", "description"} <= rule["annotations"].keys()
        for name in re.findall(r"gpupool_ocr_\w+", rule["expr"]):
            assert name in served or name.removesuffix("_bucket") in served, name


@pytest.mark.parametrize("name", ["gpupool_ocr_nothing"])
def test_a_metric_that_is_not_there_would_be_found(client: httpx.Client, name: str) -> None:
    assert name not in client.get("/metrics").text
