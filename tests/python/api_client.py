"""Submits jobs as docs/api.md says, knowing nothing else of this repository, and compares the answers with those printed there, and
what is printed with schemas/.

Usage: api_client.py NATS_URL REPOSITORY
"""

import asyncio
import base64
import hashlib
import json
import pathlib
import re
import struct
import sys

import nats

from schemas import Schemas

CHAINED = 5


def examples(text):
    """Each fenced block of JSON by what its first line says."""
    return {name: json.loads(block) for name, block in re.findall(r"```json ([a-z ]+)\n(.*?)```", text, re.S)}


def command_lines(text, repository):
    """Subject and payload of each `nats req`, with the files that the shell would put in."""
    def content(match):
        return base64.b64encode((repository / match[1]).read_bytes()).decode()

    for subject, payload in re.findall(r"^nats req (\S+) '(.*)'$", text, re.M):
        yield subject, re.sub(r"'\$\(base64 -w0 ([^)]+)\)'", content, payload)


def filled(example, values):
    if isinstance(example, dict):
        return {name: filled(value, values) for name, value in example.items()}
    return values.get(example, example) if isinstance(example, str) else example


def same_shape(answer, example, name):
    assert set(answer) == set(example), f"{name}: {sorted(answer)} instead of {sorted(example)}"
    for field, value in example.items():
        if value is not None and answer[field] is not None:
            assert type(answer[field]) is type(value), f"{name}: {field} is {answer[field]!r}, not like {value!r}"


class Cluster:
    def __init__(self, connection):
        self.connection = connection

    async def ask(self, subject, request):
        payload = request if isinstance(request, str) else json.dumps(request)
        message = await self.connection.request(subject, payload.encode(), timeout=30)
        return message.headers or {}, json.loads(message.data)

    async def expect(self, subject, request):
        headers, answer = await self.ask(subject, request)
        assert "Nats-Service-Error" not in headers, f"{subject}: {answer}"
        return answer

    async def ended(self, job):
        while True:
            status = await self.expect("zisk.v1.api.status", {"job": job})
            if status["state"] in ("completed", "failed", "cancelled"):
                assert status["state"] == "completed", status
                return status
            await asyncio.sleep(0.1)


async def main(url, repository):
    text = (repository / "docs/api.md").read_text()
    printed = examples(text)
    elf = (repository / "guests/elf/sha-hasher.elf").read_bytes()
    values = {"PROGRAM": base64.b64encode(elf).decode(), "INPUT": base64.b64encode(struct.pack("<Q", CHAINED)).decode()}
    digest = bytes(32)
    for _ in range(CHAINED):
        digest = hashlib.sha256(digest).digest()

    connection = await nats.connect(url)
    cluster = Cluster(connection)

    schemas = Schemas(repository / "schemas")

    async def as_printed(endpoint):
        request = filled(printed[endpoint], values)
        answer = await cluster.expect(f"zisk.v1.api.{endpoint}", request)
        same_shape(answer, printed[f"{endpoint} answer"], endpoint)
        operation = f"receive-api-{endpoint}"
        schemas.check(schemas.message(operation), request)
        schemas.check(schemas.replies(operation)[0], answer)
        return answer

    def check_outputs(answer):
        assert struct.pack("<8I", *answer["outputs"][:8]) == digest, answer["outputs"]

    values["JOB"] = (await as_printed("prove"))["job"]
    assert (await as_printed("prove"))["job"] == values["JOB"], "the same key is the same job"
    await cluster.ended(values["JOB"])
    status = await as_printed("status")
    assert status["metadata"] == printed["prove"]["metadata"], status
    result = await as_printed("result")
    check_outputs(result)
    assert len(base64.b64decode(result["proof"]["inline"])) == result["proof"]["bytes"]
    values["PROOF"] = result["proof"]["key"]
    check_outputs(await as_printed("verify"))
    assert (await as_printed("cancel"))["cancelled"] is False
    assert values["JOB"] in [job["job"] for job in (await as_printed("jobs"))["jobs"]]

    # A streamed input.
    values["STREAMED"] = (await cluster.expect("zisk.v1.api.execute", filled(printed["streamed"], values)))["job"]
    await as_printed("input")
    closed = await cluster.expect("zisk.v1.api.input", filled(printed["close"], values))
    same_shape(closed, printed["close answer"], "close")
    await cluster.ended(values["STREAMED"])
    check_outputs(await cluster.expect("zisk.v1.api.result", {"job": values["STREAMED"]}))

    # An error, with the headers of every micro service's.
    headers, error = await cluster.ask("zisk.v1.api.prove", {"program": "0" * 64})
    same_shape(error, printed["error"], "error")
    assert error["code"] == printed["error"]["code"] and (repository / error["docs"]).exists(), error
    assert headers["Nats-Service-Error-Code"] == "404" and headers["Nats-Service-Error"].startswith(error["code"]), headers

    # The command lines, here and in the README.
    readme = (repository / "README.md").read_text()
    lines = [*command_lines(text, repository), *command_lines(readme, repository)]
    assert len(lines) >= 3, lines
    for subject, payload in lines:
        answer = await cluster.expect(subject, payload.replace("JOB", values["JOB"]))
        if subject.endswith(".prove"):
            values["JOB"] = answer["job"]
            await cluster.ended(answer["job"])
        elif subject.endswith(".result"):
            check_outputs(answer)

    info = await cluster.expect("$SRV.INFO.zisk", "")
    assert {f"zisk.v1.api.{name}" for name in ("prove", "status", "result")} <= {it["subject"] for it in info["endpoints"]}, info
    await connection.close()
    print("as documented")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], pathlib.Path(sys.argv[2])))
