import dataclasses

from wsign_jax.report import card

FIELDS = card.CardFields(
    name="asl.wsign",
    checkpoint="7500",
    model="tiny, 840,362 parameters",
    stages=("stage1", "stage2"),
    glosses=("HELLO", "SOUP"),
    data="data/processed",
    made={"extractor": "MediaPipe", "aspect": 1.5, "settings": {"seed": 1}},
    sentences={"train": 800, "test": 100},
    signers={"train": ["ANN", "BEN"], "test": ["BEN"]},
    reports={
        "test": card.SplitResult(0.0754, (0.05, 0.1), 100, "greedy", chunk=8, left_context=64,
                                 measures={"top1": 0.9, "mean_reciprocal_rank": 0.95}),
    },
    license="MIT",
    versions={"jax": "0.10.2"},
)  # fmt: skip


def test_a_card_has_what_a_user_must_know():
    text = card.model_card(FIELDS)
    for said in (
        '[transcript] = Recognizer.load("asl.wsign").transcribe("video.mp4")',
        "Sentences: 800 train, 100 test.", "extractor: MediaPipe.", "2 glosses: HELLO, SOUP",
        "- train: 2 (ANN, BEN)", "test shares BEN with train",
        "| test | 0.075 | 0.050 to 0.100 | 100 | greedy | 8 patches, 64 behind |",
        "behind |\n\n- test: top-1 accuracy 0.9000, mean reciprocal rank 0.9500\n\n## Limits",
        "## Limits", "## License\n\nMIT", "send metrics", "- jax 0.10.2",
        "Load only files from people whom you trust.",
    ):  # fmt: skip
        assert said in text, said
    assert "seed" not in text


def test_what_is_not_known_is_said_to_be():
    bare = dataclasses.replace(FIELDS, sentences={}, signers={}, reports={}, license="", made={})
    text = card.model_card(bare)
    assert "Sentences: not known, the data set was not at hand" in text
    assert "Not known: the data set was not at hand" in text
    assert "Not measured" in text and "Not stated at the export" in text
    assert "has no `signers.csv`" in card.model_card(dataclasses.replace(FIELDS, signers={}))


def test_an_onnx_file_is_no_recognizer():
    assert "Recognizer" not in card.model_card(dataclasses.replace(FIELDS, name="asl.onnx"))
