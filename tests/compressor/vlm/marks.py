"""A tokenizer of single bytes with the marks of every family, for the tiny models' vocabulary."""

from functools import cache

from tests.compressor.vlm.tiny import IMAGE, VIDEO, VOCABULARY

IMAGE_TEXT = "<image>"
PLACES = [(row, column) for row in (1, 2) for column in (1, 2)]
MARKS = (
    ["<|begin_of_image|>", "<|end_of_image|>", "<|vision_start|>", "<|vision_end|>", "<begin_of_image>"]
    + ["<end_of_image>", "<img>", "</img>", "<imgpad>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"]
    + ["<fake_token_around_image>", "<global-img>", "<|user|>", "<|assistant|>"]
    + [f"<row_{row}_col_{column}>" for row, column in PLACES]
    + [f"<|img_row_{row}_col_{column}|>" for row, column in PLACES]
)
CHAT = (
    "{% for turn in messages %}<|user|>"
    "{% for item in turn.content %}{% if item.type == 'image' %}PAGE{% else %}{{ item.text }}{% endif %}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@cache
def tokenizer():
    """Do not change it: it is shared."""
    return make_tokenizer()


def make_tokenizer():
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {"<pad>": 0, "<s>": 1, "</s>": 2, IMAGE_TEXT: IMAGE, "<video>": VIDEO}
    known |= {mark: 100 + number for number, mark in enumerate(MARKS)}
    letters = {letter: 200 + number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    joined = {"ĊĊ": 200 + len(letters)}  # two line ends in one token, as most tokenizers have them
    assert max(joined.values()) < VOCABULARY
    made = Tokenizer(models.BPE(vocab=known | letters | joined, merges=[("Ċ", "Ċ")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in known])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": IMAGE_TEXT},
    )


def tokenize(text: str) -> list[int]:
    return tokenizer().encode(text, add_special_tokens=False)
