#!/bin/sh
# Let a lock decide which machine is active. On each machine, at boot, `gwctl up --paused`; then, from a service manager
# that starts it again whenever it ends, this script with the program that takes the lock. docs/how-to/pause-and-standby.md
# has what happens when one of them is lost.
#   sh standby.sh etcdctl lock --ttl=60 gwctl-default
#   sh standby.sh consul lock -shell=false gwctl/default
#   sh standby.sh flock /shared/gwctl.lock
# It pauses the session and waits for the lock; has the session active while the lock is held; and pauses again.
set -u

if [ "$#" -gt 0 ]; then
  # Whatever ended the script before, even kill -9: a machine without the lock is paused. On a full disk, stopped.
  gwctl -q pause --reason "this machine is the standby" || gwctl -q down || exit
  export STANDBY_HOLDER=$$ # `exec` keeps the number
  exec "$@" sh "$0"
fi

CHECK_S=5
UNANSWERED=3 # times in a row that etcd may not answer: 25 s at most, within --ttl=60
unanswered=0 work= nap=
# The program that holds the lock can be killed without us. It is our parent, or a shell stands between, as Consul's may.
holder=${STANDBY_HOLDER:?name the program that takes the lock}

is_ours() {
  kill -0 "$holder" 2>/dev/null || return 1
  # `etcdctl lock` goes on when its lock is lost, and does not end us.
  [ -n "${ETCD_LOCK_KEY:-}" ] || return 0
  if found=$(etcdctl --command-timeout=3s get --keys-only "$ETCD_LOCK_KEY" 2>/dev/null); then
    unanswered=0
    [ -n "$found" ]
  else
    unanswered=$((unanswered + 1))
    [ "$unanswered" -lt "$UNANSWERED" ]
  fi
}

give_away() {
  trap '' HUP INT TERM
  # These have inherited the lock of flock, so they must not outlive the script.
  for one in $work $nap; do kill "$one" 2>/dev/null; done
  gwctl -q pause --reason "this machine is the standby" || gwctl -q down
}
trap give_away EXIT
trap 'exit 0' HUP INT TERM

verb=resume
while :; do
  # Again and again: a supervisor that was started again is paused, and `up` starts one that is gone.
  gwctl -q "$verb" --timeout 50 >/dev/null &
  work=$!
  checks=12
  while [ "$checks" -gt 0 ]; do
    sleep "$CHECK_S" &
    nap=$!
    wait "$nap"
    is_ours || {
      echo "standby.sh: the lock is lost, or cannot be seen" >&2
      exit 1
    }
    checks=$((checks - 1))
  done
  wait "$work" || {
    echo "standby.sh: no session yet; see: gwctl status" >&2
    [ "$verb" = up ] || { verb=up && continue; }
  }
  verb=resume
done
