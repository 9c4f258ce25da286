#!/bin/sh
# alpine_package.sh build|check|package: a function of deploy/apk/APKBUILD as abuild calls it; then, of `package`, a real
# package by apk itself, installed with empty stubs for what it depends on.
set -eu

# shellcheck source=deploy/apk/APKBUILD
. deploy/apk/APKBUILD
scripts=$PWD/deploy/apk
made=/tmp/made
pkgdir=$made/$pkgname
mkdir -p "$pkgdir"

stub() { # a package that has nothing but a name
    mkdir -p "$made/empty"
    apk mkpkg --files "$made/empty" --info "name:$1" --info version:1-r0 --info arch:noarch --output "$made/$1.apk"
}

case $1 in
build | check)
    "$1"
    ;;
package)
    package
    for name in $depends; do stub "$name"; done
    # shellcheck disable=SC2086  # one word a dependency
    apk mkpkg --files "$pkgdir" --info "name:$pkgname" --info "version:$pkgver-r$pkgrel" --info "arch:$arch" \
        --info "depends:$(echo $depends)" --output "$made/$pkgname.apk" \
        --script "pre-install:$scripts/$pkgname.pre-install" --script "post-install:$scripts/$pkgname.post-install"
    apk add --allow-untrusted --no-network --repositories-file /dev/null "$made"/*.apk
    # Alpine's own Python is in /usr; this root's came from a container image and is in /usr/local.
    [ -e /usr/bin/dmvpn-agent ] || ln -s /usr/local/bin/dmvpn-agent /usr/bin/dmvpn-agent
    id dmvpn-agent
    /usr/bin/dmvpn-agent --help >/dev/null
    test -d /etc/dmvpn-agent/crl # the agent's policy names it; a directory that is missing is a problem in its log
    test -x /etc/init.d/dmvpn-agent && test -x /etc/init.d/dmvpn-bridge
    ;;
esac
