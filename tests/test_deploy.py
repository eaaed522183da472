"""What is deployed is what the program is: settings, commands and metrics that files name are really there."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.cli import app
from tests import compose
from workers.exposition import SHARED
from workers.metrics import build_registry, count_requests, render
from workers.resources import Resources
from workers.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
RUNBOOK = (ROOT / "docs" / "operations.md").read_text("utf-8")
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
OF_COMPOSE = {"PERCEL_PUBLISH", "PERCEL_IMAGE"}  # read by docker-compose.yml itself
OURS = ("migrate", "api", "worker", "gpu-worker")


@pytest.fixture(scope="module")
def services() -> dict:
    return compose.load(COMPOSE)["services"]


def commands() -> dict[str, typer.models.CommandInfo | None]:
    """Every command line that there is, as words."""
    found: dict = {}
    for command in app.registered_commands:
        found[command.name or command.callback.__name__] = command
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            found[f"{group.name} {command.name or command.callback.__name__}"] = command
    return found


def options(command: str) -> set[str]:
    click = typer.main.get_command(app)
    for word in command.split():
        click = click.commands[word]
    return {option for parameter in click.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_the_compose_file_is_valid() -> None:
    assert compose.faults(compose.load(COMPOSE)) == []


def test_the_validator_finds_what_compose_would_refuse() -> None:
    broken = {
        "services": {
            "a": {"image": "x", "depends_on": {"b": {"condition": "service_healthy"}, "c": {"condition": "x"}}},
            "b": {"image": "x", "comand": "y", "volumes": ["gone:/data"], "environment": {"A": True}},
            "d": {"restart": "maybe", "healthcheck": {"test": ["true"], "interval": "soon"}},
        }
    }
    assert compose.faults(broken) == [
        "a: waits for the health of b, which has no check",
        "a: depends on c, which is not there",
        "b: comand: unknown",
        "b: environment: A must be a string",
        "b: volume gone is not declared",
        "d: has neither image nor build",
        "d: restart: maybe",
        "d: healthcheck: test must begin with CMD or CMD-SHELL",
        "d: healthcheck: interval is no duration",
    ]


@dataclass(frozen=True)
class Compose:
    """Compose itself, as it is installed, on our file."""

    command: list[str]
    file: Path

    def config(self, env: Path) -> subprocess.CompletedProcess[str]:
        """What it makes of the file with every profile and the variables of `env` alone."""
        given = [*self.command, "-f", str(self.file), "--project-directory", str(ROOT), "--env-file", str(env)]
        profiles = {
            name for service in compose.load(COMPOSE)["services"].values() for name in service.get("profiles", [])
        }
        for name in sorted(profiles):
            given += ["--profile", name]
        plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run([*given, "config"], capture_output=True, text=True, check=False, env=plain)


@pytest.fixture
def docker_compose(tmp_path: Path) -> Compose:
    """Docker's plugin or the standalone program; of the latter also the first generation, which knows no `name`."""
    for words in (["docker", "compose"], ["docker-compose"]):
        ran = shutil.which(words[0]) and subprocess.run(
            [*words, "version", "--short"], capture_output=True, text=True, check=False
        )
        if not ran or ran.returncode:
            continue
        if not ran.stdout.startswith("1."):
            return Compose(words, COMPOSE)
        file = tmp_path / "docker-compose.yml"
        file.write_text(re.sub(r"^name: .*$", "", COMPOSE.read_text("utf-8"), flags=re.M))
        return Compose(words, file)
    pytest.skip("neither the plugin `docker compose` nor docker-compose is installed")


def test_compose_itself_reads_the_file_as_it_is_meant(docker_compose: Compose, services: dict, tmp_path: Path) -> None:
    env = tmp_path / "env"
    secrets = "".join(f"{v.name}=secret-of-{v.name}\n" for v in compose.variables(COMPOSE) if v.required)
    env.write_text(secrets + "PERCEL_DECODER=openai:http://model/v1#name\n")
    ran = docker_compose.config(env)
    assert ran.returncode == 0, ran.stderr
    read = yaml.safe_load(ran.stdout)
    assert read["services"].keys() == services.keys()
    assert read["volumes"].keys() == compose.load(COMPOSE)["volumes"].keys()
    for name in services:
        assert read["services"][name]["read_only"] is True, name
    asked = read["services"]["api"]["environment"]["PERCEL_DATABASE_URL"]
    assert asked == "postgresql://percel:secret-of-POSTGRES_PASSWORD@postgres:5432/percel"
    # A dollar sign that is the container's own comes out doubled, as it went in.
    assert read["services"]["worker"]["environment"]["PERCEL_DECODER"] == "openai:http://model/v1#name"
    assert read["services"]["worker"]["environment"].get("PERCEL_CODEC") is None  # not named, so as the program has it
    assert '"$$IDENTITIES"' in " ".join(read["services"]["objects"]["entrypoint"])


