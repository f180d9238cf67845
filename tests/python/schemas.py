"""Reads schemas/ as any program may: which subject, which headers, which payload."""

import base64
import json
import pathlib

import jsonschema
import msgpack


def shown(value):
    """A MessagePack value as its schema has it: byte strings are base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: shown(field) for name, field in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


class Schemas:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.document = json.loads((self.directory / "asyncapi.json").read_text())
        self.channels = self.document["channels"]
        self.operations = self.document["operations"]

    def follow(self, value):
        """What a reference within the document, or to a file beside it, leads to."""
        while isinstance(value, dict) and "$ref" in value:
            reference = value["$ref"]
            if not reference.startswith("#/"):
                return json.loads((self.directory / reference).read_text())
            value = self.document
            for name in reference[2:].split("/"):
                value = value[name]
        return value

    def subject(self, channel, **given):
        """The channel's address with these parameters; those with a default need not be given."""
        subject = self.channels[channel]["address"]
        for name, parameter in self.channels[channel]["parameters"].items():
            subject = subject.replace("{" + name + "}", given.get(name) or parameter["default"])
        return subject

    def message(self, operation):
        """The one message of an operation."""
        (message,) = self.operations[operation]["messages"]
        return self.follow(message)

    def replies(self, operation):
        """The messages that may answer it, the error last."""
        return [self.follow(message) for message in self.operations[operation]["reply"]["messages"]]

    def payload(self, message):
        return self.follow(message["payload"])

    def check(self, message, payload, headers=None):
        """Fails unless the message has this payload and these headers."""
        validate(self.payload(message), payload)
        if headers is not None:
            validate(message["headers"], dict(headers))

    def read(self, message, data, headers):
        """A message's payload, checked."""
        content_type = (headers or {}).get("Content-Type", message["contentType"])
        payload = json.loads(data) if content_type == "application/json" else shown(msgpack.unpackb(data))
        self.check(message, payload, headers)
        return payload


def validate(schema, value):
    jsonschema.Draft202012Validator(schema).validate(value)
