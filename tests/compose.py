"""Owns a small validator of compose files: the parts of the specification that ours uses, nothing it does not know."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

# From the Compose specification: the keys of a service that are used here, and the types that they may have.
SERVICE_KEYS: dict[str, tuple[type, ...]] = {
    "build": (str, dict),
    "cap_add": (list,),
    "cap_drop": (list,),
    "command": (str, list),
    "depends_on": (list, dict),
    "deploy": (dict,),
    "entrypoint": (str, list),
    "environment": (dict, list),
    "healthcheck": (dict,),
    "image": (str,),
    "init": (bool,),
    "logging": (dict,),
    "ports": (list,),
    "profiles": (list,),
    "read_only": (bool,),
    "restart": (str,),
    "security_opt": (list,),
    "shm_size": (str, int),
    "stop_grace_period": (str,),
    "tmpfs": (str, list),
    "user": (str,),
    "volumes": (list,),
}
HEALTH_KEYS = {"disable", "interval", "retries", "start_period", "test", "timeout"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
RESTARTS = {"no", "always", "on-failure", "unless-stopped"}
_DURATION = re.compile(r"(\d+(ms|s|m|h))+")
_VARIABLE = re.compile(r"(?<!\$)\$(?:\{([A-Za-z_]\w*)(?:(:?[-?+])([^}]*))?\}|([A-Za-z_]\w*))")


class Variable:
    """One place where the file takes a value from the environment."""

    def __init__(self, name: str, operator: str, word: str) -> None:
        self.name = name
        self.required = operator in ("?", ":?")
        self.message = word if self.required else ""
        self.has_default = operator in ("-", ":-")


def load(path: Path) -> dict:
    """The file as YAML has it, merge keys followed."""
    return yaml.safe_load(path.read_text("utf-8"))


def variables(path: Path) -> list[Variable]:
    """Every interpolation in the file outside of comments."""
    text = "\n".join(re.sub(r"(^|\s)#.*$", "", line) for line in path.read_text("utf-8").splitlines())
    return [Variable(m[1] or m[4], m[2] or "", m[3] or "") for m in _VARIABLE.finditer(text)]


def faults(compose: Mapping) -> list[str]:
    """What Compose would refuse, and references to what is not there."""
    known = {"configs", "name", "secrets", "services", "volumes"}
    found = [f"{key}: no such section" for key in compose if key not in known and not key.startswith("x-")]
    for name, service in compose["services"].items():
        found += [f"{name}: {fault}" for fault in _service(service)]
        found += [f"{name}: {fault}" for fault in _needs(service, compose["services"])]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if not source.startswith((".", "/")) and source not in compose.get("volumes", {}):
                found.append(f"{name}: volume {source} is not declared")
    return found


def _service(service: Mapping) -> Iterator[str]:
    for key, value in service.items():
        if key not in SERVICE_KEYS:
            yield f"{key}: unknown"
        elif not isinstance(value, SERVICE_KEYS[key]):
            yield f"{key}: a {type(value).__name__} is not allowed"
    if "image" not in service and "build" not in service:
        yield "has neither image nor build"
    if service.get("restart", "no") not in RESTARTS:
        yield f"restart: {service['restart']}"
    for port in service.get("ports", ()):
        if not re.fullmatch(r"((\d+\.){3}\d+:)?(\d+:)?\d+|\$\{\w+:-(\d+\.){3}\d+:\d+\}:\d+", port):
            yield f"ports: {port}"
    for name, value in service.get("environment", {}).items():
        if not isinstance(value, str | int | float | None) or isinstance(value, bool):
            yield f"environment: {name} must be a string"
    yield from _health(service.get("healthcheck", {}))


def _health(check: Mapping) -> Iterator[str]:
    yield from (f"healthcheck: {key} unknown" for key in check if key not in HEALTH_KEYS)
    if check.get("disable"):
        return
    if check and (not isinstance(check.get("test"), list) or check["test"][0] not in ("CMD", "CMD-SHELL")):
        yield "healthcheck: test must begin with CMD or CMD-SHELL"
    for key in ("interval", "timeout", "start_period"):
        if key in check and not _DURATION.fullmatch(str(check[key])):
            yield f"healthcheck: {key} is no duration"


def _needs(service: Mapping, services: Mapping) -> Iterator[str]:
    for other, how in service.get("depends_on", {}).items():
        if other not in services:
            yield f"depends on {other}, which is not there"
            continue
        condition, needed = how.get("condition"), services[other]
        checked = "test" in needed.get("healthcheck", {})
        if condition not in CONDITIONS:
            yield f"depends on {other}: no condition {condition}"
        if condition == "service_healthy" and not checked:
            yield f"waits for the health of {other}, which has no check"
        if condition == "service_completed_successfully" and needed.get("restart", "no") != "no":
            yield f"waits for the end of {other}, which is started again"
        hidden = set(needed.get("profiles", ())) - set(service.get("profiles", ()))
        if needed.get("profiles") and hidden:
            yield f"depends on {other}, which is only there under a profile"
