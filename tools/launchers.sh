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

export work; work=$(mktemp -d)
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

# One of short documents and more steps, which is disturbed; the path follows.
mkdir "$work/short"
for i in 1 2 3 4 5 6; do head -c $((i * i * 20)) docs/planner.md > "$work/short/$i.txt"; done
infinipipe data build --input "$work/short" --out "$work/small" -q || exit 1
small="train --config $work/run.toml -q --data.path $work/small"
export longer="$small --training.steps 200 --checkpoint.every 20 --checkpoint.path"
infinipipe $longer "$work/longer" || exit 1
expected_longer=$(weights "$work/longer")
# One that ends only when it is told to, with a checkpoint that nothing else saves.
export endless="$small --training.steps 1000000 --checkpoint.every 1000000 --checkpoint.path"

failed=0
# check NAME COMMAND...: the command trains into the folder $work/NAME.
check() {
  local name=$1 begin=$SECONDS expected=$expected; shift
  case "$wanted" in "  " | *" $name "*) ;; *) return ;; esac
  case $name in
    *-restart | *-requeue | *-99) expected=$expected_longer ;;
    *-kill | scancel | *-signal) expected="" ;;
  esac
  if ! timeout 120 bash -c '"$@"' check "$@" > "$work/log" 2>&1; then
    printf "%s: FAILED\n%s\n" "$name" "$(tail -5 "$work/log" "$work/slurm/job.log" 2>/dev/null)"; failed=1
  elif [ -z "$expected" ]; then
    printf '%s: ended as it should (%d s)\n' "$name" $((SECONDS - begin))
  elif [ "$(weights "$work/$name")" != "$expected" ]; then
    printf '%s: other weights than in one process\n' "$name"; failed=1
  else
    printf '%s: the bytes of one process (%d s)\n' "$name" $((SECONDS - begin))
  fi
}

# What the checks below do to a run in the folder $1.
await() { for _ in $(seq 600); do "$@" && return; sleep 0.1; done; echo "never: $*"; return 1; }
saved() { [ -e "$1/latest" ]; }
ranks_of() { pgrep -f "^([^ ]*/)?infinipipe .*$1( |\$)"; }
begun() { ranks_of "$1" > /dev/null && [ -s "$1/metrics" ]; }
nothing_left() { ! ranks_of "$1"; }
kill_rank() {  # kill_rank FOLDER VARIABLE=RANK
  local pid
  for pid in $(ranks_of "$1"); do
    tr '\0' '\n' < "/proc/$pid/environ" | grep -qx "$2" && kill -KILL "$pid" && return
  done
  echo "no rank with $2"; return 1
}
# Rank 1 is killed once a checkpoint is there, and the command in the background must end well.
restarted() { await saved "$1" && kill_rank "$1" RANK=1 && wait "$2" && nothing_left "$1"; }
torchrun_restart() {
  "$torchrun" --standalone --nproc-per-node 2 --max-restarts 3 --no-python infinipipe $longer "$1" --resume &
  restarted "$1" $!
}
export torchrun
export -f await saved ranks_of begun nothing_left kill_rank restarted torchrun_restart

check launch infinipipe launch -n 2 -- "${train[@]}" "$work/launch"
check torchrun "$torchrun" --standalone --nproc-per-node 2 --no-python \
  infinipipe "${train[@]}" "$work/torchrun"
