#!/bin/bash
# Two machines of eight GPUs each, one process per GPU: sbatch docs/scale/slurm.sh
# JAX finds the processes of a Slurm step by itself; each takes the GPU of its own number on its machine.
#SBATCH --job-name=numformer
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log

set -euo pipefail

# On a disk that all machines see: the run folder is written by one process and read by all.
run=runs/llama-8b
options=(--config llama-8b.toml)
if [[ -d "$run/state" ]]; then
    options=(--resume)
fi

# A process that is lost ends the others; submitted again, the job goes on from the last checkpoint. After the loss of a
# machine Slurm submits it by itself (--requeue).
srun --kill-on-bad-exit=1 \
    numformer train lm "${options[@]}" --out "$run" \
    --backend jax --mesh fsdp=8,data=2 --hosts auto
