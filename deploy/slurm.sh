#!/usr/bin/env bash
# One study on all nodes of a Slurm job, by Ray: a head on the first node, where the runner is too, and workers.
#
#     sbatch --nodes=4 --gpus-per-node=8 deploy/slurm.sh cifar100 --set precision=bf16
#
# From the repository's folder, on a file system that all nodes see. What follows the study's name goes to
# `python -m benchmark run`. A job that is cut off is submitted again as it was: it goes on where it stopped.
#SBATCH --job-name=benchmark
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=B:TERM@120
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: sbatch [options of Slurm] deploy/slurm.sh STUDY [options of run]" >&2; exit 2; }
VENV=${VENV-.venv}  # VENV= takes the active environment
bin=${VENV:+$VENV/bin/}
export RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=${RAY_PORT:-6379}
# The head's address as the other nodes see it, which need not be what its name means to itself.
head=$(hostname -I | awk '{ print $1 }')
cores=${SLURM_CPUS_ON_NODE:-$(nproc)}

begin() {  # Ray on a node; --block: it ends with its step
  srun --nodes=1 --ntasks=1 --overlap --cpu-bind=none -w "$1" "${bin}ray" start "${@:2}" --num-cpus="$cores" \
    --disable-usage-stats --block >&2 &
}

# Whoever reaches a Ray cluster can run code in it; with a token in their home, only the job's owner.
if "${bin}ray" get-auth-token --generate >/dev/null 2>&1; then
  export RAY_AUTH_MODE=token
else
  echo "warning: this Ray has no tokens (ray get-auth-token): other users who reach port $port can run code" >&2
fi
begin "${nodes[0]}" --head --node-ip-address="$head" --port="$port" --include-dashboard=false
step=$!
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
until (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null; do
  kill -0 $step 2>/dev/null || { echo "error: Ray's head did not start on ${nodes[0]}" >&2; exit 2; }
  sleep 1
done
for node in "${nodes[@]:1}"; do
  begin "$node" --address="$head:$port"
done

# The runner, on the head's node as this script is; in the background, so that Slurm's warning reaches this shell.
"${bin}python" -m benchmark run "$@" \
  --set execution.executor=ray --set "execution.address=$head:$port" &
runner=$!
trap 'kill -TERM $runner' TERM INT
code=0
wait $runner || code=$?
if kill -0 $runner 2>/dev/null; then  # the wait was cut off by a warning
  code=0
  wait $runner || code=$?
fi
exit $code
