"""A text model reads pages as embeddings under surrogate ids, and text as ever."""

import copy
from functools import cache
from pathlib import Path

import pytest
import torch

from compressor.errors import ModelError, UnknownCodec
from compressor.vlm.page import PageCache, PageTokens, store_page
from compressor.vlm.projector import Projector, load_projector, save_projector
from compressor.vlm.text_decoder import TextDecoder, load_text_decoder
from tests.compressor.vlm.tiny import TEXT, VOCABULARY, WIDTH, build, randomise

SOURCE = "hf:deepseek_ocr2@0123456789ab"
PLACE = 511
SOURCE_WIDTH = 48


@cache
def model():
    import transformers

    torch.manual_seed(0)
    config = transformers.DeepseekV4Config(
        **TEXT | {"num_hidden_layers": 4, "num_key_value_heads": 1},
        head_dim=16,
        q_lora_rank=16,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        partial_rotary_factor=0.5,
        sliding_window=8,
        o_groups=2,
        o_lora_rank=8,
        index_n_heads=8,  # with two, scores tie at exactly 0 and the choice among them is arbitrary
        index_head_dim=16,
        index_topk=4,
        layer_types=["heavily_compressed_attention"] * 2
        + ["compressed_sparse_attention", "heavily_compressed_attention"],
        mlp_layer_types=["hash_moe", "moe", "moe", "moe"],
        compress_rates={"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
    )
    made = randomise(transformers.DeepseekV4ForCausalLM(config), seed=0)
    for module in made.modules():
        if hasattr(module, "tid2eid"):
            module.tid2eid.copy_(torch.stack([torch.randperm(4)[:2] for _ in range(VOCABULARY)]))
    made.generation_config.eos_token_id = None
    return made


class TableRows(Projector):
    """Takes features for what they are: rows of the decoder's own table."""

    def __init__(self) -> None:
        super().__init__(SOURCE, WIDTH, WIDTH, 1.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def projector(seed: int = 0) -> Projector:
    torch.manual_seed(seed)
    size = float(model().get_input_embeddings().weight.detach().pow(2).mean().sqrt())
    return Projector(SOURCE, SOURCE_WIDTH, WIDTH, size).eval()


def decoder(projector: Projector) -> TextDecoder:
    return TextDecoder(model(), projector, codec="hf:deepseek_v4@0123456789ab", place=PLACE)


def page(features: torch.Tensor, *, codec: str = SOURCE) -> PageCache:
    ids = torch.tensor([7, *len(features) * [9], 8])
    return store_page(PageTokens(features, None, (1, len(features)), ids), codec=codec, image_token=9, format="f32")


def random_page(tokens: int) -> PageCache:
    return page(torch.randn(tokens, SOURCE_WIDTH, generator=torch.Generator().manual_seed(tokens)))


def test_text_is_read_as_ever() -> None:
    ids = torch.arange(20, 81)
    with torch.no_grad():
        expected = model()(input_ids=ids[None]).logits[0]
    reader = decoder(projector())
    assert float((reader.logits(reader.lay_out([ids.tolist()])) - expected).abs().max()) <= 1e-4


def test_features_that_are_vocabulary_rows_are_read_as_their_words() -> None:
    ids = torch.arange(20, 60)
    with torch.no_grad():
        expected = model()(input_ids=torch.arange(15, 65)[None]).logits[0]
    reader = decoder(TableRows())
    rows = model().get_input_embeddings().weight.detach()[ids]
    layout = reader.lay_out([list(range(15, 20)), page(rows), list(range(60, 65))])
    assert float((reader.logits(layout) - expected).abs().max()) <= 1e-4


def test_the_size_of_a_vocabulary_row_does_not_make_it_nearer() -> None:
    table = copy.deepcopy(model())
    table.get_input_embeddings().weight.data[100] *= 50
    reader = TextDecoder(table, projector(), codec="hf:deepseek_v4@0123456789ab", place=PLACE)
    ids = torch.arange(20, 90)
    assert reader.nearest_rows(7 * table.get_input_embeddings().weight.detach()[ids]).tolist() == ids.tolist()


def test_pages_are_read_in_chunks_as_in_one_pass() -> None:
    reader = decoder(projector())
    layout = reader.lay_out([[1, 30], random_page(24), random_page(17), random_page(30), [40, 41, 42]])
    whole = reader.logits(layout)
    assert float((reader.logits(layout, chunk=9) - whole).abs().max()) <= 1e-4
    answers = [list(reader.generate(reader.read(layout, chunk=chunk), limit=8)) for chunk in (9, 1000)]
    assert answers[0] == answers[1]
    assert PLACE not in answers[0]


def test_a_context_goes_back_to_the_next_question() -> None:
    reader = decoder(projector())
    context = reader.read(reader.lay_out([[1, 30], random_page(24), random_page(17)]))
    mark = context.mark()
    found = []
    for question in ([40, 41, 42], [60, 61], [40, 41, 42]):
        reader.read(reader.lay_out([question], start=context.next_position), context)
        found.append((context.logits, list(reader.generate(context, limit=8))))
        reader.rewind(context, mark)
    assert torch.equal(found[0][0], found[2][0])
    assert found[0][1] == found[2][1]
    fresh = reader.read(reader.lay_out([[1, 30], random_page(24), random_page(17), [60, 61]]))
    assert float((found[1][0] - fresh.logits).abs().max()) <= 1e-4


def test_pages_in_another_order_change_the_logits() -> None:
    reader = decoder(projector())
    orders = [(24, 17), (17, 24)]
    logits = [reader.read(reader.lay_out([*map(random_page, order), [40, 41]])).logits for order in orders]
    assert float((logits[0] - logits[1]).abs().max()) > 0.01


def test_embeddings_have_the_size_of_the_decoders_own() -> None:
    made = projector()(1000 * torch.randn(50, SOURCE_WIDTH))
    assert torch.allclose(made.pow(2).mean(-1).sqrt(), made.new_full((50,), float(projector().size)), rtol=1e-4)


def test_a_page_that_the_projector_does_not_read_is_refused_by_name() -> None:
    foreign = page(torch.randn(3, SOURCE_WIDTH), codec="hf:janus@000000000000")
    message = "this page was encoded by hf:janus@000000000000; the projector reads hf:deepseek_ocr2@0123456789ab"
    with pytest.raises(UnknownCodec, match=message):
        decoder(projector()).lay_out([foreign])


def test_a_projector_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match="the projector gives 64 numbers a token; this decoder takes 32"):
        decoder(Projector(SOURCE, SOURCE_WIDTH, 64, 1.0))


def test_a_directory_and_a_projector_file_make_a_decoder(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path / "model")
    save_projector(projector(), tmp_path / "projector.safetensors")
    loaded = load_text_decoder(
        tmp_path / "model", tmp_path / "projector.safetensors", place=PLACE, device="cpu", dtype=torch.float32
    )
    expected = decoder(projector())
    parts = [[1, 30], random_page(24), [40, 41]]
    assert (
        float((loaded.read(loaded.lay_out(parts)).logits - expected.read(expected.lay_out(parts)).logits).abs().max())
        <= 1e-4
    )
    assert loaded.codec.startswith("hf:deepseek_v4@")


def test_a_file_that_is_no_projector_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match=r"p\.safetensors is not a projector file"):
        load_projector(tmp_path / "p.safetensors")


def test_another_model_does_not_read_pages_as_text(tmp_path: Path) -> None:
    build("janus").config.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match=r"model holds a janus model; only DeepSeek V4 \(experimental\) reads pages"):
        load_text_decoder(tmp_path / "model", tmp_path / "p", place=1)
