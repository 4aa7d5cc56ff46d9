"""The OpenAPI document walked by a fuzzer: no fault of the server's, no answer that is not documented."""

from __future__ import annotations

import time
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

pytestmark = [pytest.mark.system]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
#: Every report is a process of a second, so that few of them have to do.
SLOW = "/api/v1/reports/"
EXAMPLES, FEW = 12, 2


def faults(operation: Any, token: str) -> list[str]:
    """Ask one operation many ways; return what was wrong."""
    found: list[str] = []

    @seed(1)
    @given(case=operation.as_strategy())
    @settings(
        max_examples=FEW if operation.path.startswith(SLOW) else EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        # Answers that are held back until the pool changes: it does not, here.
        if isinstance(case.query, dict):
            case.query.pop("wait_s", None)
        answer = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=60)
        try:
            case.validate_response(answer, checks=CHECKS)
        except BaseExceptionGroup as group:
            wrong = "; ".join(str(error).strip().splitlines()[0] for error in group.exceptions)
            asked = f"query={case.query!r} path={case.path_parameters!r} body={case.body!r}"
            found.append(f"{case.method} {case.path}: {answer.status_code} {wrong} · {asked[:300]} · {answer.text[:300]}")

    ask()
    return found[:2]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("role", ["admin", "tenant"])
def test_no_answer_is_a_fault_or_a_surprise(empty_broker: Any, role: str) -> None:
    token = empty_broker.token
    if role == "tenant":
        token = empty_broker.rest("POST", "/api/v1/tokens", {"role": "tenant", "tenant": "ocr"})[1]["token"]
    schema = schemathesis.openapi.from_url(f"{empty_broker.http}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    begun = time.monotonic()
    wrong = [fault for operation in operations for fault in faults(operation, token)]
    assert wrong == [], "\n".join(wrong)
    assert len(operations) > 40
    assert time.monotonic() - begun < 120
