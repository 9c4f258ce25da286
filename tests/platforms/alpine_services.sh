#!/bin/sh
# alpine_services.sh: OpenRC's view of the services, with init as process 1. Run by openrc at the end of the boot (local.d);
# writes what it finds to /result, and powers off. Each check is one line, and the status that of the first that fails.
set -u

event_socket=/run/dmvpn-agent/nhrp.sock
failed=0

check() { # check WHAT COMMAND...
    what=$1
    shift
    if "$@" >>/result/detail 2>&1; then echo "ok: $what"; else echo "FAILED: $what ($*)"; failed=1; fi
}

listens() { awk -v path="$1" '$4 == "00010000" && $8 == path { found = 1 } END { exit !found }' /proc/net/unix; }
pid_of() { pgrep -o -u dmvpn-agent -f "dmvpn-agent $1 "; }
has() { grep -q "$2" "/proc/$(pid_of "$1")/status"; }
same_bridge() { [ "$(pid_of bridge)" = "$bridge" ]; }
newer_agent() { [ "$(pid_of run)" != "$agent" ]; }
refused() { ! "$@"; }
in_order() { # the services started in this order
    for service in dmvpn-bridge dmvpn-agent; do rc-service "$service" status || return 1; done
    [ "$(stat -c %Y /run/dmvpn-agent/charon.vici)" -le "$(stat -c %Y $event_socket)" ]
}

{
    check "the boot started both services" in_order
    check "the agent listens" listens $event_socket
    check "the bridge listens" listens /run/dmvpn-agent/charon.vici
    check "nhrpd's path leads to the bridge" [ "$(readlink -f /run/charon.vici)" = /run/dmvpn-agent/charon.vici ]
    check "the agent may set up nftables, and nothing else" has run '^CapEff:.0000000000001000$'
    check "the bridge may send raw packets, and nothing else" has bridge '^CapEff:.0000000000002000$'
    check "neither gains privileges by a program" has run '^NoNewPrivs:.1$'
    check "neither gains privileges by a program, nor the bridge" has bridge '^NoNewPrivs:.1$'
    rc-service dmvpn-agent stop >>/result/detail 2>&1
    check "a stopped agent takes its socket away" refused [ -e $event_socket ]
    check "started means that it listens" sh -c "rc-service dmvpn-agent start && awk -v path=$event_socket \
        '\$4 == \"00010000\" && \$8 == path { found = 1 } END { exit !found }' /proc/net/unix"
    agent=$(pid_of run)
    check "a reload keeps the process" rc-service dmvpn-agent reload
    check "a reload keeps the process id" [ "$(pid_of run)" = "$agent" ]
    bridge=$(pid_of bridge)
    check "the bridge is upgraded" rc-service dmvpn-bridge upgrade
    check "the upgraded bridge is the same process" same_bridge
    cp /etc/dmvpn-agent/agent.toml /tmp/good.toml
    echo 'nonsense = 1' >/etc/dmvpn-agent/agent.toml
    check "a reload with a broken configuration is refused" refused rc-service dmvpn-agent reload
    check "a restart with a broken configuration is refused" refused rc-service dmvpn-agent restart
    check "what ran goes on" [ "$(pid_of run)" = "$agent" ]
    cp /tmp/good.toml /etc/dmvpn-agent/agent.toml
    kill -9 "$agent"
    for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; newer_agent && listens $event_socket && break; done
    check "a killed agent is started again" newer_agent
    check "and listens" listens $event_socket
    check "doctor runs" sh -c "dmvpn-agent doctor --config /etc/dmvpn-agent/agent.toml; [ \$? -le 2 ]"
} >/result/checks
echo $failed >/result/status
poweroff -f
