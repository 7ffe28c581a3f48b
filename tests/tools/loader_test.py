from tools.benchmark import loader


def test_little_is_padded_in_sentences_as_long_as_phoenix():
    found = loader.padding()
    assert found["padding_efficiency"] > 0.905, "eight multiples of 32 reach 0.908"
    assert found["shapes"] <= 8
