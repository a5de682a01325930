"""The document names each address that there is, and no other."""

import json

import pytest

from worldgen.server.openapi import openapi_document


def test_every_reference_leads_somewhere():
    document = openapi_document()
    names = set(document["components"]["schemas"])
    text = json.dumps(document)
    referred = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred == names == {"Job", "Error", "GenerateAsk", "EvaluateAsk", "SimulateAsk"}


def test_the_document_has_the_addresses_of_the_server(tmp_path):
    pytest.importorskip("starlette")
    from worldgen.server.app import make_app
    from worldgen.server.folder import ServerFolder
    from worldgen.server.jobs import JobQueue, ServerLimits

    app = make_app(JobQueue(ServerFolder(tmp_path), {}, ServerLimits()), 80)
    served = {
        (route.path, method.lower())
        for route in app.app.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api/") and "openapi" not in route.path
    }
    told = {
        (path, method)
        for path, methods in openapi_document()["paths"].items()
        for method in methods
        if method in ("get", "post")
    }
    assert told == served
