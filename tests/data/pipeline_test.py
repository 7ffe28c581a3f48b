import dataclasses

import numpy as np
import pytest
from grain import experimental as grain_experimental

from wsign_jax.common.errors import WSignError
from wsign_jax.data import layout, lengths, pipeline, validate

RULES = validate.Rules(vocab_size=6, patch_size=4, max_seq_length=1500)


def training(dataset, config, epochs=2, batch_size=4, threads=2):
    split = layout.read_split(dataset, "train", RULES)
    config.data.augment.speed = 0.2
    plan = pipeline.plan_training(split, config.data, 4, 42, epochs, max_buckets=8)
    longest = max(map(len, split.labels))
    loader = pipeline.BatchLoader(split, config.data, longest, plan)
    plans = [batch for epoch in range(epochs) for batch in plan.epoch(epoch, batch_size)]
    return split, plan, pipeline.load_ahead(loader, plans, threads)


def test_a_batch_is_what_its_examples_are(dataset, config):
    split = layout.read_split(dataset, "val", RULES)
    loader = pipeline.BatchLoader(split, config.data, 6)
    batches = list(map(loader, pipeline.plan_evaluation(split, (32, 64), 3)))
    seen = []
    for batch in batches:
        assert batch.positions.shape[1] == batch.length and not batch.epoch.any()
        assert batch.labels.shape == (3, 6)
        for row, example in enumerate(batch.example):
            frames = batch.frames[row]
            if example < 0:
                assert frames == 0 and batch.label_lengths[row] == 0
                assert not batch.confidence[row].any() and not batch.labels[row].any()
                continue
            seen.append(example)
            expected = split.features(example)
            assert batch.source_frames[row] == frames == len(expected)
            np.testing.assert_array_equal(batch.positions[row, :frames], expected[..., :3])
            np.testing.assert_array_equal(batch.confidence[row, :frames], expected[:, [0, 21], 6])
            assert not batch.confidence[row, frames:].any()
            count = batch.label_lengths[row]
            np.testing.assert_array_equal(batch.labels[row, :count], split.labels[example])
            assert not batch.labels[row, count:].any()
    assert sorted(seen) == list(range(len(split)))


def test_what_is_longer_than_all_training_gets_one_bucket_more(dataset):
    split = layout.read_split(dataset, "val", RULES)
    split = dataclasses.replace(split, frames=np.array([10, 40, 65, 100, 200], np.int32))
    plans = pipeline.plan_evaluation(split, (32, 96), 2)
    assert [(p.bucket, p.rows.tolist()) for p in plans] == [
        (96, [0, 1]),
        (224, [2, 3]),
        (224, [4, -1]),
    ]
    within = pipeline.plan_evaluation(split, (32, 96, 256), 2)
    assert [p.bucket for p in within] == [96, 256, 256]


def test_every_epoch_has_every_example_once_at_a_new_pace(dataset, config):
    split, plan, batches = training(dataset, config)
    batches = list(batches)
    per_epoch = len(plan.epoch(0, 4))
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        examples = np.concatenate([batch.example for batch in epoch])
        assert sorted(examples[examples >= 0]) == list(range(len(split)))
    for batch in batches:
        real = batch.example >= 0
        frames = np.array([len(split.features(example)) for example in batch.example[real]])
        assert (batch.source_frames[real] == frames).all()
        assert (batch.frames[real] == plan.frames[batch.epoch[real], batch.example[real]]).all()
        assert batch.positions.shape[1] == lengths.source_length(batch.length, 0.2)
    assert (plan.frames[0] != plan.frames[1]).any(), "each epoch has its own paces"
    assert {batch.length for batch in batches} <= set(plan.buckets)


def test_the_same_seed_gives_the_same_batches_however_many_threads(dataset, config):
    _, _, one = training(dataset, config, threads=1)
    _, _, four = training(dataset, config, threads=4)
    for a, b in zip(one, four, strict=True):
        np.testing.assert_equal(dataclasses.asdict(a), dataclasses.asdict(b))


@pytest.mark.parametrize("threads", [0, 2])
def test_a_file_that_changes_is_one_line_across_the_threads(dataset, config, threads):
    _, _, batches = training(dataset, config, threads=threads)
    path = dataset / "train" / "features" / "train_07.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(WSignError) as error:
        list(batches)
    assert str(error.value) == f"{path}: changed or became unreadable during the run; restore it"


def test_grain_agrees_that_the_pipeline_can_be_checkpointed(dataset, config):
    split, plan, _ = training(dataset, config)
    loader = pipeline.BatchLoader(split, config.data, 4, plan)
    batches = pipeline.load_ahead(loader, plan.epoch(0, 4), 2).map(dataclasses.asdict)
    grain_experimental.assert_equal_output_after_checkpoint(batches)
    assert len(str(iter(batches).get_state())) < 200, "the state is no longer one small dict"


def test_processes_share_every_batch_by_rows(dataset, config):
    split, plan, _ = training(dataset, config)
    whole = pipeline.BatchLoader(split, config.data, 4, plan)
    halves = [
        pipeline.BatchLoader(split, config.data, 4, plan, rows=slice(start, start + 2))
        for start in (0, 2)
    ]
    for batch_plan in plan.epoch(1, 4):
        parts = [dataclasses.asdict(half(batch_plan)) for half in halves]
        for name, all_rows in dataclasses.asdict(whole(batch_plan)).items():
            own = [part[name] for part in parts]
            np.testing.assert_array_equal(
                own[0] if name == "length" else np.concatenate(own), all_rows
            )


def test_labels_can_still_be_emitted_after_a_new_pace(dataset, config):
    for path in (dataset / "train" / "features").iterdir():
        labels = dataset / "train" / "labels" / path.name
        frames = len(np.load(path))
        np.save(labels, np.tile([1, 2], frames // 8))  # as many as the patches can hold
    config.data.augment.speed = 0.5
    split, _, batches = training(dataset, config)
    for batch in batches:
        for row in np.flatnonzero(batch.example >= 0):
            needed = validate.patches_needed(split.labels[batch.example[row]])
            assert validate.patches_of(int(batch.frames[row]), 4) >= needed
