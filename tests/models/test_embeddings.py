import math

import numpy as np
import pytest
import torch

from registry.models.embeddings import random_embedding, read_vectors, sinusoids, train_vectors

VOCABULARY = {"[PAD]": 0, "good": 1, "Bad": 2, "unseen": 3}
VECTORS = {"good": [1.0, 2.0], "bad": [-3.0, 0.5], "other": [9.0, 9.0]}


def write(path, kind):
    lines = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in VECTORS.items())
    if kind == "bin":
        body = b"".join(w.encode() + b" " + np.array(v, dtype=np.float32).tobytes() + b"\n" for w, v in VECTORS.items())
        path.write_bytes(b"3 2\n" + body)
    else:
        path.write_text(("3 2\n" if kind == "word2vec" else "") + lines, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", ["glove", "word2vec", "bin"])
def test_reads_vectors_of_every_format(tmp_path, kind):
    torch.manual_seed(0)
    embedding = random_embedding(4, 2, padding=0)
    found = read_vectors(embedding, write(tmp_path / f"vectors.{'bin' if kind == 'bin' else 'txt'}", kind), VOCABULARY)
    assert found == 2
    assert embedding.weight[1:3].tolist() == [[1.0, 2.0], [-3.0, 0.5]]
    assert embedding.weight[0].tolist() == [0.0, 0.0]
    assert embedding.weight[3].abs().max() > 0


def test_the_word_as_written_comes_before_its_lower_case(tmp_path):
    (tmp_path / "v.txt").write_text("bad 1 1\nBad 2 2\n", encoding="utf-8")
    embedding = random_embedding(4, 2, padding=0)
    read_vectors(embedding, str(tmp_path / "v.txt"), VOCABULARY)
    assert embedding.weight[2].tolist() == [2.0, 2.0]


@pytest.mark.parametrize("header", ["", "4 2\n"])
def test_a_word_may_have_blanks(tmp_path, header):
    lines = "good 1 2\n. . . 0.1 0.2\nat name@domain.com 3 4\nbad 5 6\n"
    (tmp_path / "v.txt").write_text(header + lines, encoding="utf-8")
    embedding = random_embedding(5, 2, padding=0)
    assert read_vectors(embedding, str(tmp_path / "v.txt"), {**VOCABULARY, ". . .": 4}) == 3
    assert embedding.weight[[1, 2, 4]].tolist() == torch.tensor([[1, 2], [5, 6], [0.1, 0.2]]).tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good 1.0 x\n", r"line 1: could not convert string to float: 'x'"),
        ("good 1.0 2.0\nbad 1.0\n", r"line 2: expected a word and 2 numbers"),
        ("3 2\ngood 1.0 2.0\nbad 1.0 2.0\n", r"2 words, but its first line says 3"),
    ],
)
def test_a_broken_vector_file_is_named_with_its_fault(tmp_path, text, message):
    path = tmp_path / "broken.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"vectors .*broken\.txt: {message}"):
        read_vectors(random_embedding(4, 2, padding=0), str(path), VOCABULARY)


def test_a_vector_file_that_does_not_fit_is_refused(tmp_path):
    path = write(tmp_path / "v.txt", "glove")
    with pytest.raises(ValueError, match="2 numbers a word, but embedding_size is 3"):
        read_vectors(random_embedding(4, 3, padding=0), path, VOCABULARY)
    with pytest.raises(ValueError, match="none of the 2 words"):
        read_vectors(random_embedding(2, 2, padding=0), path, {"x": 0, "y": 1})
    with pytest.raises(ValueError, match=r"missing\.txt: no such file"):
        read_vectors(random_embedding(2, 2, padding=0), str(tmp_path / "missing.txt"), VOCABULARY)
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="0 numbers a word, but embedding_size is 2"):
        read_vectors(random_embedding(4, 2, padding=0), str(tmp_path / "empty.txt"), VOCABULARY)


def test_word2vec_brings_words_of_one_context_together_and_repeats_itself():
    torch.manual_seed(0)
    draws = np.random.default_rng(0)
    groups = ([4, 5, 6, 7], [8, 9, 10, 11])
    examples = [{"input_ids": list(draws.choice(groups[i % 2], 12))} for i in range(400)]
    embedding, again = random_embedding(12, 16, padding=0), random_embedding(12, 16, padding=0)
    train_vectors(embedding, examples, seed=1)
    train_vectors(again, examples, seed=1 + 2**33)  # as large a seed as training takes: the same one to its end
    similar = torch.nn.functional.cosine_similarity(embedding.weight[4:, None], embedding.weight[None, 4:], dim=-1)
    assert similar[:4, :4].min() > similar[:4, 4:].max()
    assert torch.equal(embedding.weight[4:], again.weight[4:])


def test_sinusoids_follow_the_formula():
    positions = sinusoids(6, 8, torch.device("cpu"))
    for pos, i in ((0, 0), (5, 1), (3, 3)):
        angle = pos / 10000 ** (2 * i / 8)
        assert positions[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert positions[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
