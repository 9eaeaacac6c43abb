#!/usr/bin/env bash
# Workers as a job array: OPTUNA_STORAGE=postgresql+psycopg://search@HOST/search sbatch deploy/slurm.sh
#
# Submit it from the checkout, on a file system that the nodes share, after `make .venv` there.
# The password belongs into ~/.pgpass (mode 600), not into the job's environment. STUDY names the
# study. Options of sbatch come before the script: --array=1-64, --gpus-per-task=1.

#SBATCH --job-name=search
#SBATCH --array=1-16
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --output=search-%A_%a.log
#SBATCH --requeue
#SBATCH --open-mode=append
# A minute before the time is up, so that trials are handed back and not left to the grace period.
#SBATCH --signal=TERM@60

set -euo pipefail

: "${OPTUNA_STORAGE:?set it to the database, like postgresql+psycopg://search@HOST/search}"
cd "${SLURM_SUBMIT_DIR:?submit this script with sbatch}"

# By srun, which passes signals on to the worker and binds it to its cores.
exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    .venv/bin/python -m search.worker --study "${STUDY:-mnist}"
