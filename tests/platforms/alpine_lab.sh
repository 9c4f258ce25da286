#!/bin/sh
# alpine_lab.sh: in the VM, run by OpenRC at the end of its boot: a hub whose services OpenRC starts, and a spoke, on
# Alpine's kernel. What it prints and the lab's report go to the share; then the VM ends.
modprobe -a 9p 9pnet_virtio
mkdir -p /debian /share
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /debian
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /share
exec >/share/lab.log 2>&1
uname -srv
cd /root/dmvpn-agent || exit
sh tests/platforms/alpine_daemons.sh
install -m 755 tests/platforms/openrc/* /etc/init.d/
modprobe -a ip_gre esp4 xfrm_user nfnetlink_log nf_tables nft_log nft_limit veth bridge
PYTHONPATH=deploy/lab python3 -m dmvpn_lab alpine --result /root/result
status=$?
cp -r /root/result /share/
echo $status >/share/status
poweroff -f
