"""A tiny model's directory as a download would be: weights, tokenizer with a chat template, image processor."""

from pathlib import Path

from tests.compressor.vlm.marks import CHAT, IMAGE_TEXT, make_tokenizer
from tests.compressor.vlm.tiny import build, image_processor


def save_model(name: str, directory: Path, *, seed: int = 0, max_tokens: int | None = None) -> Path:
    model = build(name, seed)
    if max_tokens is not None:
        model.config.get_text_config().max_position_embeddings = max_tokens
    model.save_pretrained(directory)
    words = make_tokenizer()
    words.chat_template = CHAT.replace("PAGE", IMAGE_TEXT)
    words.save_pretrained(directory)
    image_processor(name).save_pretrained(directory)
    return directory
