from wsign_jax.recognize.batches import padded_length


def test_few_lengths_and_little_padding():
    lengths = {padded_length(frames) for frames in range(1, 1501)}
    assert len(lengths) == 16 + 8 + 4
    for frames in range(257, 1501):
        assert frames <= padded_length(frames) <= frames * 1.125 + 1
