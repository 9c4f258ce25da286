#!/bin/sh
# alpine_boot.sh: boot the root with its own init and OpenRC, in namespaces, with the packaged services in the default
# runlevel; at the end of the boot alpine_services.sh looks at them. The configuration is the shipped one of a hub.
set -eu

here=$(dirname "$0")
rm -rf /result
mkdir -p /result
mkdir -p /etc/swanctl/x509ca
sed -e 's|@TUNNEL_NETWORK@|10.255.0.0/24|; s|@ALLOWED_NETWORK@|192.168.0.0/16|; s|@AS_NUMBER@|65000|' \
    deploy/agent.hub.toml >/etc/dmvpn-agent/agent.toml
# What belongs to a machine of its own: these would set clocks, modules and devices of the machine around it.
for service in boot/hwclock boot/modules boot/sysctl boot/networking sysinit/devfs sysinit/dmesg; do
    rm -f "/etc/runlevels/$service"
done
sed -i 's/^#\{0,1\}rc_sys=.*/rc_sys="lxc"/' /etc/rc.conf
cp "$here/alpine_services.sh" /etc/local.d/services.start
chmod 755 /etc/local.d/services.start
for service in dmvpn-bridge dmvpn-agent local; do rc-update add "$service" default; done
timeout 120 unshare -n -m -p -f --mount-proc /sbin/init </dev/null || true
echo
cat /result/checks /result/detail
[ "$(cat /result/status)" = 0 ]
