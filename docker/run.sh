#!/usr/bin/env bash
# Runs a command of this repository in the container: docker/run.sh python generate.py --wav hello.wav --outdir out
set -euo pipefail
IMAGE=${IMAGE:-voice2style:latest}
gpus=()
if command -v nvidia-smi >/dev/null 2>&1; then gpus=(--gpus all); fi
exec docker run --shm-size=2g "${gpus[@]}" --rm -it -v "$PWD:/scratch" --workdir /scratch -e HOME=/scratch "$IMAGE" "$@"
