"""The API's own documentation: everything from here, every error in its true shape."""

from tests.api.service.conftest import Service


def test_the_page_of_docs_loads_nothing_from_elsewhere(service: Service) -> None:
    with service.client() as client:
        page = client.get("/docs")
        assert page.status_code == 200
        assert "https://" not in page.text
        for script in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert script in page.text
            assert client.get(f"/static-offline-docs/{script}").status_code == 200


def test_every_error_is_documented_as_problem_details(service: Service) -> None:
    with service.client() as client:
        document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/v1/") and operation["tags"] != ["openai"]:  # which has OpenAI's shape
                content = operation["responses"]["default"]["content"]
                assert list(content) == ["application/problem+json"], (method, path)


def test_every_route_that_needs_a_key_is_documented_so(service: Service) -> None:
    with service.client() as client:
        document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert schemes == {
        "HTTPBearer": {"type": "http", "scheme": "bearer", "description": "An API key, `pk_...`"},
    }
    keyed = {
        path for path, methods in document["paths"].items() if all("security" in each for each in methods.values())
    }
    assert keyed == set(document["paths"]) - {"/healthz", "/readyz"}
    assert document["paths"]["/v1/search"]["post"]["security"] == [{"HTTPBearer": []}]


def test_files_are_documented_as_generators_of_clients_know_them(service: Service) -> None:
    with service.client() as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    forms = {name: schema["properties"] for name, schema in schemas.items() if name.startswith("Body_upload")}
    (file,) = (form["file"] for form in forms.values() if "file" in form)
    (files,) = (form["files"]["items"] for form in forms.values() if "files" in form)
    for said in (file, files):
        assert (said["type"], said["format"], said["contentMediaType"]) == (
            "string",
            "binary",
            "application/octet-stream",
        )


def test_every_good_answer_is_documented(service: Service) -> None:
    with service.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/documents", "/v1/documents/text", "/v1/documents/url"):
        answers = paths[path]["post"]["responses"]
        for status in ("200", "202"):  # there already, queued
            schema = answers[status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/DocumentOut"}
            assert list(answers[status]["headers"]) == ["Location", "Idempotent-Replayed"]
    of_documents = "/v1/documents/{document_id}"
    assert {
        path: list(paths[path][method]["responses"]["200"]["content"])
        for path, method in (
            (f"{of_documents}/events", "get"),
            (f"{of_documents}/chunks/{{chunk}}/image", "get"),
            (f"{of_documents}/pages/{{page}}/image", "get"),
            ("/v1/ask", "post"),
            ("/v1/chat/completions", "post"),
        )
    } == {
        f"{of_documents}/events": ["text/event-stream"],
        f"{of_documents}/chunks/{{chunk}}/image": ["image/png"],
        f"{of_documents}/pages/{{page}}/image": ["image/png"],
        "/v1/ask": ["application/json", "text/event-stream"],
        "/v1/chat/completions": ["application/json", "text/event-stream"],
    }
    assert list(paths["/readyz"]["get"]["responses"]["503"]["content"]) == ["application/json"]  # no problem details
