#!/bin/sh
# Runs its arguments where nothing but the loopback exists: in a network namespace of their own, as root or not.
# They also get a process namespace, so that no server outlives them, and a /proc of it, where each finds itself and its
# children by their numbers.
export PATH="$PATH:/usr/sbin:/sbin"
if unshare --net ip link set lo up 2>/dev/null; then user=; else user='--user --map-root-user'; fi
# The shell stays as the first process: it reaps orphans, which a test runner in its place would not.
exec unshare $user --net --pid --mount-proc --fork --kill-child sh -c 'ip link set lo up && "$@"' sh "$@"
