#!/bin/sh
# FRR, strongSwan, nft and iproute2 in an Alpine root: those of the Debian around it (/debian), each run by its own loader.
# Alpine's packages of them cannot be had without a mirror; its init, shell, libc and kernel are what is tried here.
set -eu

debian=/debian
libraries=$debian/usr/lib/x86_64-linux-gnu
path=$libraries:$libraries/frr:$debian/usr/lib/ipsec:$libraries/systemd

wrap() { # wrap INSIDE OUTSIDE
    [ -e "$debian$2" ] || return 0
    mkdir -p "$(dirname "$1")"
    rm -f "$1"
    printf '#!/bin/sh\nexec %s --argv0 %s --library-path %s %s "$@"\n' \
        "$libraries/ld-linux-x86-64.so.2" "$1" "$path" "$debian$2" >"$1"
    chmod 755 "$1"
}

for daemon in mgmtd zebra staticd bgpd nhrpd; do wrap "/usr/lib/frr/$daemon" "/usr/lib/frr/$daemon"; done
wrap /usr/lib/ipsec/charon /usr/lib/ipsec/charon
wrap /usr/bin/vtysh /usr/bin/vtysh
wrap /usr/sbin/swanctl /usr/sbin/swanctl
wrap /usr/bin/pki /usr/bin/pki
wrap /usr/sbin/nft /usr/sbin/nft
wrap /usr/sbin/ip /usr/bin/ip
wrap /usr/bin/setpriv /usr/bin/setpriv
wrap /usr/bin/ping /usr/bin/ping
for program in unshare nsenter; do wrap /usr/bin/$program /usr/bin/$program; done
rm -f /bin/setpriv /bin/ping /sbin/ip
ln -sfn "$debian/usr/lib/ipsec/plugins" /usr/lib/ipsec/plugins
ln -sfn "$libraries" /usr/lib/x86_64-linux-gnu
ln -sfn "$libraries" /lib/x86_64-linux-gnu
# vtysh asks PAM who is allowed to use it.
mkdir -p /etc/pam.d
printf 'auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n' >/etc/pam.d/frr
cp /etc/pam.d/frr /etc/pam.d/other
cp -r $debian/etc/strongswan.conf $debian/etc/strongswan.d $debian/etc/swanctl /etc/ 2>/dev/null || true
for group in frr frrvty; do addgroup -S $group 2>/dev/null || true; done
adduser -S -D -H -h /run/frr -s /sbin/nologin -G frr -g frr frr 2>/dev/null || true
adduser frr frrvty 2>/dev/null || true
