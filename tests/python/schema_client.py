"""Submits a job from schemas/ alone: subjects, headers and payloads are those of the AsyncAPI document and its JSON Schemas.

Usage: schema_client.py NATS_URL SCHEMAS ELF
"""

import asyncio
import base64
import hashlib
import json
import pathlib
import struct
import sys
import uuid

import asyncapi3.models
import jsonschema
import msgpack
import nats

from schemas import Schemas, shown, validate

CHAINED = 4


def check_files(schemas):
    """The document is AsyncAPI 3, the schemas are JSON Schema, and every sample of every version keeps to its own."""
    asyncapi3.models.AsyncAPI3.model_validate(schemas.document)
    files = {path.stem: json.loads(path.read_text()) for path in (schemas.directory / "messages").glob("*.json")}
    for schema in files.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    samples = list((schemas.directory / "samples").glob("v*/*.msgpack"))
    assert len(samples) > 50, samples
    for path in samples:
        name = max((name for name in files if f"{path.stem}-".startswith(f"{name}-")), key=len)
        packed = shown(msgpack.unpackb(path.read_bytes()))
        assert packed == json.loads(path.with_suffix(".json").read_text()), path
        validate(files[name], packed)


def built(schema, values):
    """An object with every field that must be there, and what else is wanted."""
    missing = set(schema["required"]) - set(values)
    assert not missing, f"{schema['title']} asks for {missing}"
    validate(schema, values)
    return values


class Cluster:
    def __init__(self, connection, schemas):
        self.connection = connection
        self.schemas = schemas

    async def ask(self, endpoint, request):
        """Asks the service; what came back, checked, and whether it is an error."""
        operation = f"receive-api-{endpoint}"
        self.schemas.check(self.schemas.message(operation), request)
        message = await self.connection.request(self.schemas.subject(f"api-{endpoint}"), json.dumps(request).encode(), timeout=30)
        answer, error = self.schemas.replies(operation)
        is_error = "Nats-Service-Error" in message.headers
        return self.schemas.read(error if is_error else answer, message.data, message.headers), is_error

    async def answer(self, endpoint, request):
        answer, is_error = await self.ask(endpoint, request)
        assert not is_error, answer
        return answer

    async def until_ended(self, job):
        while (status := await self.answer("status", {"job": job}))["state"] not in ("completed", "failed", "cancelled"):
            await asyncio.sleep(0.1)
        assert status["state"] == "completed", status
        return status


async def events_of(subscription, schemas):
    """A job's events to its last, each checked: it is on one of the channels of events, with the headers and the payload said there."""
    channels = ("event", "event-proof", "event-proof-again")
    lengths = {len(schemas.channels[name]["address"].split(".")): name for name in channels}
    seen = []
    async for message in subscription.messages:
        # A prefix may have dots, the parameter has none.
        tokens = len(message.subject.split(".")) - schemas.channels["event"]["parameters"]["prefix"]["default"].count(".")
        event = schemas.read(schemas.message(f"send-{lengths[tokens]}"), message.data, message.headers)
        (kind,) = event["body"]
        assert kind in message.subject.split("."), (kind, message.subject)
        seen.append(event)
        if kind in ("completed", "failed", "cancelled"):
            return seen


async def main(url, schemas, elf):
    check_files(schemas)
    digest = bytes(32)
    for _ in range(CHAINED):
        digest = hashlib.sha256(digest).digest()
    connection = await nats.connect(url)
    stream = connection.jetstream()
    cluster = Cluster(connection, schemas)

    # Program and input are stored by a request of the service; where, says the job's record.
    inline = {"program": {"inline": base64.b64encode(elf).decode()}, "input": {"inline": base64.b64encode(struct.pack("<Q", CHAINED)).decode()}}
    first = (await cluster.answer("execute", inline))["job"]
    await cluster.until_ended(first)
    bucket = schemas.subject("bucket-jobs", job=first).split(".")[1]
    entry = await (await stream.key_value(bucket)).get(first)
    record = schemas.read(schemas.message("send-bucket-jobs"), entry.value, None)

    # The request on the stream: once as JSON, once more as MessagePack, which with the same id is the same.
    message = schemas.message("receive-request-prove")
    schema = schemas.payload(message)
    stored = record["request"]
    request = built(schema, {"v": 1, "job": str(uuid.uuid4()), "program": stored["program"], "input": stored["input"], "metadata": {"from": "schemas"}})
    job = request["job"]
    events = await connection.subscribe(schemas.subject("event", job=job, kind=">"))
    subject = schemas.subject("request-prove")
    for again, (content_type, payload) in enumerate((("application/json", json.dumps(request).encode()), ("application/msgpack", msgpack.packb(request)))):
        headers = {"Nats-Msg-Id": f"request.{job}", "Content-Type": content_type}
        schemas.check(message, request, headers)
        acknowledged = await stream.publish(subject, payload, headers=headers)
        assert acknowledged.stream == schemas.channels["request-prove"]["x-stream"], acknowledged
        assert bool(acknowledged.duplicate) == bool(again), acknowledged

    seen = await asyncio.wait_for(events_of(events, schemas), 300)
    kinds = [kind for event in seen for kind in event["body"]]
    assert kinds[0] == "accepted" and kinds[-1] == "completed" and "proof" in kinds, kinds
    assert seen[0]["metadata"] == seen[-1]["metadata"] == request["metadata"], seen
    outputs = base64.b64decode(seen[-1]["body"]["completed"]["summary"]["outputs"])
    assert outputs[:32] == digest, outputs

    result = await cluster.answer("result", {"job": job})
    assert struct.pack("<8I", *result["outputs"][:8]) == digest, result
    assert result["proof"]["key"] == seen[-1]["body"]["completed"]["proof"]["key"], result
    verified = await cluster.answer("verify", {"proof": {"key": result["proof"]["key"]}, "program": result["program"]})
    assert verified["valid"] and verified["outputs"] == result["outputs"], verified
    page = await cluster.answer("jobs", {"limit": 1})
    assert len(page["jobs"]) == 1 and page["next"], page
    assert (await cluster.answer("cancel", {"job": job}))["cancelled"] is False
    await cluster.until_ended((await cluster.answer("setup", {"program": result["program"]}))["job"])
    error, is_error = await cluster.ask("status", {"job": str(uuid.uuid4())})
    assert is_error and error["code"] == "ZISK-1012", error

    # What the schema does not allow is refused there and here.
    for wrong in ({"prioritiy": 1}, {"params": {"priority": 10}}, {"program": 7}, {"v": 2}):
        request = {"program": result["program"], **wrong}
        try:
            schemas.check(schemas.message("receive-api-prove"), request)
            raise AssertionError(f"the schema allows {wrong}")
        except jsonschema.ValidationError:
            pass
        answer = await connection.request(schemas.subject("api-prove"), json.dumps(request).encode(), timeout=30)
        schemas.read(schemas.replies("receive-api-prove")[1], answer.data, answer.headers)

    # What workers say of themselves.
    bucket = schemas.subject("bucket-workers", worker="x").split(".")[1]
    workers = await stream.key_value(bucket)
    for key in await workers.keys():
        schemas.read(schemas.message("send-bucket-workers"), (await workers.get(key)).value, None)
    await connection.close()
    print("as the schemas say")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Schemas(sys.argv[2]), pathlib.Path(sys.argv[3]).read_bytes()))
