#!/usr/bin/env bash
# Train on SLURM: sbatch --nodes=2 scripts/slurm.sh run=runs/big experiment=... ; overrides go to mmdiff.
# Two minutes before the time limit the run is saved and the job goes back into the queue, where it continues.
#SBATCH --job-name=mmdiff
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out
set -euo pipefail
case " $* " in *" run="*) ;; *) echo "name the run directory: sbatch $0 run=DIR ..." >&2; exit 2 ;; esac

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}
# one task of srun is one process of the run: Lightning reads ranks and addresses from SLURM
exec srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -m mmdiff train trainer="${TRAINER:-fsdp}" \
    trainer.devices="$SLURM_NTASKS_PER_NODE" trainer.num_nodes="$SLURM_JOB_NUM_NODES" "$@"
