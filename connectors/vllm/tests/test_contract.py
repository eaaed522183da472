"""Held against vLLM itself, without a GPU: its parsing of Percel's requests, its base class and factory."""

import inspect
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import MODEL, make_page, numbers, put_page

pytest.importorskip("vllm", reason="vLLM is not installed: pip install vllm==0.33.0, or the wheel alone on the path")

from compressor.decoders.openai import RemoteModel
from compressor.decoders.vllm import (
    _REFUSALS,
    Served,
    ask_by_images,
    ask_by_prompt,
    expect_pages,
    image_part,
    named_part,
    prompt_embeds,
)
from compressor.vlm.codec import open_codec
from compressor.vlm.load import load_tokenizer
from compressor.vlm.page import store_page
from tests.compressor.vlm.cases import case
from tests.compressor.vlm.saved import save_model
from tests.vllm_stub import vllm_stub


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return open_codec(f"hf:{save_model('qwen3_vl', tmp_path_factory.mktemp('model') / 'tiny')}")


@pytest.fixture(scope="module")
def model_config(codec):
    from vllm.config import ModelConfig

    return ModelConfig(model=str(codec.directory), enable_mm_embeds=True, dtype="float32", max_model_len=4096)


@pytest.fixture(scope="module")
def pages(codec):
    return [store_page(page, codec=codec.model, image_token=9) for page in case("qwen3_vl").tokens]


def sent(codec, parts) -> dict:
    """The body of the request that Percel's client sends."""
    with vllm_stub("tiny", 32) as stub:
        stub.consumer = True
        words = load_tokenizer(codec.directory)
        remote = RemoteModel(stub.url, "tiny", "", 20.0)
        list(ask_by_images(remote, Served("tiny", None), parts, "How long?", tokenizer=words, salt="s", limit=9))
        return stub.requests[0]


def parse(body: dict, model_config):
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.chat_utils import parse_chat_messages

    request = ChatCompletionRequest.model_validate(body)
    assert not request.model_extra  # a field that vLLM does not know would be ignored
    assert (request.cache_salt, request.skip_special_tokens, request.stream) == ("s", False, True)
    return parse_chat_messages(
        request.messages, model_config, content_format="openai", media_io_kwargs=None, mm_processor_kwargs=None
    )


def test_image_embeds_are_parsed_to_the_same_numbers(codec, pages, model_config) -> None:
    expected = expect_pages(codec)
    body = sent(codec, [image_part(page, expected, f"page {n}") for n, page in enumerate(pages)])
    conversation, data, uuids = parse(body, model_config)
    assert [item["type"] for item in conversation[0]["content"]] == ["image"] * 3 + ["text"]
    assert torch.equal(
        data["image"]["image_embeds"].float(), torch.cat([numbers(page) for page in pages]).half().float()
    )
    assert data["image"]["image_grid_thw"].tolist() == [[1, 4, 6], [1, 8, 4], [1, 6, 6]]
    assert uuids["image"] == ["page 0", "page 1", "page 2"]
    items = parser(model_config).parse_mm_data(data)["image"]
    assert len(items) == 3


def parser(model_config):
    from vllm.model_executor.models.qwen3_vl import Qwen3VLMultiModalDataParser

    consumer = model_config.multimodal_config.allow_missing_mm_embeddings
    return Qwen3VLMultiModalDataParser(2, allow_missing_mm_embeddings=consumer)


def test_names_alone_are_taken_by_a_consumer_and_refused_by_others(codec, model_config) -> None:
    expected = expect_pages(codec)
    body = sent(codec, [named_part((2, 3), expected, "one"), named_part((4, 2), expected, "two")])
    _, data, uuids = parse(body, model_config)
    assert data["image"]["image_grid_thw"].tolist() == [[1, 4, 6], [1, 8, 4]]
    with pytest.raises(ValueError, match="should contain the fields") as refused:
        parser(model_config).parse_mm_data(data)
    assert any(words in str(refused.value) for words in _REFUSALS)
    model_config.multimodal_config.allow_missing_mm_embeddings = True  # as VllmConfig sets it for a consumer
    try:
        assert len(parser(model_config).parse_mm_data(data)["image"]) == 2
    finally:
        model_config.multimodal_config.allow_missing_mm_embeddings = False
    assert uuids["image"] == ["one", "two"]


