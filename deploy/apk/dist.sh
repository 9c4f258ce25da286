#!/bin/sh
# dist.sh FOLDER URL [MAINTAINER]: write the release, which is a reproducible tarball of the current commit and the recipe
# of the Alpine package. `abuild` needs nothing else.
set -eu

die() {
	echo "dist: $*" >&2
	exit 1
}

folder=${1:?the folder to write to}
url=${2:-}
maintainer=${3:-"$(git config user.name || true) <$(git config user.email || true)>"}
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
case $url in
http://* | https://*) ;;
*) die "URL is '$url': the package must name the project's address; make dist URL=https://..." ;;
esac
case $maintainer in
?*" <"?*@?*">") ;;
*) die "MAINTAINER is '$maintainer': set git's user.name and user.email, or make dist MAINTAINER='Name <address>'" ;;
esac
[ -z "$(git -C "$checkout" status --porcelain --untracked-files=no)" ] || die "some changes are not committed"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$checkout/pyproject.toml")
recipe=$checkout/deploy/apk
grep -qx "pkgver=$version" "$recipe/APKBUILD" || die "pkgver of APKBUILD is not $version, which is in pyproject.toml"
name=dmvpn-agent-$version

mkdir -p "$folder"
git -C "$checkout" archive --format=tar --prefix="$name/" HEAD | gzip -n9 >"$folder/$name.tar.gz"
cp "$recipe/dmvpn-agent.pre-install" "$recipe/dmvpn-agent.post-install" "$folder/"
{
	echo "# Maintainer: $maintainer"
	cat "$recipe/APKBUILD"
	echo
	echo "url=\"$url\""
	echo
	echo "sha512sums=\""
	(cd "$folder" && sha512sum "$name.tar.gz")
	echo "\""
} >"$folder/APKBUILD"
echo "dist: $folder/$name.tar.gz, and the recipe of the Alpine package next to it"
