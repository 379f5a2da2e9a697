#!/bin/bash
# Train on several machines under SLURM: one launcher a machine, which starts a process for every GPU.
#   sbatch accelerate_configs/slurm.sh --task sst2 --model roberta-base --output-dir /shared/runs/sst2
# Two minutes before its time limit the training is asked to stop (--signal) and saves itself. Submit the same command
# again, or `scontrol requeue` the job, and it goes on from there; after a preemption SLURM does so itself (--requeue).
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?}"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110 # the launcher would give its processes half a minute to save themselves
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it over from sbatch
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / SLURM_GPUS_ON_NODE))
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Single quotes: SLURM_NODEID is known on each machine alone.
srun --kill-on-bad-exit=1 bash -c '.venv/bin/accelerate launch \
  --config_file accelerate_configs/multi_node.yaml \
  --num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" \
  --machine_rank "$SLURM_NODEID" --main_process_ip "$0" --main_process_port 29500 \
  scripts/train.py "$@"' "$first" "$@"
