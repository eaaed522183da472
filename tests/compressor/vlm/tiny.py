"""Tiny models of the real classes with random weights, and pixels for them as their image processors give them."""

import torch

VOCABULARY, WIDTH = 512, 32
IMAGE, VIDEO = 9, 10
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "mlp_layer_types": ["dense", "sparse"],
    "num_key_value_heads": 4,
}
LATENTS = {  # DeepSeek V2 and V3
    **EXPERTS,
    "q_lora_rank": 16,
    "kv_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 16,
    "first_k_dense_replace": 1,
}
LATENTS.pop("mlp_layer_types")
SAM = {
    "hidden_size": 16,
    "output_channels": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "window_size": 2,
    "global_attn_indexes": [1],
    "mlp_dim": 32,
}
SIGLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SQUARE = {**SIGLIP, "image_size": 32, "patch_size": 8}
PATCHES = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": WIDTH,
}
LABELS = {"image_token_id": IMAGE, "video_token_id": VIDEO}
GRID = ("glm4v", "glm_ocr", "qwen3_vl", "qwen3_5")


def rope(sections: list[int], **more: float) -> dict:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections, **more}}


def config_fields(name: str) -> dict:
    """The fields of a family's config, small."""
    if name == "deepseek_ocr2":
        encoder = {**SIGLIP, "num_key_value_heads": 2}
        vision = {"sam_config": {**SAM, "downsample_channels": [12, 16]}, "encoder_config": encoder}
        return {"image_token_id": IMAGE, "text_config": {**TEXT, **EXPERTS}, "vision_config": vision}
    if name == "unlimited_ocr":
        encoder = {**SIGLIP, "image_size": 64, "patch_size": 16}
        vision = {"sam_config": {**SAM, "downsample_channels": [12, 16]}, "encoder_config": encoder}
        text = {**TEXT, **EXPERTS, "sliding_window": 4}
        return {"image_token_id": IMAGE, "text_config": text, "vision_config": vision}
    if name in GRID:
        return grid_fields(name)
    if name == "deepseek_vl":
        vision = {**SQUARE, "model_type": "siglip_vision_model"}
        return {"image_token_id": IMAGE, "text_config": TEXT, "vision_config": vision}
    if name == "deepseek_vl_hybrid":
        fine = {**SAM, "num_pos_feats": 8, "mlp_ratio": 2.0, "model_type": "sam_vision_model"}
        return {**config_fields("deepseek_vl"), "high_res_vision_config": fine}
    return square_fields(name)


def grid_fields(name: str) -> dict:
    if name in ("glm4v", "glm_ocr"):
        more = {"image_start_token_id": 11, "image_end_token_id": 12}
        more |= {"video_start_token_id": 13, "video_end_token_id": 14}
        if name == "glm4v":  # half of each head rotates, as in GLM-4.1V
            text = {**TEXT, "num_attention_heads": 2, **rope([1, 1, 2], partial_rotary_factor=0.5)}
        else:
            text = {**TEXT, "head_dim": 16, **rope([2, 3, 3])}
        return {**LABELS, **more, "vision_config": {**PATCHES, "image_size": 32}, "text_config": text}
    more = {"vision_start_token_id": 11, "vision_end_token_id": 12}
    vision = {**PATCHES, "num_position_embeddings": 64}
    if name == "qwen3_vl":
        vision["deepstack_visual_indexes"] = [0, 1]
        text = {**TEXT, "head_dim": 16, "num_hidden_layers": 3, **rope([4, 2, 2])}
    else:
        linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
        linear |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
        text = {**TEXT, "head_dim": 32, "num_hidden_layers": 4, **linear}
        text |= rope([2, 1, 1], partial_rotary_factor=0.25)
    return {**LABELS, **more, "vision_config": vision, "text_config": text}


def square_fields(name: str) -> dict:
    fields = {"image_token_id": IMAGE, "text_config": TEXT}
    if name == "janus":
        vision = {key: value for key, value in SQUARE.items() if key != "intermediate_size"}
        vision |= {"mlp_ratio": 2.0, "projection_dim": WIDTH, "num_image_tokens": 16}
        codes = {"embed_dim": 4, "num_embeddings": 32, "latent_channels": 32, "base_channels": 32}
        codes |= {"channel_multiplier": [1, 1], "num_res_blocks": 1, "projection_dim": WIDTH}
        return {**fields, "vision_config": vision, "vq_config": {**codes, "image_token_embed_dim": WIDTH}}
    if name == "got_ocr2":
        text = {**TEXT, "model_type": "qwen2"}
        return {"image_token_index": IMAGE, "text_config": text, "vision_config": {**SAM, "image_size": 256}}
    if name == "lfm2_vl":
        text = {**TEXT, "model_type": "lfm2", "layer_types": ["conv", "full_attention"]}
        vision = {**SIGLIP, "patch_size": 8, "num_patches": 16, "model_type": "siglip2_vision_model"}
        text["block_auto_adjust_ff_dim"] = False
        return {**fields, "projector_hidden_size": 24, "text_config": text, "vision_config": vision}
    if name in ("idefics3", "smolvlm"):
        text = {**TEXT, "model_type": "llama"}
        return {**fields, "pad_token_id": 0, "scale_factor": 2, "text_config": text, "vision_config": SQUARE}
    raise KeyError(name)