def test_a_closed_door_says_what_percel_understands(codec, pages, model_config) -> None:
    from vllm.exceptions import VLLMValidationError

    body = sent(codec, [image_part(pages[0], expect_pages(codec), "one")])
    model_config.multimodal_config.enable_mm_embeds = False
    try:
        with pytest.raises(VLLMValidationError, match="You must set `--enable-mm-embeds`") as refused:
            parse(body, model_config)
    finally:
        model_config.multimodal_config.enable_mm_embeds = True
    assert any(words in str(refused.value) for words in _REFUSALS)


def test_prompt_embeds_are_parsed_to_the_same_numbers(tmp_path: Path) -> None:
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.exceptions import VLLMValidationError
    from vllm.renderers.embed_utils import safe_load_prompt_embeds

    codec = open_codec(f"hf:{save_model('smolvlm', tmp_path / 'tiny')}")
    pages = [store_page(page, codec=codec.model, image_token=9) for page in case("smolvlm").tokens]
    prompt = prompt_embeds(codec, load_tokenizer(codec.directory), pages, "How long?", expected=expect_pages(codec))
    with vllm_stub("tiny", 32) as stub:
        list(ask_by_prompt(RemoteModel(stub.url, "tiny", "", 20.0), Served("tiny", None), prompt, salt="s", limit=9))
        request = CompletionRequest.model_validate(stub.requests[0])
    assert not request.model_extra
    assert (request.cache_salt, request.max_tokens, request.temperature) == ("s", 9, 0)
    settings = SimpleNamespace(
        enable_prompt_embeds=True, hf_text_config=object(), get_hidden_size=lambda: 32, dtype=torch.float32
    )
    assert torch.equal(safe_load_prompt_embeds(settings, request.prompt_embeds), prompt)
    settings.enable_prompt_embeds = False
    with pytest.raises(VLLMValidationError, match="--enable-prompt-embeds") as refused:
        safe_load_prompt_embeds(settings, request.prompt_embeds)
    assert any(words in str(refused.value) for words in _REFUSALS)


def test_glm_models_get_a_parser_that_knows_embeds() -> None:
    from vllm.model_executor.models.glm4_1v import Glm4vProcessingInfo
    from vllm.model_executor.models.registry import ModelRegistry

    from percel_vllm.glm import EmbedsInfo, Glm4vWithEmbeds, GlmOcrWithEmbeds
    from percel_vllm.plugin import GLM, register

    data = {"image": {"image_embeds": torch.ones(10, 32), "image_grid_thw": torch.tensor([[1, 4, 6], [1, 4, 4]])}}
    config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2))
    info = SimpleNamespace(
        get_hf_config=lambda: config, _get_expected_hidden_size=lambda: 32, allow_missing_mm_embeddings=False
    )
    items = EmbedsInfo.get_data_parser(info).parse_mm_data(data)["image"]
    assert items.get_count() == 2
    assert items.get(1)["image_embeds"].shape == (4, 32)
    plain = Glm4vProcessingInfo.get_data_parser(info).parse_mm_data(data)["image"]
    assert type(plain) is not type(items)  # the control: vLLM's own takes the two keys for two images
    register()
    for architecture, place in GLM.items():
        assert ModelRegistry.models[architecture].module_name == place.partition(":")[0]
    for made in (Glm4vWithEmbeds, GlmOcrWithEmbeds):
        assert made._processor_factory.info is EmbedsInfo


def connector(root: Path, role, **extra: object):
    from vllm.config import ECTransferConfig
    from vllm.distributed.ec_transfer.ec_connector.factory import ECConnectorFactory

    transfer = ECTransferConfig(
        ec_connector="PercelConnector",
        ec_connector_module_path="percel_vllm.connector",
        ec_role=extra.pop("ec_role", "ec_consumer"),
        ec_connector_extra_config={"blobs": str(root), "model": MODEL, **extra},
    )
    config = SimpleNamespace(ec_transfer_config=transfer, model_config=SimpleNamespace(dtype=torch.float32))
    return ECConnectorFactory.create_connector(config, role)


def request(*names: str, rows: int = 6, id: str = "one"):
    from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange

    features = [MultiModalFeatureSpec(None, "image", name, PlaceholderRange(2, rows)) for name in names]
    return SimpleNamespace(
        request_id=id,
        mm_features=features,
        get_num_encoder_embeds=lambda index: features[index].mm_position.get_num_embeds(),
    )


