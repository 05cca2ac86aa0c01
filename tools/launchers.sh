#!/usr/bin/env bash
# Runs the lines of docs/launchers.md with real launchers: `infinipipe launch`, torchrun, mpirun, Hydra, srun
# on a Slurm of this one machine, and two network namespaces as two hosts. Each must train to the bytes of
# the same run in one process. Installs Open MPI, MPICH, Slurm and iproute2 from Debian; needs root.
# For torchrun PyTorch with all it needs is installed, too (tools/interop_environment.sh, 2.5 GB).
#   tools/launchers.sh PROGRAM [NAME ...]     the named ones alone
#   TORCHRUN=FILE                             a torchrun that is there
set -uo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "$1"); shift
wanted=" $* "

if [ "$(id -u)" != 0 ]; then echo "error: launchers: not root, and Slurm and namespaces need it" >&2; exit 2; fi
packages=(openmpi-bin mpich slurmctld slurmd slurm-client munge iproute2)
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  break
done

torchrun=${TORCHRUN:-.deps/interop/bin/torchrun}
case "$wanted" in "  " | *torchrun*) [ -x "$torchrun" ] || tools/interop_environment.sh || exit 1 ;; esac
torchrun=$(realpath -s "$torchrun")

work=$(mktemp -d)
started=()
clean() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  ip netns del infini-a 2>/dev/null; ip netns del infini-b 2>/dev/null
  rm -rf "$work"
}
trap clean EXIT
mkdir "$work/bin"
ln -s "$program" "$work/bin/infinipipe"
export PATH="$work/bin:$PATH" XDG_CACHE_HOME="$work/cache"

# A model that trains a step in milliseconds, on two stages.
mkdir "$work/texts"
for i in 1 2 3 4 5 6; do head -c $((i * i * 300)) docs/planner.md > "$work/texts/$i.txt"; done
infinipipe data build --input "$work/texts" --out "$work/data" -q || exit 1
cat > "$work/run.toml" <<TOML
[model]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
[data]
path = "$work/data"
[parallelism]
stages = 2
[training]
steps = 6
sequences_per_step = 2
[cluster]
profile = "estimate"
[checkpoint]
every = 6
TOML
train=(train --config "$work/run.toml" -q --checkpoint.path)
weights() {  # the same for the same tensors, in however many files
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/fault python3 -c \
    'import program, sys; print(sorted(program.tensors(sys.argv[1]).items()))' "$1"
}
infinipipe "${train[@]}" "$work/one" || exit 1
expected=$(weights "$work/one")

failed=0
# check NAME COMMAND...: the command trains into the folder $work/NAME.
check() {
  local name=$1 begin=$SECONDS; shift
  case "$wanted" in "  " | *" $name "*) ;; *) return ;; esac
  if ! timeout 120 bash -c '"$@"' check "$@" > "$work/log" 2>&1; then
    printf "%s: FAILED\n%s\n" "$name" "$(tail -5 "$work/log" "$work/slurm/job.log" 2>/dev/null)"; failed=1
  elif [ "$(weights "$work/$name")" != "$expected" ]; then
    printf '%s: other weights than in one process\n' "$name"; failed=1
  else
    printf '%s: the bytes of one process (%d s)\n' "$name" $((SECONDS - begin))
  fi
}

check launch infinipipe launch -n 2 -- "${train[@]}" "$work/launch"
check torchrun "$torchrun" --standalone --nproc-per-node 2 --no-python \
  infinipipe "${train[@]}" "$work/torchrun"
check mpirun mpirun.openmpi --allow-run-as-root --oversubscribe -np 2 --bind-to none \
  infinipipe "${train[@]}" "$work/mpirun"
check mpirun-bound mpirun.openmpi --allow-run-as-root -np 2 infinipipe "${train[@]}" "$work/mpirun-bound"
check hydra mpiexec.hydra -n 2 infinipipe "${train[@]}" "$work/hydra"

# --- Slurm of one machine ------------------------------------------------------------------------
slurm() {
  local host; host=$(hostname -s)
  mkdir -p "$work/slurm" /run/munge
  chown munge /run/munge /var/lib/munge /etc/munge 2>/dev/null
  if [ ! -s /etc/munge/munge.key ]; then
    head -c 128 /dev/urandom > /etc/munge/munge.key
    chown munge /etc/munge/munge.key; chmod 400 /etc/munge/munge.key
  fi
  pgrep -x munged > /dev/null || su -s /bin/sh munge -c /usr/sbin/munged
  cat > "$work/slurm/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation=$work/slurm/state
SlurmdSpoolDir=$work/slurm/spool
SlurmctldPidFile=$work/slurm/ctld.pid
SlurmdPidFile=$work/slurm/d.pid
SlurmctldLogFile=$work/slurm/ctld.log
SlurmdLogFile=$work/slurm/d.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES
CONF
  export SLURM_CONF="$work/slurm/slurm.conf"
  slurmctld -D > "$work/slurm/out" 2>&1 & started+=($!)
  slurmd -D > "$work/slurm/out2" 2>&1 & started+=($!)
  for _ in $(seq 60); do sinfo -h -o %T 2>/dev/null | grep -q idle && return; sleep 1; done
  tail -3 "$work"/slurm/*.log; return 1
}
case "$wanted" in "  " | *" srun "* | *" sbatch "*)
  if slurm; then
    check srun srun -n 2 --cpu-bind=none infinipipe "${train[@]}" "$work/srun"
    { echo '#!/bin/bash'
      echo "srun -n 2 --kill-on-bad-exit=1 --cpu-bind=none infinipipe ${train[*]} $work/sbatch"
    } > "$work/run.sh"
    check sbatch sbatch --wait -n 2 --output "$work/slurm/job.log" "$work/run.sh"
  else
    echo 'srun: no Slurm'; failed=1
  fi
  ;;
esac

# --- Two hosts -----------------------------------------------------------------------------------
hosts() {
  ip netns add infini-a && ip netns add infini-b &&
    ip link add infini-a type veth peer name infini-b &&
    ip link set infini-a netns infini-a && ip link set infini-b netns infini-b &&
    ip -n infini-a addr add 10.77.0.1/24 dev infini-a && ip -n infini-b addr add 10.77.0.2/24 dev infini-b &&
    for host in infini-a infini-b; do ip -n $host link set $host up && ip -n $host link set lo up; done
}
on_both() {  # on_both COMMAND...: %d is 0 on one host, 1 on the other
  ip netns exec infini-b bash -c "${*//%d/1}" & local other=$!
  ip netns exec infini-a bash -c "${*//%d/0}"; local code=$?
  wait "$other" && return $code
}
export -f on_both
case "$wanted" in "  " | *" hosts-"*)
  if hosts; then
    check hosts-by-hand on_both "RANK=%d WORLD_SIZE=2 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 \
      infinipipe ${train[*]} $work/hosts-by-hand"
    check hosts-torchrun on_both "$torchrun --nnodes 2 --node-rank %d \
      --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29400 --no-python \
      infinipipe ${train[*]} $work/hosts-torchrun"
  else
    echo 'hosts: no network namespaces here'; failed=1
  fi
  ;;
esac
exit $failed