def build(name: str, seed: int = 0, **text: object):
    """A model of the family's real class. Every weight is random: their own start makes all pages look alike.

    `text` are other settings of its language model, such as the `model_type` of another where the family takes any.
    """
    import transformers

    from compressor.vlm.families import FAMILIES

    model_class = getattr(transformers, FAMILIES[name].model_class)
    torch.manual_seed(seed)
    fields = config_fields(name)
    model = model_class(model_class.config_class(**fields | {"text_config": fields["text_config"] | text}))
    randomise(model, seed)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None  # never stop early
    return model


def randomise(model, seed: int):
    """Gives every weight a real random value."""
    generator = torch.Generator().manual_seed(seed)
    for key, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in key and key.endswith("weight"):
            noise = 1 + 0.1 * noise
        elif weight.ndim <= 1:
            noise = 0.02 * noise
        else:
            noise = noise * (weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.1)
        weight.data = noise
    return model.eval()


def pixels(name: str, page: int) -> dict:
    """What the image processor gives for one page; pages differ in size where the family allows it."""
    generator = torch.Generator().manual_seed(100 + page)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    if name in ("deepseek_ocr2", "unlimited_ocr"):
        tiles, grid = [(2, [2, 1]), (0, [1, 1]), (3, [1, 3])][page % 3]
        given: dict = {"pixel_values": noise(1, 3, 256, 256), "num_local_patches": [tiles]}
        side = 192 if name == "deepseek_ocr2" else 128
        if tiles:
            given["pixel_values_local"] = noise(tiles, 3, side, side)
        return given | ({"patches_grid": [grid]} if name == "unlimited_ocr" else {})
    if name in GRID:
        rows, columns = [(4, 6), (8, 4), (6, 6)][page % 3]
        grid = torch.tensor([[1, rows, columns]])
        return {"pixel_values": noise(rows * columns, 3 * 2 * 16), "image_grid_thw": grid}
    if name == "deepseek_vl_hybrid":
        return {"pixel_values": noise(1, 3, 32, 32), "high_res_pixel_values": noise(1, 3, 64, 64)}
    if name == "lfm2_vl":
        return lfm_pixels(page, noise)
    if name in ("idefics3", "smolvlm"):
        rows, columns = [(1, 2), (0, 0), (2, 2)][page % 3]
        tiles = rows * columns + 1
        mask = torch.ones(1, tiles, 32, 32, dtype=torch.bool)
        values = {"pixel_values": noise(1, tiles, 3, 32, 32), "pixel_attention_mask": mask}
        return values | {"rows": [[rows]], "cols": [[columns]]}
    side = 256 if name == "got_ocr2" else 32
    return {"pixel_values": noise(1, 3, side, side)}


def lfm_pixels(page: int, noise) -> dict:
    rows, columns = [(1, 2), (1, 1), (2, 1)][page % 3]
    shapes = [(4, 4)] * (rows * columns if rows * columns > 1 else 0) + [[(2, 4), (2, 6), (4, 2)][page % 3]]
    mask = torch.zeros(len(shapes), 16, dtype=torch.long)
    for tile, (height, width) in enumerate(shapes):
        mask[tile, : height * width] = 1
    values = {"pixel_values": noise(len(shapes), 16, 3 * 64), "pixel_attention_mask": mask}
    return values | {"spatial_shapes": torch.tensor(shapes), "image_rows": [rows], "image_cols": [columns]}


def together(name: str, pages: list[dict]) -> dict:
    """Several pages in one call, batched as the processor does it; without what the model takes no notice of."""
    merged = {}
    for key in dict.fromkeys(key for page in pages for key in page):
        if key in ("rows", "cols", "image_rows", "image_cols"):
            continue
        values = [page[key] for page in pages if key in page]
        if isinstance(values[0], list):
            merged[key] = [item for value in values for item in value]
        else:
            merged[key] = torch.cat(values, 1 if name in ("idefics3", "smolvlm") else 0)
    return merged


def image_processor(name: str):
    """The family's image processor, set to the sizes of its tiny model. None where it needs torchvision."""
    import transformers

    def side(pixels: int) -> dict[str, int]:
        return {"height": pixels, "width": pixels}

    patches = {"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 64, "longest_edge": 1024}}
    tiles = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    settings = {
        "deepseek_ocr2": ("DeepseekOcr2", {"size": side(256), "tile_size": 192}),
        "glm4v": ("Glm4v", patches),
        "glm_ocr": ("Glm46V", patches),
        "qwen3_vl": ("Qwen2VL", patches),
        "qwen3_5": ("Qwen2VL", patches),
        "deepseek_vl": ("DeepseekVL", {"size": side(32)}),
        "deepseek_vl_hybrid": ("DeepseekVLHybrid", {"size": side(32), "high_res_size": side(64)}),
        "janus": ("Janus", {"size": side(32)}),
        "got_ocr2": ("GotOcr2", {"size": side(256)}),
        "idefics3": ("Idefics3", tiles),
        "smolvlm": ("SmolVLM", tiles),
    }
    if name not in settings:
        return None
    label, fields = settings[name]
    return getattr(transformers, f"{label}ImageProcessorPil")(**fields)
