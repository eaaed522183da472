"""Owns the connector: vLLM's encoder cache filled out of Percel's page files instead of by a vision tower.

    --ec-transfer-config '{"ec_connector": "PercelConnector", "ec_connector_module_path": "percel_vllm.connector",
      "ec_role": "ec_consumer", "ec_connector_extra_config": {"blobs": "/percel/blobs", "model": "hf:qwen3_vl@..."}}'

The scheduler's half checks pages in the background and holds a request back meanwhile; what is missing, damaged, of
another model or of another size fails that request alone. The workers' half loads, dequantises on its own device.
"""

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorBase, ECConnectorMetadata, ECConnectorRole

from percel_vllm.blobs import open_blobs
from percel_vllm.checked import CheckedPages
from percel_vllm.names import PageError, is_ours

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

log = logging.getLogger("vllm.percel")

# That a step of workers waits for a place that is down. vLLM gives up on a step after 300 s, by its own default
# (VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS). The last try comes on top: two requests, each of which is given up after 5 s
# without a connection, 20 s without an answer and 20 s without a byte of it.
PATIENCE_SECONDS = 150.0


@dataclass
class PercelMetadata(ECConnectorMetadata):
    """What workers are to load for one step."""

    names: list[str] = field(default_factory=list)


class PercelConnector(ECConnectorBase):
    """One instance in the scheduler, one in each worker."""

    def __init__(self, vllm_config: "VllmConfig", role: ECConnectorRole) -> None:
        """Raises ValueError for settings that cannot be."""
        super().__init__(vllm_config=vllm_config, role=role)
        transfer = vllm_config.ec_transfer_config
        settings: dict[str, Any] = dict(transfer.ec_connector_extra_config)
        unknown = sorted(settings.keys() - {"blobs", "model"})
        if unknown or not settings.get("model") or not settings.get("blobs"):
            raise ValueError(
                "ec_connector_extra_config of PercelConnector takes `blobs`, a directory (PERCEL_HOME/blobs) or the"
                " address of PERCEL_BLOB_URL, and `model`, the fingerprint that page names carry; it was given"
                f" {settings}"
            )
        if self.is_producer:
            raise ValueError("PercelConnector only reads: set ec_role to ec_consumer")
        try:
            # A worker's wait tries again until its time is up; tries within it would not keep to that.
            blobs = open_blobs(str(settings["blobs"]), once=role == ECConnectorRole.WORKER)
        except ImportError as error:
            raise ValueError(
                f"`blobs` of PercelConnector is in a bucket, which needs percel-vllm[s3]: {error}"
            ) from error
        except ValueError as error:
            raise ValueError(f"`blobs` of PercelConnector: {error}") from error
        self._pages = CheckedPages(blobs, str(settings["model"]))
        self._dtype = vllm_config.model_config.dtype
        self._due: dict[str, None] = {}
        self._failed: set[str] = set()
        self._since: dict[str, float] = {}  # by request: when it first asked for pages, of the monotonic clock

    def shutdown(self) -> None:
        self._pages.close()

    # In the workers.

    def start_load_caches(self, encoder_cache: "dict[str, torch.Tensor]", **kwargs: object) -> None:
        """Loads what this step needs; waits for a bucket that went away between check and use.

        Raises PageError where it does not come back, or a file has gone: vLLM then stops. A step that has begun cannot
        leave a page out. What a worker reports of it is looked at when the step's tokens are out already, there is no
        image to encode instead, and the prefix cache would keep whatever numbers stood in.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        metadata = self._get_connector_metadata()
        assert isinstance(metadata, PercelMetadata)
        for name in metadata.names:
            if name not in encoder_cache:
                encoder_cache[name] = self._pages.load(name, device=_device(), dtype=self._dtype, until=until)

    def save_caches(self, encoder_cache: "dict[str, torch.Tensor]", mm_hash: str, **kwargs: object) -> None:
        """Nothing: Percel alone writes its store."""

    # In the scheduler.

    def has_cache_item(self, identifier: str) -> bool:
        """Whether a page was checked; False for every image that is not Percel's."""
        return is_ours(identifier) and self._pages.is_there(identifier)

    def ensure_cache_available(self, request: "Request", num_computed_tokens: int) -> bool:
        """Whether all pages that a request still needs are there and whole; one that is not fails the request.

        The scheduler asks before each of its steps, also when all pages are computed.
        """
        needed = [
            (index, feature.identifier)
            for index, feature in enumerate(request.mm_features)
            if is_ours(feature.identifier)
            and feature.mm_position.offset + feature.mm_position.length > num_computed_tokens
        ]
        if not needed:
            self._since.pop(request.request_id, None)  # one that is preempted begins again
            return True
        since = self._since.setdefault(request.request_id, time.monotonic())
        ready = True
        for index, name in needed:
            try:
                ready = self._pages.check(name, request.get_num_encoder_embeds(index), since=since) and ready
            except PageError as error:
                log.error("request %s cannot be answered: %s", request.request_id, error)
                self._failed.add(request.request_id)
                return False
        return ready

    def take_unavailable_requests(self) -> set[str]:
        failed, self._failed = self._failed, set()
        return failed

    def request_finished(self, request: "Request") -> tuple[bool, dict[str, Any] | None]:
        """Forgets it, answered or failed; nothing is still being sent."""
        self._since.pop(request.request_id, None)
        return False, None

    def update_state_after_alloc(self, request: "Request", index: int) -> None:
        name = request.mm_features[index].identifier
        if self.has_cache_item(name):
            self._due[name] = None

    def build_connector_meta(self, scheduler_output: "SchedulerOutput") -> PercelMetadata:
        names, self._due = list(self._due), {}
        return PercelMetadata(names)


def _device() -> str:
    """The device of this worker; "cuda" alone would be the first of all."""
    from vllm.platforms import current_platform

    kind = str(current_platform.device_type) or "cpu"  # "": vLLM found no platform
    return f"{kind}:{current_platform.current_device()}" if current_platform.is_cuda_alike() else kind
