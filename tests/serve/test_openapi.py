"""The API against its own description: requests that schemathesis makes up, answers as the document says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks

from tests.cli.running import EXAMPLES, clean_environment
from tests.serve.running import serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
)
"""All but those that take any bytes for a video, and any id for one that exists."""

MADE_UP = 20
REAL = 15


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = tmp_path_factory.mktemp("openapi")
    with serving(
        EXAMPLES / "example.mp4", "--max-upload-mb", "4", home=place / "home", cache=place / "cache"
    ) as server:
        yield server


def test_the_document_describes_every_answer(server):
    with server.client() as client:
        document = client.get("/api/openapi.json").json()
    assert len(document["paths"]) == 11
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            for code, answer in operation["responses"].items():
                if int(code) >= 400:
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (method, path, code)


@pytest.mark.slow
def test_made_up_requests_find_no_fault(server, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/openapi.json"),
            *("--max-examples", str(MADE_UP), "--checks", ",".join(CHECKS), "--seed", "1"),
            *("--generation-database", ":memory:", "--no-color"),
        ],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found, done.stdout
    print(found[0])
    assert int(found[1]) == int(found[2]) > 200
    assert "Traceback" not in server.said


@pytest.mark.slow
def test_generated_requests(server):
    with server.client() as client:
        served = client.get("/api/videos").json()["videos"][0]["id"]
        content = Path(EXAMPLES / "example.mp4").read_bytes() + b"\0\0\0\x10freeuploaded"
        uploaded = server.upload(client, content).json()["id"]
        job = server.start_job(client, served, "a cat").json()["id"]
        assert server.finished(client, job)["state"] == "done"
    ids = {
        "video_id": st.sampled_from([served, served, uploaded]),
        "job_id": st.just(job),
        "form": st.sampled_from(["json", "csv", "edl", "otio", "fcpxml", "chapters"]),
    }
    statuses: Counter[int] = Counter()
    for found in schemathesis.openapi.from_url(f"{server.url}/api/openapi.json").get_all_operations():
        statuses += answers_to(found.ok(), ids)
    with server.client() as client:
        # Whether these come by themselves depends on what was made up.
        extra = server.upload(client, content + b"\0\0\0\x09free.").json()["id"]
        statuses.update(client.delete(f"/api/videos/{video}").status_code for video in (extra, extra, served))
    print(dict(statuses))
    assert max(statuses) < 500
    assert {200, 202, 204, 404, 409} <= set(statuses)
    with server.client() as client:
        assert client.get("/api/health").status_code == 200
    assert "Traceback" not in server.said


def answers_to(operation, ids: dict[str, st.SearchStrategy[str]]) -> Counter[int]:
    """Make requests up for an operation, with ids that there are, and check the answers; returns their statuses."""
    statuses: Counter[int] = Counter()
    checked = [checks.CHECKS.get_one(name) for name in CHECKS[:5]]
    wanted = re.findall(r"\{(\w+)\}", operation.path)

    @settings(max_examples=REAL, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(), st.fixed_dictionaries(ids))
    def ask(case, chosen):
        case.path_parameters = {name: chosen[name] for name in wanted}
        if isinstance(case.body, dict) and "video_id" in case.body:
            case.body = {**case.body, "video_id": chosen["video_id"]}
        response = case.call()
        statuses[response.status_code] += 1
        case.validate_response(response, checks=checked)

    ask()
    return statuses
