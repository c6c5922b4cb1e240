#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: munge, a controller and a node, all in one folder.
#
#   tests/slurm/start.sh DIR [PID]    start; prints the variable that clients need. With the PID of
#                                     another process, it stops when that one ends, however it ends
#   tests/slurm/start.sh --stop DIR   stop all that was started there and remove DIR
#
# Needs root and Debian's slurm-wlm and munge (apt-get install slurm-wlm munge), and nothing of
# their configuration: key, sockets, state and logs are in DIR, ports are free ones. Nothing else of
# the machine is touched. What does not come up is stopped again.
set -euo pipefail

processes() { cat "$1"/run/*.pid 2>/dev/null || true; }

stop() {
    local folder="$1" process
    [ -f "$folder/slurm.conf" ] || { echo "$folder: no SLURM of this script" >&2; return 1; }
    export SLURM_CONF="$folder/slurm.conf"
    # Jobs first: the daemons end without them.
    timeout 10 scancel --quiet --full --signal=KILL --state=RUNNING >/dev/null 2>&1 || true
    timeout 10 scancel --quiet --user="$(id -un)" >/dev/null 2>&1 || true
    for _ in $(seq 100); do
        [ -z "$(timeout 10 squeue --noheader 2>/dev/null)" ] && break
        sleep 0.1
    done
    local all
    all="$(processes "$folder")"
    for process in $all; do kill "$process" 2>/dev/null || true; done
    for _ in $(seq 100); do
        local alive=""
        for process in $all; do kill -0 "$process" 2>/dev/null && alive=yes; done
        [ -z "$alive" ] && break
        sleep 0.1
    done
    for process in $all; do kill -9 "$process" 2>/dev/null || true; done
    rm -rf "$folder"
}

if [ "${1:-}" = --stop ]; then
    stop "$(realpath "${2:?usage: start.sh --stop DIR}")"
    exit
fi

if [ $# -ne 1 ] && [ $# -ne 2 ]; then
    echo "usage: start.sh DIR [PID], start.sh --stop DIR" >&2
    exit 2
fi
for program in slurmctld slurmd munged sinfo sbatch; do
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install slurm-wlm munge" >&2
        exit 3
    }
done
[ "$(id -u)" -eq 0 ] || { echo "root is needed to start slurmd" >&2; exit 3; }
PATH="$PATH:/usr/sbin"
if [ -e "$1" ] && [ -n "$(ls -A "$1")" ]; then
    echo "$1 exists and is not empty" >&2
    exit 3
fi
mkdir -p "$1"
folder="$(realpath "$1")"
mkdir -p "$folder"/{run,log,state,spool}

free_ports() { # two of them
    python3 - <<'PYTHON'
import socket
sockets = [socket.socket() for _ in range(2)]
for one in sockets:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))
PYTHON
}
read -r control node < <(free_ports)
name="$(hostname -s)"
memory="$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)"
cat >"$folder/slurm.conf" <<CONF
ClusterName=mixseg
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$control
SlurmdPort=$node
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its credential has expired, 120 seconds unless told.
AuthInfo=socket=$folder/run/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=20
MinJobAge=30
InactiveLimit=0
SwitchType=switch/none
NodeName=$name NodeAddr=127.0.0.1 CPUs=2 RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$name Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"

trap 'tail -n 20 "$folder"/log/*.log >&2 || true; stop "$folder"' ERR INT TERM
head -c 128 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"
# munged wants its socket where everybody may pass, and says so of all folders above.
chmod 755 "$folder" "$folder/run"
munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" \
    --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged.log" \
    --seed-file="$folder/state/munge.seed"
slurmctld -f "$SLURM_CONF" -c
slurmd -f "$SLURM_CONF" -N "$name" -c
up=""
for _ in $(seq 150); do
    if [ "$(timeout 5 sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
        up=yes
        break
    fi
    sleep 0.2
done
[ -n "$up" ] || { echo "the node did not come up" >&2; false; }
if [ -n "${2:-}" ]; then
    (
        while kill -0 "$2" && [ -d "$folder" ]; do sleep 1; done
        [ ! -d "$folder" ] || stop "$folder"
    ) </dev/null >/dev/null 2>&1 &
fi
echo "export SLURM_CONF=$SLURM_CONF"
