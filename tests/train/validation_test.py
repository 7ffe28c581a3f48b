"""How batches pass through validation; its figures are tested in evaluate_test and multihost_test."""

from wsign_jax.train import validation


def test_a_batch_is_under_way_while_the_one_before_is_read():
    seen = []

    def begun():
        for number in range(3):
            seen.append(f"begin {number}")
            yield number

    for number in validation._one_ahead(begun()):
        seen.append(f"read {number}")
    assert seen == ["begin 0", "begin 1", "read 0", "begin 2", "read 1", "read 2"]
