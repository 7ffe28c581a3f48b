from tools.benchmark import loader


def test_little_is_padded_in_sentences_as_long_as_phoenix():
    found = loader.padding()
    assert found["padding_efficiency"] > 0.91, "the eight best lengths reach 0.917 on the corpus"
    assert found["shapes"] <= 8
