#!/usr/bin/env bash
# What a person meets first: README's first command as written, in a fresh clone, an environment that holds
# nothing else and a home that is empty; then each extra alone, in a fresh environment too.
# Usage: .ci/bare.sh FOLDER. FOLDER/project is where the clone goes, FOLDER/home the home.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
repository=$(cd "$(dirname "$0")/.." && pwd)
data=$repository/../shared/data # a video, a model of hands, Whisper's weights: not on every machine

git clone -q "$repository" "$folder/project"
mkdir "$folder/home"
cd "$folder/project"

# Nothing of this environment reaches the commands but the way to a package index.
path=${PATH//"${VIRTUAL_ENV:-/nowhere}/bin:"/}
bare() {
    env -i HOME="$folder/home" PATH="$path" LANG=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1 \
        ${PIP_CONFIG_FILE:+PIP_CONFIG_FILE="$PIP_CONFIG_FILE"} ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
        bash -euo pipefail -c "$1"
}

first=$(grep -m 1 '^python3 -m venv .* python -m wsign_jax.main --config=configs/demo.py$' README.md) || {
    echo "README.md has no line 'python3 -m venv ... && python -m wsign_jax.main --config=configs/demo.py'"
    exit 1
}
echo "+ $first"
bare "time { $first; }" | tee "$folder/first.log"
bare '. .venv/bin/activate && python - <<END
import json
wer = json.load(open("runs/demo/report_test.json"))["wer"]
assert wer <= 0.10, f"the demo ended with a test WER of {wer}" # 0.04 where it was written; processors differ
END'
grep -q "  reference " "$folder/first.log" # of every validation, so that a person sees what is learned

# What else needs no extra: an exported file, and a recognizer that reads it.
bare '. .venv/bin/activate
recording=$(ls runs/demo/data/test/features/*.npy | head -n 1)
python tools/export.py --checkpoint=runs/demo --out=demo.wsign
test "$(python tools/predict.py --checkpoint=demo.wsign $recording)" = "$(python tools/predict.py --checkpoint=runs/demo $recording)"'

# fresh NAME: an environment with one extra, and no more.
fresh() {
    echo "+ pip install -e \".[$1]\", and nothing else"
    bare "python3 -m venv .venv-$1 && . .venv-$1/bin/activate && pip install -e '.[$1]'"
}

fresh onnx
bare '. .venv-onnx/bin/activate && python tools/export.py --checkpoint=runs/demo --out=demo.onnx'

if [ -d "$data/videos" ]; then
    fresh video
    bare ". .venv-video/bin/activate
python tools/extract_keypoints.py --videos=$data/videos --model=$data/models/hand_landmarker.task --out=features
python tools/predict.py --checkpoint=runs/demo --model=$data/models/hand_landmarker.task $data/videos/soup.mp4"
else
    echo "SKIPPED: the extra 'video' alone: no video in $data"
fi

if [ -d "$data/whisper-base" ]; then
    fresh whisper
    bare ". .venv-whisper/bin/activate
python -m wsign_jax.main --config=configs/stage1.py --workdir=runs/whisper \\
    --config.init_from=whisper:$data/whisper-base --config.model.encoder.num_layers=1 \\
    --config.model.decoder.num_layers=1 --config.data.dir=runs/demo/data --config.data.max_buckets=1 \\
    --config.training.max_steps=2 --config.stage1.batch_size=2 --config.eval.batch_size=4"
else
    echo "SKIPPED: the extra 'whisper' alone: no weights in $data"
fi
echo "README's first command and each extra alone: passed"
