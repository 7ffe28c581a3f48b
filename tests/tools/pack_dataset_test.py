from wsign_jax.data import layout, validate

RULES = validate.Rules(vocab_size=6, patch_size=4, max_seq_length=120)


def test_a_data_set_is_packed(command, dataset, tmp_path):
    out = tmp_path / "packed"
    status, printed = command("pack_dataset.py", dataset, out, "--examples_per_shard=5")
    assert status == 0
    assert "train: 12 examples in 3 shards" in printed and f"wrote {out}" in printed
    assert not list(out.rglob("*.npy")) and len(list(out.rglob("*.array_record"))) == 5
    packed = layout.read_split(out, "train", RULES)
    assert packed.ids == layout.read_split(dataset, "train", RULES).ids


def test_what_is_wrong_is_said_in_a_line(command, dataset, tmp_path):
    status, printed = command("pack_dataset.py", dataset, dataset)
    assert status == 2 and f"error: {dataset}: already holds something" in printed
    status, printed = command("pack_dataset.py", dataset, dataset / "packed")
    assert status == 2 and f"packed: lies in {dataset}; name a folder outside of it" in printed
    (dataset / "val" / "labels" / "val_01.npy").unlink()
    status, printed = command("pack_dataset.py", dataset, tmp_path / "packed")
    assert status == 2 and "labels/val_01.npy: missing" in printed
    assert "or leave them out with --on_bad=skip\n" in printed
    assert not (tmp_path / "packed").exists()
    status, printed = command("pack_dataset.py", dataset, tmp_path / "packed", "--on_bad=skip")
    assert status == 0 and "val: 4 examples in 1 shard\n" in printed