def test_compose_itself_stops_without_the_secrets(docker_compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("")
    ran = docker_compose.config(tmp_path / "env")
    assert ran.returncode != 0
    assert re.search(r"(POSTGRES_PASSWORD|S3_ACCESS_KEY|S3_SECRET_KEY)\W.*set it in \.env", ran.stderr)


@pytest.mark.parametrize("name", [".env.example", "docker-compose.yml", "Dockerfile", "docs/operations.md"])
def test_every_setting_that_a_file_names_is_one(name: str) -> None:
    named = set(re.findall(r"\bPERCEL_[A-Z_]*[A-Z]\b", (ROOT / name).read_text("utf-8")))
    assert named - SETTINGS - OF_COMPOSE == set()


def test_required_secrets_stop_the_start_with_a_message_and_are_in_the_example() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), flags=re.M))
    used = compose.variables(COMPOSE)
    assert {v.name for v in used} - example.keys() == set()
    assert [v.name for v in used if not (v.has_default or v.message)] == []
    assert {v.name for v in used if v.required} == {"POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}
    assert [name for name, value in example.items() if value and re.search("PASSWORD|SECRET|TOKEN|ACCESS", name)] == []


def test_every_service_may_do_as_little_as_possible(services: dict) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert any(place.startswith("/tmp") for place in service["tmpfs"]), name
        assert service.get("build") or service.get("user", "").split(":")[0].isdigit() or name == "objects-init", name
        assert service.get("build") or re.search(r":v?\d+\.\d+", service["image"]), f"{name}: its image is not pinned"
        assert service["healthcheck"], name


UNITS = {"m": 2**20, "g": 2**30}


def in_bytes(size: str) -> int:
    """Of a size as Compose has it, "6g", or of what a variable is by default."""
    plain = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", str(size))
    return int(plain[:-1]) * UNITS[plain[-1]] if plain[-1] in UNITS else int(plain)


def test_every_service_has_room_and_a_limit(services: dict) -> None:
    limit = {name: in_bytes(each["deploy"]["resources"]["limits"]["memory"]) for name, each in services.items()}
    kept = {name: in_bytes(each["deploy"]["resources"]["reservations"]["memory"]) for name, each in services.items()}
    assert [name for name in services if not 0 < kept[name] < limit[name]] == []
    indexes = in_bytes(services["api"]["environment"]["PERCEL_INDEX_BYTES"])
    assert limit["api"] >= indexes + 2 * 2**30
    words = services["worker"]["command"]
    processes = in_bytes(words[words.index("--processes") + 1])
    parser = Settings.model_fields["parse_memory_bytes"].default
    (scratch,) = services["worker"]["tmpfs"]
    assert processes > 0
    assert limit["worker"] >= processes * (parser + 10**9) + in_bytes(scratch.partition("size=")[2])
    words = services["redis"]["command"]
    assert limit["redis"] > 2 * in_bytes(words[words.index("--maxmemory") + 1].removesuffix("b"))
    assert limit["postgres"] > in_bytes(services["postgres"]["shm_size"])


def test_the_example_gives_what_the_file_gives_without_it() -> None:
    example = dict(re.findall(r"^(\w+)=(.+)$", (ROOT / ".env.example").read_text("utf-8"), flags=re.M))
    given = dict(re.findall(r"\$\{(\w+):-([^}]+)\}", COMPOSE.read_text("utf-8")))
    assert given.items() <= example.items()


def test_every_setting_of_the_environment_file_reaches_api_and_workers(services: dict) -> None:
    of_the_image = {f"{PREFIX}{name}" for name in ("HOME", "HOST", "PORT")}
    for name in ("api", "worker", "gpu-worker"):
        given = services[name]["environment"]
        # The indexes are the API's, and the device of a worker without a GPU is what there is.
        lacking = SETTINGS - of_the_image - given.keys()
        assert lacking <= {"PERCEL_INDEX_BYTES", "PERCEL_DEVICE"}, name
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in given


def test_the_environment_file_names_the_settings_that_it_cannot_change(services: dict) -> None:
    text = (ROOT / ".env.example").read_text("utf-8")
    told = set(re.findall(r"\bPERCEL_[A-Z_]*[A-Z]\b", text.partition("Not these")[2]))
    read_there = {variable.name for variable in compose.variables(COMPOSE)}
    for name in ("api", "worker", "gpu-worker"):
        given = services[name]["environment"]
        passed_on = {each for each, value in given.items() if value is None} | read_there
        assert (SETTINGS & given.keys()) - passed_on <= told, name
        assert told & passed_on == set(), name


def test_uploads_are_spooled_on_a_disk_that_the_image_makes_the_users_own(services: dict) -> None:
    api = services["api"]
    spool = api["environment"]["TMPDIR"]
    assert spool in [volume.split(":")[1] for volume in api["volumes"]]
    assert f"install -d -o percel -g percel -m 0700 /data {spool}" in DOCKERFILE  # a new volume is owned as it is there


def test_the_commands_of_our_services_exist_with_their_options(services: dict) -> None:
    for name in OURS:
        words = services[name]["command"]
        assert words[0] in commands(), name
        given = {word for word in words if word.startswith("--")}
        assert given - options(words[0]) == set(), name


def test_a_stop_has_longer_than_the_program_takes(services: dict) -> None:
    from api.serve import STOP_SECONDS
    from workers.app import configuration

    assert int(services["api"]["stop_grace_period"][:-1]) > STOP_SECONDS
    assert int(services["worker"]["stop_grace_period"][:-1]) > configuration()["worker_soft_shutdown_timeout"]


def test_the_image_runs_as_nobody_and_names_no_index() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.M) == ["10001:10001"]
    assert "VOLUME /data" in DOCKERFILE
    assert "PERCEL_HOME=/data" in DOCKERFILE
    assert "/readyz" in DOCKERFILE.split("HEALTHCHECK")[1]
    assert re.findall(r"https?://(?!127\.0\.0\.1)\S+", DOCKERFILE) == []
    assert set(re.findall(r"^ARG (\w+)=", DOCKERFILE, flags=re.M)) == {"PYTHON"}


