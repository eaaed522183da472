"""Pages read apart and put together are what one pass under a block mask gives."""

import dataclasses

import pytest
import torch

from compressor.errors import ModelError, UnknownCodec
from compressor.vlm.blocks import Block, assemble, read_block
from compressor.vlm.decode import PageDecoder
from compressor.vlm.families import FAMILIES
from compressor.vlm.layout import Layout
from compressor.vlm.rotate import check_movable
from tests.compressor.vlm.cases import BEFORE, CODEC, QUESTION, STEPS, case
from tests.compressor.vlm.tiny import LATENTS, build

MOVABLE = [name for name, family in FAMILIES.items() if family.page_kv == "shifted"]
FIXED = [name for name in FAMILIES if name not in MOVABLE]


def block_mask(lengths: list[int]) -> torch.Tensor:
    """(1, 1, tokens, tokens): each stretch sees itself, the last sees all; added to the scores."""
    stretch = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    seen = (stretch[:, None] == stretch[None]) | (stretch[:, None] == len(lengths) - 1)
    seen &= torch.ones_like(seen).tril()
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[None, None]


def masked_logits(decoder: PageDecoder, layout: Layout, lengths: list[int]) -> torch.Tensor:
    """Of the last stretch, by one pass of the language model under the block mask."""
    embeddings, deepstack = decoder.embed(layout, 0, len(layout))
    more = {"visual_pos_masks": layout.visual[None], "deepstack_visual_embeds": deepstack} if deepstack else {}
    with torch.no_grad():
        hidden = decoder.language(
            inputs_embeds=embeddings[None],
            position_ids=layout.positions[:, None] if decoder.family.grid else layout.positions,
            attention_mask=block_mask(lengths),
            use_cache=False,
            **more,
        ).last_hidden_state[0, -lengths[-1] :]
        return decoder.head(hidden)


@pytest.mark.parametrize("name", MOVABLE)
def test_blocks_put_together_are_one_pass_under_a_block_mask(name: str) -> None:
    decoder = case(name).decoder
    pages = [case(name).stored()[number] for number in (2, 0, 1)]
    stretches = [[BEFORE], *[[page] for page in pages]]
    blocks = [read_block(decoder, stretch) for stretch in stretches]
    lengths = [*[block.tokens for block in blocks], len(QUESTION)]
    expected = masked_logits(decoder, decoder.lay_out([BEFORE, *pages, QUESTION]), lengths)
    context = assemble(decoder, blocks)
    assert context.tokens == sum(lengths) - len(QUESTION)
    answer = decoder.read(decoder.lay_out([QUESTION], start=context.next_position), context)
    assert float((answer.logits - expected[-1]).abs().max()) <= 1e-4
    again = assemble(decoder, blocks)  # the first use left the blocks as they were
    decoder.read(decoder.lay_out([QUESTION], start=again.next_position), again)
    assert torch.equal(again.logits, answer.logits)
    assert len(list(decoder.generate(again, limit=STEPS))) == STEPS


@pytest.mark.parametrize("name", MOVABLE)
def test_blocks_that_do_not_move_give_other_logits(name: str) -> None:
    decoder = case(name).decoder
    blocks = [read_block(decoder, [page]) for page in case(name).stored()]
    stuck = [dataclasses.replace(block, start=sum(b.span for b in blocks[:n])) for n, block in enumerate(blocks)]
    logits = []
    for some in (blocks, stuck):
        context = assemble(decoder, some)
        logits.append(decoder.read(decoder.lay_out([QUESTION], start=context.next_position), context).logits)
    assert float((logits[0] - logits[1]).abs().max()) > 0.01


@pytest.mark.parametrize("name", MOVABLE)
def test_a_block_under_a_prefix_that_stays_before_it_is_exact(name: str) -> None:
    decoder = case(name).decoder
    page = case(name).stored()[0]
    blocks = [read_block(decoder, [BEFORE]), read_block(decoder, [page], under=BEFORE)]
    context = assemble(decoder, blocks)
    answer = decoder.read(decoder.lay_out([QUESTION], start=context.next_position), context)
    whole = decoder.read(decoder.lay_out([BEFORE, page, QUESTION]))
    assert float((answer.logits - whole.logits).abs().max()) <= 1e-4


