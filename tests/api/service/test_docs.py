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
