#!/bin/sh
# Install what the lab and the tests need: Debian's packages by apt, Alpine's by apk, Python's into .venv of the checkout.
# Says what it installs (prometheus for promtool and Alertmanager for amtool, which check the alerts). A second run finds its stamp and ends at once.
# With the argument `tests` only what some tests need besides, on Debian: a browser for the page, shells for the completion.
set -eu

checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
venv=$checkout/.venv
for_tests=${1:-}
stamp=$venv/.set-up${for_tests:+-$for_tests}
want=$(cat "$checkout/pyproject.toml" "$0" | cksum)

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: needs root: it installs system packages; run it again with sudo or as root" >&2
    exit 1
fi

say() { echo "setup: $*"; }

# Whether this kernel can do without a VM; the same probes are in dmvpn_lab/kernel.py.
has_gre_and_esp() {
    unshare --net sh -c "ip link add probe type gre local 192.0.2.1 key 1 &&
        ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 256 mode transport reqid 1 \
            aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128" >/dev/null 2>&1
}

debian_lacks() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf ' %s' "$package"
    done
}

debian_install() {
    missing=$(debian_lacks "$@")
    [ -n "$missing" ] || return 0
    say "installing with apt:$missing"
    if [ -z "${updated:-}" ]; then
        apt-get -qq update || say "apt-get update failed; going on with the lists that are there"
        updated=yes
    fi
    # shellcheck disable=SC2086  # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
    # If they were installed only now, for the lab, they must not start with the machine either.
    for service in frr prometheus prometheus-alertmanager; do
        case "$missing " in
        *" $service "*) ! command -v systemctl >/dev/null || systemctl --quiet disable "$service" 2>/dev/null || true ;;
        esac
    done
}

# The packages' services must not start: the lab runs its own daemons, and the machine's routing is left alone.
deny_services() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
}

# Debian has charon in two packages, and installing one removes the other: what is there is left alone.
debian_charon() {
    if [ -z "$(debian_lacks charon-systemd)" ]; then echo charon-systemd; else echo strongswan-charon; fi
}

debian() {
    deny_services
    debian_install frr "$(debian_charon)" strongswan-swanctl strongswan-pki libstrongswan-standard-plugins libcharon-extra-plugins nftables iptables iproute2 \
        iputils-ping procps util-linux make python3 python3-venv prometheus prometheus-alertmanager shellcheck curl openssl
    strongswan_curl_plugin
    if ! has_gre_and_esp; then
        say "this kernel has no GRE or no ESP: the lab will use a VM"
        debian_install linux-image-amd64 qemu-system-x86 busybox-static cpio kmod file
    fi
}

# The tests of enrolment need it for pki. Its package is unpacked and not installed: charon would load the others in it.
strongswan_curl_plugin() {
    mkdir -p "$venv/strongswan-extra"
    if ! (cd "$venv/strongswan-extra" && apt-get -qq download libstrongswan-extra-plugins && dpkg -x ./*.deb . &&
        rm ./*.deb) 2>/dev/null; then
        say "libstrongswan-extra-plugins cannot be downloaded: the tests with strongSwan's pki will be skipped"
    fi
}

alpine() {
    set -- frr strongswan nftables iptables iptables-legacy iproute2 iputils-ping procps-ng util-linux-misc setpriv make python3 py3-pip \
        prometheus shellcheck
    say "installing with apk: $*"
    apk add --quiet "$@"
    if ! has_gre_and_esp; then
        say "this kernel has no GRE or no ESP: the lab will use a VM"
        apk add --quiet linux-lts qemu-system-x86_64 busybox-static cpio kmod file
    fi
}

# The system's python3 first: one that is on the PATH may be a manager's shim without venv.
find_python() {
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "setup: no Python of version 3.11 or later with venv is here" >&2
    exit 1
}

if [ "$for_tests" = tests ]; then
    if [ -e /etc/debian_version ]; then
        deny_services
        debian_install chromium zsh fish || true
        if [ -n "$(debian_lacks chromium zsh fish)" ]; then
            say "not all of them can be installed: some tests will be skipped"
            exit 0
        fi
    fi
    echo "$want" >"$stamp"
    exit 0
fi

if [ -e /etc/debian_version ]; then
    debian
elif [ -e /etc/alpine-release ]; then
    alpine
else
    say "neither Debian nor Alpine: install FRR, strongSwan with swanctl, nftables, iproute2, ping and Python by hand"
fi

[ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
say "installing with pip into $venv: the package and its development tools"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "${checkout}[dev]"
# A VM sees the checkout read-only, so what can be compiled is compiled here.
"$venv/bin/python" -m compileall -q "$checkout/agent" "$checkout/deploy/lab" "$venv"/lib/python3*/site-packages >/dev/null || true
echo "$want" >"$stamp"
say "done"