def test_the_image_has_every_package() -> None:
    copied = re.findall(r"^COPY (\w+) \1$", DOCKERFILE, flags=re.M)
    assert sorted(copied) == ["api", "bench", "compressor", "store", "workers"]
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"), flags=re.M)
    assert {*copied, "pyproject.toml", "README.md", "LICENSE", "NOTICE"} == set(allowed)


def test_prometheus_scrapes_services_that_exist(services: dict) -> None:
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    api, workers = jobs
    assert api["static_configs"][0]["targets"] == ["api:8080"]
    (names,) = workers["dns_sd_configs"]
    assert set(names["names"]) <= services.keys()
    for name in names["names"]:
        words = services[name]["command"]
        assert words[words.index("--metrics-port") + 1] == str(names["port"])


def test_every_metric_of_the_dashboard_is_one(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SHARED, raising=False)
    registry = build_registry(resources)
    count_requests(registry)("/", "GET", 200)
    for step in ("parse", "search", "answer"):
        with resources.timings.step(step):
            pass
    families = list(text_string_to_metric_families(render(registry).decode()))
    real = {sample.name for family in families for sample in family.samples} | {family.name for family in families}
    text = (ROOT / "deploy" / "grafana" / "percel.json").read_text("utf-8")
    shown = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    named = {name for expression in shown for name in re.findall(r"\bpercel_\w+", expression)}
    assert named - real == set()
    told = {family.name for family in families if not family.name.endswith("_created")}
    assert told - {re.sub("_(bucket|count|total)$", "", name) for name in named} == set()


def test_the_runbook_says_which_commands_have_no_json() -> None:
    (said,) = re.findall(r"^All but (.*) have `--json`", RUNBOOK, flags=re.M)
    assert set(re.findall(r"`(\w+)`", said)) == {name for name in commands() if "--json" not in options(name)}


def test_the_runbook_names_commands_that_exist() -> None:
    lines = re.findall(r"percel ((?:[a-z][a-z-]*)(?: [a-z]+)?)([^`\n]*)", RUNBOOK)
    assert len(lines) > 10
    known = commands()
    for words, rest in lines:
        name = words if words in known else words.split()[0]
        assert name in known, f"percel {words}"
        given = set(re.findall(r"--[a-z-]+", rest))
        assert given - options(name) == set(), f"percel {words}{rest}"


def test_the_runbook_is_short() -> None:
    assert len(RUNBOOK.splitlines()) <= 120