def test_overridden_methods_have_the_signatures_of_the_base_class() -> None:
    from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorBase

    from percel_vllm.connector import PercelConnector

    assert not PercelConnector.__abstractmethods__
    own = [name for name, value in vars(PercelConnector).items() if inspect.isfunction(value) and name[:1] != "_"]
    assert {"ensure_cache_available", "take_unavailable_requests", "start_load_caches", "has_cache_item"} <= set(own)
    for name in own:
        theirs = inspect.signature(getattr(ECConnectorBase, name)).parameters
        assert list(inspect.signature(getattr(PercelConnector, name)).parameters) == list(theirs)


def test_pages_come_out_of_the_store_into_the_encoder_cache(blobs: Path) -> None:
    from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorRole

    name, second = put_page(blobs, make_page()), put_page(blobs, make_page("int4", seed=1))
    scheduler = connector(blobs, ECConnectorRole.SCHEDULER)
    worker = connector(blobs, ECConnectorRole.WORKER)
    wanted = request(name, "somebody's image", second)
    until = time.monotonic() + 60
    while not scheduler.ensure_cache_available(wanted, 0):
        assert time.monotonic() < until
    for index in range(3):
        scheduler.update_state_after_alloc(wanted, index)
    assert [scheduler.has_cache_item(feature.identifier) for feature in wanted.mm_features] == [True, False, True]
    worker.bind_connector_metadata(scheduler.build_connector_meta(None))
    cache: dict[str, torch.Tensor] = {}
    worker.start_load_caches(cache)
    assert list(cache) == [name, second]
    assert torch.equal(cache[name], numbers(make_page()))
    assert torch.equal(cache[second], numbers(make_page("int4", seed=1)))
    assert scheduler.build_connector_meta(None).names == []
    assert scheduler.take_unavailable_requests() == set()
    for half in (scheduler, worker):
        half.shutdown()


def test_pages_are_checked_once_for_a_request_however_long_that_takes(blobs: Path) -> None:
    from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorRole

    names = [put_page(blobs, make_page(seed=seed)) for seed in range(3)]
    scheduler = connector(blobs, ECConnectorRole.SCHEDULER)
    scheduler._pages.blobs.known_seconds = 0.0  # all checks take longer
    wanted = request(*names)
    until = time.monotonic() + 60
    for _ in range(3):  # steps of one request, each of which asks
        while not scheduler.ensure_cache_available(wanted, 0):
            assert time.monotonic() < until
    assert scheduler.ensure_cache_available(wanted, 7)
    assert scheduler.ensure_cache_available(wanted, 8)  # all rows are computed
    assert not scheduler.ensure_cache_available(wanted, 0)  # it was preempted: its pages are checked anew
    assert scheduler.request_finished(wanted) == (False, None)
    assert scheduler._since == {}
    scheduler.shutdown()


def test_a_page_that_is_not_there_fails_its_request_alone(blobs: Path) -> None:
    from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorRole

    name = put_page(blobs, make_page())
    gone = name.replace("default/", "other/")
    scheduler = connector(blobs, ECConnectorRole.SCHEDULER)
    until = time.monotonic() + 60
    while not (failed := scheduler.take_unavailable_requests()):
        assert not scheduler.ensure_cache_available(request(name, gone, id="bad"), 0)
        assert time.monotonic() < until
    assert failed == {"bad"}
    while not scheduler.ensure_cache_available(request(name, id="good"), 0):
        assert time.monotonic() < until
    assert scheduler.take_unavailable_requests() == set()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"blobs": "/no/such/place"},
            r"`blobs` of PercelConnector: '/no/such/place' is neither an existing directory nor",
        ),
        (
            {"blobs": ""},
            r"takes `blobs`, a directory \(PERCEL_HOME/blobs\) or the address of PERCEL_BLOB_URL, and `model`",
        ),
        ({"model": ""}, r"and `model`, the fingerprint that page names carry"),
        ({"path": "x"}, r"it was given \{.*'path': 'x'\}"),
        ({"ec_role": "ec_both"}, r"PercelConnector only reads: set ec_role to ec_consumer"),
    ],
)
def test_settings_that_cannot_be_stop_the_start(blobs: Path, extra: dict, message: str) -> None:
    from vllm.distributed.ec_transfer.ec_connector.base import ECConnectorRole

    with pytest.raises(ValueError, match=message):
        connector(blobs, ECConnectorRole.SCHEDULER, **extra)
