#!/bin/sh
# Runs its arguments where all packets leave by one interface, prints what they print, and then how many packets left by
# that interface. Nothing answers there: the name server has an address that does not exist, and the system itself knows no
# name, not even localhost.
export PATH="$PATH:/usr/sbin:/sbin"
if unshare --net true 2>/dev/null; then user=; else user='--user --map-root-user'; fi
exec unshare $user --net --mount --pid --fork --kill-child --mount-proc sh -c '
set -e
echo "nameserver 192.0.2.53" > "$0/resolv.conf"
mount --bind "$0/resolv.conf" /etc/resolv.conf
: > "$0/hosts"
mount --bind "$0/hosts" /etc/hosts
ip link set lo up
ip link add out type veth peer name sink
echo 1 > /proc/sys/net/ipv6/conf/out/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/sink/disable_ipv6
ip address add 192.0.2.2/24 dev out
ip link set out up
ip link set sink up
ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev out nud permanent
for last in 53 80; do ip neighbour add 192.0.2.$last lladdr 02:00:00:00:00:01 dev out nud permanent; done
ip route add default via 192.0.2.1
sent() { ip -s -j link show out | sed "s/.*\"tx\":{[^}]*\"packets\":\([0-9]*\).*/\1/"; }
before=$(sent)
"$@"
echo "packets: $(($(sent) - before))"' "$@"
