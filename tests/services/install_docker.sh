#!/bin/sh
# Installs, from Debian or Ubuntu, Docker with BuildKit, and debootstrap, which makes a base image where no registry is
# reached. What is there already is left alone, and no daemon is started.
set -eu

packages=
builds=
IFS=:
for folder in $PATH; do
    if [ -x "$folder/docker" ] && DOCKER_BUILDKIT=1 "$folder/docker" build --help 2>/dev/null | grep -q -e --secret; then
        builds=yes
    fi
done
unset IFS
if [ -z "$builds" ] || ! command -v dockerd >/dev/null; then
    packages=docker.io
fi
command -v debootstrap >/dev/null || packages="$packages debootstrap"
if [ -z "$packages" ]; then
    exit 0
fi
command -v apt-get >/dev/null || { echo "install_docker.sh: missing: $packages, and there is no apt-get" >&2; exit 1; }

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "install_docker.sh: run as root, or install sudo" >&2; exit 1; }
    as_root=sudo
fi

# The package would start the daemon on installation; the tests start their own where none runs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    trap '$as_root rm -f "$policy"' EXIT
    $as_root chmod +x "$policy"
fi
$as_root apt-get update -qq
# Newer releases have BuildKit in a package of its own.
apt-cache show docker-buildx >/dev/null 2>&1 && packages="$packages docker-buildx"
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq --yes --no-install-recommends $packages
