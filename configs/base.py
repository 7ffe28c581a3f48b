"""Every field of a config with its default; the other configs change some.

    from configs import base
    config = base.get_config()

It is not meant to be run itself, though it is complete: the three stages at base size on
`data/processed`. stage1.py, stage2.py and stage3.py run them one by one and say what was measured.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the defaults."""
    config = ConfigDict()
    config.mode = "train"  # or 'evaluate': the best checkpoint in the workdir on eval.split

    # Where the first stage's weights come from. '': fresh. DIR: the run in that folder. 'auto': the run
    # of the stage before, beside this one, if there is one. 'whisper:DIR': Whisper's own, or by name on
    # the Hugging Face Hub, 'whisper:openai/whisper-base'. A checkpoint in the workdir goes first.
    config.init_from = ""
    # Which of Whisper's layers to take if the model has fewer: the 'first', or 'spread' evenly.
    config.init_layers = "first"

    # Starts over in a new sub-folder of the workdir and leaves what is there alone.
    config.restart = False

    config.data = ConfigDict()
    config.data.dir = "data/processed"  # '': built-in signing, made in <workdir>/data
    # Not '': adapts the run in init_from to data.dir (adapt.py), and replays training sentences of this
    # data set beside it. 'auto': the one that the run was trained on; 'none': nothing is replayed.
    config.data.replay = ""
    config.data.on_bad = "error"  # or 'skip': leave bad examples out
    config.data.aspect = 0.0  # width / height if y is normalized by height; 0: see dataset.json
    config.data.max_seq_length = 1500  # frames; longer sequences are bad input, never cut
    # Padded lengths, each with its own programs; 0: four on accelerators, eight on CPUs.
    config.data.max_buckets = 0
    config.data.threads = 2  # that read ahead
    config.data.synthetic = ConfigDict(
        {
            "glosses": 24,
            "train": 800,
            "val": 80,
            "test": 100,
            "signers": 12,
            "seed": 0,
            "noise": 1.0,
        }
    )

    augment = config.data.augment = ConfigDict()
    augment.speed = 0.0  # 0.2: 0.8 to 1.25 of the true pace
    augment.jitter = 2.0  # frames by which time is warped to and fro
    augment.cut = 0.0  # up to so many frames in a row, and a fifth of the sentence, are cut out
    augment.skip_frames = 0.0  # 3: as a camera sees it that skips up to 3 frames after each picture
    augment.rotation = 0.0  # degrees in the picture's plane
    augment.tilt = 0.0  # degrees out of it, each hand about its wrist
    augment.scale = 0.0  # 0.2: 1 / 1.2 to 1.2 times as large
    augment.shift = 0.0  # image widths
    augment.shear = 0.0  # 0.1: x moves by up to a tenth of y, and y by up to a tenth of x
    augment.bend = 0.0  # degrees by which each joint of a finger is turned for a sentence
    augment.bones = 0.0  # 0.2: each bone is 1 / 1.2 to 1.2 times as long for a sentence
    augment.mirror = 0.0  # probability; gives signs of a left-handed signer
    augment.noise = 0.005  # image widths, standard deviation
    augment.joint_mask = 0.15  # probability that a joint is hidden for a sentence
    augment.temporal_mask = 0.1  # probability that a stretch of frames loses its hands
    augment.hand_mask = 0.0  # probability that a stretch loses one hand, for each of the two
    augment.temporal_mask_frames = 10  # the stretch, and the most that it loses

    model = config.model = ConfigDict()
    # tiny, small, base (Whisper base), large (Whisper small), whisper_tiny, whisper_medium
    model.size = "base"
    model.vocab_size = 0  # 0: from label_map.json
    # 'rotary', 'sinusoidal' (Whisper's own), or 'auto': as in the weights that a run begins with,
    # 'rotary' if they are fresh.
    model.positions = "auto"
    model.wrist_place = True  # the wrist's features tell where the hand is in the picture
    model.ctc_dropout = 0.0
    model.frontend = ConfigDict()
    model.frontend.patch_size = 4  # frames
    model.frontend.conv_kernel = 7  # patches
    model.frontend.look_ahead = 0  # patches of the kernel that lie ahead
    model.frontend.spatial_dropout = 0.15
    model.frontend.dropout = 0.1
    model.encoder = ConfigDict({"num_layers": 0, "dropout": 0.1})  # 0: as the size says
    model.decoder = ConfigDict({"num_layers": 0, "dropout": 0.1})

    config.stages = ("stage1", "stage2", "stage3")
    # The first rule whose pattern matches a parameter's path decides: (pattern, 'freeze') or
    # (pattern, 'train'[, share of the learning rate[, decay]]). Decay is one more factor for every block
    # that lies above in its stack. This trains imported layers slower than new ones, and lower layers
    # slower still: (("encoder/.*", "train", 0.3, 0.8), (".*", "train")).
    everything = ((".*", "train"),)
    # Chunks and left contexts in patches: one of each is drawn per batch; chunk 0 is full attention.
    offline = {"chunks": (0,), "left_contexts": (0,)}
    config.stage1 = ConfigDict(
        {
            "epochs": 30,
            "lr": 1e-3,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "alpha": 1.0,  # CTC's share; at 1 the attention decoder does not run
            "rules": (("(frontend|ctc_head)/.*", "train"), ("(encoder|decoder)/.*", "freeze")),
            **offline,
        }
    )
    config.stage2 = ConfigDict(
        {
            "epochs": 100,
            "lr": 5e-5,
            "weight_decay": 1e-4,
            "batch_size": 16,
            "alpha": 0.3,
            "rules": everything,
            **offline,
        }
    )
    config.stage3 = ConfigDict(
        {
            "epochs": 30,
            "lr": 1e-5,
            "weight_decay": 1e-5,
            "batch_size": 16,
            "alpha": 0.3,
            "rules": everything,
            "chunks": (0, 1, 2, 4, 8, 16, 32),
            "left_contexts": (32, 64, 128),
        }
    )

    training = config.training = ConfigDict()
    training.seed = 42
    training.warmup_steps = 500  # at most a fifth of a stage
    training.grad_clip = 1.0
    training.label_smoothing = 0.1
    # Probability that the attention decoder is fed a mask in place of a gloss that it has written.
    training.decoder_mask = 0.0
    # CR-CTC: each sentence is seen twice, augmented in two ways; 0.2 times the divergence of the two
    # posteriors is added to CTC's loss. A step takes twice the time. 0: once.
    training.consistency = 0.0
    training.max_steps = 0  # of each stage; 0: as its epochs say
    # Of the computation; parameters stay float32. 'auto' takes what the device is fastest in: 'bfloat16'
    # (TPU, A100 and newer), 'float16' with loss scaling (T4, V100), 'float32' (CPU).
    training.precision = "auto"
    training.loss_scale = 2.0**15  # for float16, at the start; halved at every overflow
    # These two save memory (see tools/describe.py --memory) and change neither batch nor loss.
    training.accumulate = 1  # parts of a batch, worked through one after the other in one step
    training.remat = False  # compute encoder layers again for the gradient instead of keeping them
    training.ema = 0.0  # decay of a moving average of the weights, which is then evaluated

    # How parameters lie on several devices. 'shard' (FSDP) gives each device a part of each parameter,
    # of its optimizer state and of its average. It is for models that do not fit on one device.
    training.sharding = ((".*", "replicate"),)

    # A checkpoint is also written at the end of a stage, and when SIGTERM or SIGINT asks to stop. If a
    # validation since the last one was the best so far, its state is written then, too.
    checkpoint = config.checkpoint = ConfigDict()
    checkpoint.every_steps = 1000
    checkpoint.every_minutes = 4.0  # a kill costs at most five, with the time to write it
    # The last two, besides the best. Each has 12 bytes per parameter, 16 with the moving average.
    checkpoint.keep = 2
    checkpoint.mirror = ""  # a second place for all of it, for example on Drive; only your own

    config.eval = ConfigDict()
    config.eval.split = "test"  # reported when training ends, and by mode 'evaluate'
    # For the report: greedy, prefix_beam, attention, rescore or joint; validation is always greedy.
    # Their weights are those that tools/tune_decoder.py wrote into the run, otherwise defaults.
    config.eval.decoder = "greedy"
    # 'none', 2 for a bigram of the training labels, FILE.arpa, or '': as tuned, otherwise none.
    config.eval.lm = ""
    config.eval.beam_size = 0  # 0: as tuned, otherwise 10
    config.eval.every_epochs = 1  # validation
    config.eval.batch_size = 16  # for the report; validation has the batches of training
    config.eval.average = 1  # evaluate the mean of this many last checkpoints; 1: the best one
    config.eval.pictures = True  # in TensorBoard: when a stage ends or WER is down by a quarter
    config.eval.chunk = 0  # attention window in patches; 0: full
    config.eval.left_context = 0
    return config
