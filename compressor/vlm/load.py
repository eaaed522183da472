"""Owns how a model comes out of its directory: the vision half for encoding, or the language model for answering.

Only the weights of the wanted half are read from the safetensors files; transformers' own loading renames and joins
those of older checkpoints. No network, no code from the directory, no pickle.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from compressor.device import choose_device, device_faults, has_native_bf16
from compressor.errors import ModelError
from compressor.vlm.decode import PageDecoder
from compressor.vlm.encode import PageEncoder
from compressor.vlm.families import Family
from compressor.vlm.fingerprint import read_family, read_fingerprint

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CLOSED: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}  # nothing fetched, nothing run


def load_decoder(directory: Path, *, device: str = "auto", dtype: torch.dtype | None = None) -> PageDecoder:
    """The language model of a model directory, without its vision tower.

    Raises UnsupportedModel; ModelError where weights are missing or do not fit; DeviceFull.
    """
    family = read_family(directory)
    codec = read_fingerprint(directory, family)
    return PageDecoder(_load(directory, family, _language_only, choose_device(device), dtype), family, codec=codec)


def load_encoder(directory: Path, *, device: str = "auto", dtype: torch.dtype | None = None) -> PageEncoder:
    """Image processor, vision tower and projector of a model directory, without its language model.

    Raises as `load_decoder`; ModelError too where the image processor or the tokenizer cannot be loaded.
    """
    family = read_family(directory)
    codec = read_fingerprint(directory, family)
    image_processor = load_image_processor(directory, family)
    tokenizer = load_tokenizer(directory)
    model = _load(directory, family, _vision_only, choose_device(device), dtype)
    return PageEncoder(
        model,
        family,
        codec=codec,
        image_processor=image_processor,
        tokenize=lambda text: cast("list[int]", tokenizer.encode(text, add_special_tokens=False)),
        image_text=cast("str", tokenizer.convert_ids_to_tokens(model.config.image_token_id)),
    )


def load_whole(directory: Path, family: Family, device: str, dtype: torch.dtype | None) -> "PreTrainedModel":
    """All of a model that has no halves. Raises as `load_decoder`."""
    return _load(directory, family, _nothing_less, device, dtype)


def load_tokenizer(directory: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model directory. Raises ModelError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(directory, **_CLOSED))
        template = directory / "chat_template.json"  # where older vision-language models keep it, for their processor
        if tokenizer.chat_template is None and template.exists():
            tokenizer.chat_template = json.loads(template.read_text("utf-8"))["chat_template"]
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"the tokenizer of {directory.name} cannot be loaded: {error}") from error
    return tokenizer


def load_image_processor(directory: Path, family: Family) -> "BaseImageProcessor":
    """The image processor of a model directory, always on the same back-end of a family: back-ends may round apart.

    Raises ModelError; for the families that need torchvision it says so.
    """
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(directory, backend=family.image_backend, **_CLOSED)
    except ImportError as error:
        raise ModelError(
            f"the image processor of {family.label} needs a package that is not installed: {error}"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"the image processor of {directory.name} cannot be loaded: {error}") from error
    return cast("BaseImageProcessor", processor)


def _language_only(model: "PreTrainedModel", family: Family) -> None:
    """Takes away all modules but language model and head. Single parameters stay: initialisers reach for them."""
    for name, _ in list(model.model.named_children()):
        if name != family.decoder:
            delattr(model.model, name)


def _vision_only(model: "PreTrainedModel", family: Family) -> None:
    """Takes away language model and head."""
    delattr(model.model, family.decoder)
    delattr(model, "lm_head")


def empty_language_model(directory: Path) -> "PreTrainedModel":
    """The language model of a model directory without any weights, to be measured. Raises as `load_decoder`."""
    family = read_family(directory)
    with torch.device("meta"), _quiet():
        return _half_of(family, _language_only)(read_config(directory))


def _half_of(family: Family, keep: "Callable[[PreTrainedModel, Family], None]") -> "type[PreTrainedModel]":
    """The family's class, whose models take one half away as soon as they are made."""
    import transformers

    full: type[PreTrainedModel] = getattr(transformers, family.model_class)

    def build(model: "PreTrainedModel", config: "PreTrainedConfig") -> None:
        full.__init__(model, config)  # on the meta device: takes no memory
        keep(model, family)

    # What transformers knows of old checkpoints it finds by module and name of the class: ours takes those over.
    members = {
        "__init__": build,
        "__module__": full.__module__,
        "_keys_to_ignore_on_load_unexpected": [".*"],  # the other half is in the files, and stays there
    }
    return cast("type[PreTrainedModel]", type(family.model_class, (full,), members))


def read_config(directory: Path) -> "PreTrainedConfig":
    """The settings of a model directory. Raises ModelError."""
    from transformers import AutoConfig

    try:
        return cast("PreTrainedConfig", AutoConfig.from_pretrained(directory, **_CLOSED))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"config.json of {directory.name} cannot be read: {error}") from error


def _nothing_less(model: "PreTrainedModel", family: Family) -> None:
    """Takes away nothing."""


def _load(
    directory: Path,
    family: Family,
    keep: "Callable[[PreTrainedModel, Family], None]",
    device: str,
    dtype: torch.dtype | None,
) -> "PreTrainedModel":
    from safetensors import SafetensorError

    config = read_config(directory)
    if keep is _vision_only:
        config.tie_word_embeddings = False  # neither of the two that would be tied is there
    if dtype is None:
        dtype = torch.bfloat16 if has_native_bf16(device) else torch.float32
    with _quiet(), device_faults(device):
        try:
            loaded: object = _half_of(family, keep).from_pretrained(
                directory,
                config=config,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are in the report, and refused below by name
                output_loading_info=True,
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ModelError(f"the weights of {directory.name} cannot be loaded: {error}") from error
        model, report = cast("tuple[PreTrainedModel, dict[str, set[str]]]", loaded)
        absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
        if absent:
            raise ModelError(
                f"the weights of {directory.name} are not those of {family.label}: "
                f"{len(absent)} are missing or of another shape, the first is {absent[0]}"
            )
        model.eval().to(device)
        return model


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no reports of weights that were left in their files: errors are raised here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
