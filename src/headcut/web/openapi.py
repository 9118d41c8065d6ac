"""The API's own description, OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from headcut import __version__
from headcut.web.request import PARAMETERS

PROBLEM = "application/problem+json"
"""RFC 9457."""

_BINARY = {"schema": {"type": "string", "contentEncoding": "binary"}}

PROBLEMS = {
    400: "An option has a value that makes no sense.",
    403: "Another site sends it, or it is not meant for this server's name.",
    408: "The photo did not arrive in time.",
    413: "The photo's file is too large.",
    415: "The body is of a type that is not read.",
    422: "The photo cannot be read, or holds no such head.",
    429: "As many photos as the server takes are waiting; Retry-After says when to come again.",
    500: "Something is wrong with the server; its log says more.",
    503: "The cut took too long, or the server stops.",
}
"""Each status of `/v1/cut` that is not a success."""


def openapi() -> dict[str, Any]:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headcut",
            "version": __version__,
            "description": "Cuts heads out of photos. Nothing is kept and nothing is fetched.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/cut": {"post": _cut()},
            "/v1/health": {
                "get": {
                    "summary": "Whether the server works, and how much it has to do",
                    "operationId": "health",
                    "responses": {"200": {"description": "It works.", "content": _json("Health")}},
                }
            },
        },
        "components": {"schemas": _SCHEMAS},
    }


def _cut() -> dict[str, Any]:
    pictures = {"image/png": _BINARY, "image/webp": _BINARY, **_json("Heads")}
    form = {
        "type": "object",
        "required": ["photo"],
        "properties": {"photo": {"type": "string", "contentMediaType": "image/*"}},
        "additionalProperties": False,
    }
    bodies = {"image/*": _BINARY, "application/octet-stream": _BINARY}
    return {
        "summary": "Cut the heads out of a photo",
        "operationId": "cut",
        "parameters": [
            {"name": name, "in": "query", "schema": schema, "description": text}
            for name, (schema, text) in PARAMETERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {**bodies, "multipart/form-data": {"schema": form}},
        },
        "responses": {
            "200": {"description": "The heads.", "content": pictures},
            **{
                str(status): {"description": text, "content": {PROBLEM: _schema("Problem")}}
                for status, text in PROBLEMS.items()
            },
        },
    }


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": _schema(name)}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _numbers(count: int) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {"type": "number"},
        "minItems": count,
        "maxItems": count,
    }


_SCHEMAS = {
    "Health": _object(
        status={"const": "ok"},
        version={"type": "string"},
        waiting={"type": "integer", "minimum": 0},
    ),
    "Problem": _object(
        type={"type": "string"},
        title={"type": "string"},
        status={"type": "integer"},
        detail={"type": "string"},
    ),
    "Heads": _object(
        schema={"const": "headcut/1"},
        source=_object(width={"type": "integer"}, height={"type": "integer"}),
        pictures={
            "type": "array",
            "items": _object(
                image={"type": "string", "contentEncoding": "base64"},
                offset=_numbers(2),
                scale={"type": "number"},
                heads={
                    "type": "array",
                    "items": _object(
                        box=_numbers(4),
                        confidence={"type": "number", "minimum": 0, "maximum": 1},
                        chin={"type": "array", "items": _numbers(2)},
                    ),
                },
            ),
        },
    ),
}