@pytest.mark.parametrize("name", ["idefics3", "qwen3_vl", "glm4v"])
def test_yarn_is_not_applied_twice(name: str) -> None:
    model = build(name)
    text = model.config.text_config
    text.rope_parameters = {
        **(text.rope_parameters or {}),
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "original_max_position_embeddings": 512,
    }
    built = type(model)(model.config)
    built.load_state_dict(model.state_dict())
    decoder = PageDecoder(built.eval(), FAMILIES[name], codec=CODEC)
    assert decoder.language.rotary_emb.attention_scaling > 1.1
    page = case(name).stored()[0]
    blocks = [read_block(decoder, [list(range(20, 60))]), read_block(decoder, [page], under=[])]
    lengths = [blocks[0].tokens, blocks[1].tokens, len(QUESTION)]
    expected = masked_logits(decoder, decoder.lay_out([list(range(20, 60)), page, QUESTION]), lengths)
    context = assemble(decoder, blocks)
    answer = decoder.read(decoder.lay_out([QUESTION], start=context.next_position), context)
    assert float((answer.logits - expected[-1]).abs().max()) <= 1e-4


YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
    "mscale": 1.0,
    "mscale_all_dim": 0.5,
}
LANGUAGES = {
    "deepseek_v2": {"model_type": "deepseek_v2", **LATENTS},
    "deepseek_v2, yarn": {"model_type": "deepseek_v2", **LATENTS, "rope_parameters": YARN},
    "deepseek_v3": {"model_type": "deepseek_v3", **LATENTS, "rope_interleave": True},
    "deepseek_v3, halves": {"model_type": "deepseek_v3", **LATENTS, "rope_interleave": False},
    "deepseek_v3, yarn": {"model_type": "deepseek_v3", **LATENTS, "rope_interleave": True, "rope_parameters": YARN},
    "qwen3": {"model_type": "qwen3"},
}


def with_language(name: str) -> PageDecoder:
    """DeepSeek-VL's class with the language model of another."""
    return PageDecoder(build("deepseek_vl", **LANGUAGES[name]), FAMILIES["deepseek_vl"], codec=CODEC)


@pytest.mark.parametrize("name", LANGUAGES)
def test_blocks_of_a_family_with_another_language_model_are_one_pass_under_a_block_mask(name: str) -> None:
    decoder = with_language(name)
    pages = [case("deepseek_vl").stored()[number] for number in (2, 0, 1)]
    blocks = [read_block(decoder, [BEFORE]), *[read_block(decoder, [page]) for page in pages]]
    lengths = [*[block.tokens for block in blocks], len(QUESTION)]
    expected = masked_logits(decoder, decoder.lay_out([BEFORE, *pages, QUESTION]), lengths)[-1]

    def logits(some: list[Block]) -> torch.Tensor:
        context = assemble(decoder, some)
        return decoder.read(decoder.lay_out([QUESTION], start=context.next_position), context).logits

    assert float((logits(blocks) - expected).abs().max()) <= 1e-4
    stuck = [dataclasses.replace(block, start=sum(b.span for b in blocks[:n])) for n, block in enumerate(blocks)]
    assert float((logits(stuck) - expected).abs().max()) > 0.01


@pytest.mark.parametrize("name", ["deepseek_v2", "deepseek_v3"])
def test_of_latents_a_token_and_one_key_are_kept(name: str) -> None:
    decoder = with_language(name)
    block = read_block(decoder, [[5, 6, 7]])
    assert [(keys.shape, values.shape) for keys, values in zip(block.keys, block.values, strict=True)] == [
        ((1, 1, 3, 24), (1, 1, 3, 8))
    ] * 2
    assert block.stored_bytes == 2 * 3 * (24 + 8) * 4


def test_a_language_model_that_rotates_in_a_way_of_its_own_is_refused() -> None:
    decoder = PageDecoder(build("deepseek_vl", model_type="smollm3"), FAMILIES["deepseek_vl"], codec=CODEC)
    message = "the language model of this DeepSeek-VL model is of type 'smollm3', whose pages cannot be put together"
    with pytest.raises(ModelError, match=message):
        read_block(decoder, [[5, 6]])


@pytest.mark.parametrize("name", FIXED)
def test_a_family_with_a_running_state_has_no_blocks(name: str) -> None:
    label = FAMILIES[name].label
    with pytest.raises(ModelError, match=f"{label} keeps a running state: its pages cannot be put together"):
        read_block(case(name).decoder, [[5, 6]])


def test_positions_that_change_with_the_length_are_refused() -> None:
    decoder = PageDecoder(build("deepseek_vl"), FAMILIES["deepseek_vl"], codec=CODEC)
    decoder.config.text_config.rope_parameters["rope_type"] = "dynamic"
    with pytest.raises(ModelError, match="positions of this DeepSeek-VL model are of type 'dynamic'"):
        check_movable(decoder)


def test_a_block_of_another_model_is_refused() -> None:
    decoder = case("janus").decoder
    block = dataclasses.replace(read_block(decoder, [[5, 6]]), codec="hf:janus@000000000000")
    with pytest.raises(UnknownCodec, match="this block was read by hf:janus@000000000000; the decoder at hand is"):
        assemble(decoder, [block])


def test_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="there is nothing to assemble: no blocks"):
        assemble(case("janus").decoder, [])