check torchrun-restart torchrun_restart "$work/torchrun-restart"
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
AuthInfo=cred_expire=5
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
# submit COMMAND OPTION...: prints the number of a job that runs the command over two ranks.
submit() {
  local command=$1; shift
  printf '#!/bin/bash\n%s\n' "srun -n 2 --kill-on-bad-exit=1 --cpu-bind=none $command" > "$work/job.sh"
  sbatch --parsable -n 2 --requeue --open-mode=append --output "$work/slurm/job.log" "$@" "$work/job.sh"
}
in_state() { [ "$(scontrol -o show job "$1" | grep -o 'JobState=[A-Z_]*')" = "JobState=$2" ]; }
# Without --kill-on-bad-exit the other rank must end by itself.
srun_kill() {
  srun -n 2 --cpu-bind=none infinipipe $endless "$1" --metrics.path "$1/metrics" --runtime.lost_after_seconds 6 \
    > "$1.log" 2>&1 &
  local job=$!
  await begun "$1" && kill_rank "$1" SLURM_PROCID=1 || return 1
  local begin=$SECONDS
  wait $job && { echo 'exit code 0'; return 1; }
  cat "$1.log"
  grep -q 'error: .*lost rank 1 (stage 1, host' "$1.log" && [ $((SECONDS - begin)) -le 10 ] && nothing_left "$1"
}
# A checkpoint of the step in which it was told to end, and no process.
ended() { await in_state "$1" "$2" && await nothing_left "$3" && saved "$3"; }
scancel_job() {
  local job; job=$(submit "infinipipe $endless $1 --metrics.path $1/metrics")
  await begun "$1" && scancel "$job" && ended "$job" CANCELLED "$1"
}
# The earliest warning that Slurm can be asked for: a minute before the end of a minute.
sbatch_signal() {
  local job; job=$(submit "infinipipe $endless $1 --metrics.path $1/metrics" --time=1 --signal=USR1@50)
  ended "$job" COMPLETED "$1"
}
sbatch_requeue() {
  local job; job=$(submit "infinipipe $longer $1 --resume")
  await saved "$1" && scontrol requeue "$job" && await in_state "$job" PENDING && ended "$job" COMPLETED "$1" &&
    [ "$(scontrol -o show job "$job" | grep -o 'Restarts=[0-9]*')" = Restarts=1 ]
}
# The script asks for more once the run was stopped, as by the warning signal.
sbatch_99() {
  local job
  job=$(submit "infinipipe $longer $1 --resume --stopped-exit-code 99
[ \$? = 99 ] && scontrol requeue \$SLURM_JOB_ID")
  await saved "$1" && scancel --signal=USR1 "$job" && await in_state "$job" PENDING && await nothing_left "$1" &&
    await in_state "$job" RUNNING && await nothing_left_after "$job" && saved "$1"
}
nothing_left_after() { ! in_state "$1" RUNNING && ! in_state "$1" COMPLETING; }
export -f submit in_state srun_kill ended scancel_job sbatch_signal sbatch_requeue sbatch_99 nothing_left_after
case "$wanted" in "  " | *" srun"* | *" sbatch"* | *" scancel "*)
  if slurm; then
    check srun srun -n 2 --cpu-bind=none infinipipe "${train[@]}" "$work/srun"
    { echo '#!/bin/bash'
      echo "srun -n 2 --kill-on-bad-exit=1 --cpu-bind=none infinipipe ${train[*]} $work/sbatch"
    } > "$work/run.sh"
    check sbatch sbatch --wait -n 2 --output "$work/slurm/job.log" "$work/run.sh"
    check srun-kill srun_kill "$work/srun-kill"
    check scancel scancel_job "$work/scancel"
    check sbatch-signal sbatch_signal "$work/sbatch-signal"
    check sbatch-requeue sbatch_requeue "$work/sbatch-requeue"
    check sbatch-99 sbatch_99 "$work/sbatch-99"
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
# In the place of ssh, which is called with a host and a line for its shell.
printf '#!/bin/sh\nshift\nexec ip netns exec infini-b unshare --uts sh -c "hostname infini-b; $*"\n' > "$work/agent"
chmod +x "$work/agent"
hosts_mpirun() {
  ip netns exec infini-a unshare --uts sh -c 'hostname infini-a; exec "$@"' sh mpirun.openmpi --allow-run-as-root \
    --mca plm_rsh_agent "$work/agent" --host 10.77.0.1:1,10.77.0.2:1 -np 2 --bind-to none \
    -x PATH -x MASTER_ADDR=10.77.0.1 "$@"
}
export -f on_both hosts_mpirun
case "$wanted" in "  " | *" hosts-"*)
  if hosts; then
    check hosts-by-hand on_both "RANK=%d WORLD_SIZE=2 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 \
      infinipipe ${train[*]} $work/hosts-by-hand"
    check hosts-torchrun on_both "$torchrun --nnodes 2 --node-rank %d \
      --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29400 --no-python \
      infinipipe ${train[*]} $work/hosts-torchrun"
    check hosts-mpirun hosts_mpirun infinipipe "${train[@]}" "$work/hosts-mpirun"
  else
    echo 'hosts: no network namespaces here'; failed=1
  fi
  ;;
esac
exit $failed
