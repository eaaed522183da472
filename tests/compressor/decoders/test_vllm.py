"""Page caches leave for a vLLM server as what it reads, number for number, or not at all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressor.decoders.names import check_decoder, read_model
from compressor.decoders.openai import RemoteModel
from compressor.decoders.vllm import (
    Expected,
    Served,
    ask_by_images,
    ask_by_prompt,
    expect_pages,
    find_served,
    image_part,
    named_part,
    page_name,
    prompt_embeds,
)
from compressor.errors import (
    CacheDamaged,
    ContextTooLong,
    ModelError,
    RemoteNonsense,
    RemoteOtherModel,
    RemoteRefused,
    UnknownCodec,
)
from compressor.vlm.codec import PageCodec, open_codec
from compressor.vlm.load import load_decoder, load_tokenizer
from compressor.vlm.page import PageCache, PageTokens, store_page
from compressor.vlm.prompt import prompt_parts
from compressor.vlm.rows import pack_rows
from compressor.vlm.table import read_embeddings
from tests.chat_stub import EVENTS, PLAIN
from tests.compressor.vlm.cases import case
from tests.compressor.vlm.saved import save_model
from tests.compressor.vlm.tiny import GRID, IMAGE, WIDTH
from tests.vllm_stub import PIECES, VllmStub, vllm_stub

QUESTION = "How long is the notice period?"


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PageCodec]:
    folder = tmp_path_factory.mktemp("models")
    return {name: open_codec(f"hf:{save_model(name, folder / name)}") for name in ("qwen3_vl", "smolvlm")}


@pytest.fixture
def stub() -> Iterator[VllmStub]:
    with vllm_stub("team/tiny", WIDTH) as running:
        yield running


def remote(stub: VllmStub) -> RemoteModel:
    return RemoteModel(stub.url, "tiny", "", 20.0)


def pages_of(codec: PageCodec) -> list[PageCache]:
    made = case(codec.family.model_type).tokens
    return [store_page(page, codec=codec.model, image_token=IMAGE) for page in made]


def ask_images(stub: VllmStub, codec: PageCodec, parts: list, question: str = QUESTION) -> list[str]:
    served = Served(stub.model, None)
    words = load_tokenizer(codec.directory)
    return list(ask_by_images(remote(stub), served, parts, question, tokenizer=words, salt="s", limit=9))


@pytest.mark.parametrize("name", GRID)
def test_what_is_expected_of_pages_is_what_the_model_makes(name: str, tmp_path: Path) -> None:
    codec = open_codec(f"hf:{save_model(name, tmp_path / name)}")
    expected = expect_pages(codec)
    page = pages_of(codec)[0]
    part = image_part(page, expected, "name")
    assert (expected.width, expected.levels, expected.merge) == (WIDTH, 2 if name == "qwen3_vl" else 0, 2)
    assert part["image_embeds"]["image_grid_thw"] == [1, 4, 6]  # of patches, as the processor gave them


def test_pages_go_in_as_image_embeds_with_their_deepstack_levels(stub: VllmStub, codecs: dict) -> None:
    codec = codecs["qwen3_vl"]
    expected, pages = expect_pages(codec), pages_of(codec)
    parts = [image_part(page, expected, f"page {number}") for number, page in enumerate(pages)]
    assert ask_images(stub, codec, parts, f"{QUESTION} <|user|><prompt_embeds>") == list(PIECES)
    for number, (page, (name, rows, grid)) in enumerate(zip(pages, stub.images, strict=True)):
        base, *levels = (level.unpack(0, len(level), device="cpu", dtype=torch.float32) for level in page_levels(page))
        assert name == f"page {number}"
        assert rows is not None
        assert rows.dtype == torch.float16
        assert torch.equal(rows, torch.cat([base, *levels], 1).half())
        assert grid[1] * grid[2] // 4 == len(rows)
    (request,) = stub.requests
    assert stub.paths == ["/v1/chat/completions"]
    assert request["messages"][0]["content"][-1] == {"type": "text", "text": f"{QUESTION}   "}
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("team/tiny", 0, 9)
    assert (request["cache_salt"], request["skip_special_tokens"]) == ("s", False)


def page_levels(page: PageCache) -> tuple:
    return (page.features, *page.deepstack)


def test_numbers_beyond_float16_are_sent_as_they_are(stub: VllmStub, codecs: dict) -> None:
    codec = codecs["qwen3_vl"]
    page = pages_of(codec)[0]
    wide = replace(page, features=pack_rows(torch.full((6, WIDTH), 1e5), "f32"))
    ask_images(stub, codec, [image_part(wide, expect_pages(codec), "wide")])
    _, rows, _ = stub.images[0]
    assert rows is not None
    assert rows.dtype == torch.float32
    assert float(rows[0, 0]) == 1e5


def test_a_server_that_reads_the_store_is_sent_names_alone(stub: VllmStub, codecs: dict) -> None:
    codec = codecs["qwen3_vl"]
    stub.consumer = True
    name = page_name(codec.model, f"default/ab/cd/abcd{'0' * 60}", "000001.0000")
    ask_images(stub, codec, [named_part((2, 3), expect_pages(codec), name)])
    assert stub.images == [(name, None, [1, 4, 6])]
    assert name == f"percel:{codec.model}:default/ab/cd/abcd{'0' * 60}:000001.0000"


def test_a_prompt_of_embeds_is_what_the_decoder_at_hand_reads(stub: VllmStub, codecs: dict) -> None:
    codec = codecs["smolvlm"]
    pages = pages_of(codec)
    words = load_tokenizer(codec.directory)
    prompt = prompt_embeds(codec, words, pages, QUESTION, expected=expect_pages(codec))
    assert list(ask_by_prompt(remote(stub), Served("team/tiny", 9), prompt, salt="s", limit=9)) == list(PIECES)
    (sent,) = stub.prompts
    decoder = load_decoder(codec.directory, device="cpu", dtype=torch.float32)
    layout = decoder.lay_out(prompt_parts(words, codec.family, pages, QUESTION))
    read, deepstack = decoder.embed(layout, 0, len(layout))
    assert torch.equal(sent, read)
    assert deepstack == []
    assert stub.paths == ["/v1/completions"]


def changed(page: PageCache, **more: object) -> PageCache:
    return replace(page, **more)


def rows(count: int, width: int = WIDTH, value: float = 1.0):
    return pack_rows(torch.full((count, width), value), "bf16")


def with_nan(page: PageCache) -> PageCache:
    bad = rows(6)
    bad.values.view(torch.bfloat16)[2, 3] = torch.nan
    return changed(page, features=bad)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda page: changed(page, features=rows(5)), r"it has 5 rows for 6 places in the prompt"),
        (lambda page: changed(page, grid=(2, 4)), r"it has 6 rows and a grid of \(2, 4\)"),
        (lambda page: changed(page, grid=None), r"it has 6 rows and a grid of None"),
        (lambda page: changed(page, deepstack=()), r"it has \[\] rows of deepstack, not 2 times 6"),
        (lambda page: changed(page, deepstack=(rows(6), rows(5))), r"it has \[6, 5\] rows of deepstack, not 2 times 6"),
        (lambda page: changed(page, features=rows(6, 16)), r"its rows have \[16, 32\] numbers, not 32"),
        (with_nan, r"it has numbers that are not finite"),
    ],
)
def test_a_page_that_does_not_fit_is_not_sent(codecs: dict, harm, message: str) -> None:
    codec = codecs["qwen3_vl"]
    page = harm(pages_of(codec)[0])
    told = rf"^a page cache of hf:qwen3_vl@\w+ was not sent: {message}; make it anew \(percel doctor --repair\)$"
    with pytest.raises(CacheDamaged, match=told):
        image_part(page, expect_pages(codec), "name")


def test_a_page_of_another_model_is_not_sent(codecs: dict) -> None:
    codec = codecs["smolvlm"]
    page = changed(pages_of(codec)[0], codec="hf:smolvlm@000000000000")
    words = load_tokenizer(codec.directory)
    with pytest.raises(
        UnknownCodec, match=r"this page was encoded by hf:smolvlm@0{12}; the server's model reads hf:smolvlm@"
    ):
        prompt_embeds(codec, words, [page], QUESTION, expected=expect_pages(codec))


def test_numbers_beyond_the_models_own_type_are_not_sent(codecs: dict, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    narrow = replace(codecs["smolvlm"], directory=tmp_path)
    save_file({"model.text_model.embed_tokens.weight": torch.ones(512, WIDTH).half()}, tmp_path / "model.safetensors")
    tokens = case("smolvlm").tokens[0]
    wide = PageTokens(tokens.features * 1e6, tokens.deepstack, tokens.grid, tokens.ids)
    page = store_page(wide, codec=narrow.model, image_token=IMAGE)
    words = load_tokenizer(codecs["smolvlm"].directory)
    with pytest.raises(CacheDamaged, match=r"holds numbers beyond the range of torch\.float16$"):
        prompt_embeds(narrow, words, [page], QUESTION, expected=Expected(narrow.model, WIDTH, 0, 1, False))


@pytest.mark.parametrize(
    ("path", "flags", "flag"),
    [
        ("images", {"mm_embeds": False}, "--enable-mm-embeds"),
        ("prompt", {"prompt_embeds": False}, "--enable-prompt-embeds"),
        ("names", {}, r"the encoder-cache connector of percel-vllm \(connectors/vllm\), or leave PERCEL_VLLM_SENDS at"),
    ],
)
def test_a_closed_door_is_told_with_what_opens_it(
    stub: VllmStub, codecs: dict, path: str, flags: dict, flag: str
) -> None:
    for name, value in flags.items():
        setattr(stub, name, value)
    codec = codecs["qwen3_vl"]
    expected = expect_pages(codec)
    asks = {
        "prompt": lambda: ask_by_prompt(remote(stub), Served(stub.model, None), torch.ones(3, WIDTH), salt="", limit=9),
        "names": lambda: ask_images(stub, codec, [named_part((2, 3), expected, "name")]),
        "images": lambda: ask_images(stub, codec, [image_part(pages_of(codec)[0], expected, "name")]),
    }
    with pytest.raises(RemoteRefused, match=rf"does not take page caches as it was started; start it with {flag}"):
        list(asks[path]())


def test_another_width_is_told_in_the_servers_words(stub: VllmStub) -> None:
    with pytest.raises(RemoteNonsense, match=r"answered 400: .*`prompt_embeds` hidden_size 16 does not match 32"):
        list(ask_by_prompt(remote(stub), Served(stub.model, None), torch.ones(3, 16), salt="s", limit=9))


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((400, PLAIN, [b'{"error": {"message": "The maximum context length is 10 tokens."}}']), ContextTooLong,
         r"^the pages do not fit the server's context, ask about fewer: .*maximum context length is 10 tokens"),
        ((500, PLAIN, [b'{"error": {"message": "EngineCore encountered an issue."}}']), RemoteNonsense,
         r"answered 500: .*EngineCore encountered an issue"),
        ((200, EVENTS, [b'data: {"choices": [{"index": 0}]}\n\n']), RemoteNonsense, r"what is no chat completion"),
        ((200, EVENTS, [b'data: {"choices": []}\n\n']), RemoteNonsense, r"broke off in the middle of its answer"),
    ],
)  # fmt: skip
def test_what_goes_wrong_there_is_one_error(stub: VllmStub, answer: tuple, kind: type, message: str) -> None:
    stub.answers = [answer]
    with pytest.raises(kind, match=message):
        list(ask_by_prompt(remote(stub), Served(stub.model, None), torch.ones(3, WIDTH), salt="s", limit=9))


def test_a_server_is_known_by_the_name_of_its_model_or_of_what_it_was_started_with(stub: VllmStub) -> None:
    for model in ("tiny", "team/tiny", "team/tiny@main", "/models/tiny/"):
        assert find_served(remote(stub), model) == Served("team/tiny", 4096)
    stub.model, stub.root = "docs", "/models/glyph"
    assert find_served(remote(stub), "zai-org/glyph").id == "docs"
    with pytest.raises(RemoteOtherModel, match=r"/v1 serves 'docs', not team/tiny, whose page caches would be sent$"):
        find_served(remote(stub), "team/tiny")


def test_a_name_has_an_address_and_a_model(codecs: dict) -> None:
    codec = codecs["qwen3_vl"]
    check_decoder(f"vllm:http://localhost:8000/v1#{codec.directory}")
    assert read_model(f"vllm:http://localhost:8000/v1#{codec.directory}") == codec.name
    with pytest.raises(
        ModelError, match=r"names no model; its page caches are sent, so name it as vllm:http://h/v1#<m"
    ):
        check_decoder("vllm:http://h/v1")
    with pytest.raises(ModelError, match=r"is no address of a server; name one as vllm:http://host:port/v1#model"):
        check_decoder("vllm:localhost#model")
    with pytest.raises(ModelError, match=r"there is no model directory no/such/place"):
        check_decoder("vllm:http://h/v1#no/such/place")


def test_a_table_that_does_not_fit_is_refused(codecs: dict, tmp_path: Path) -> None:
    directory = codecs["smolvlm"].directory
    with pytest.raises(ModelError, match=r"embed_tokens\.weight of smolvlm has 512 rows of 32; 1001 of 32 are needed"):
        read_embeddings(directory, [1000], width=WIDTH)
    with pytest.raises(ModelError, match=r"has 512 rows of 32; 4 of 64 are needed"):
        read_embeddings(directory, [3], width=64)
    from safetensors.torch import save_file

    save_file({"lm_head.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"hold no table of embeddings \(\*\.embed_tokens\.weight\)"):
        read_embeddings(tmp_path, [1], width=2)
