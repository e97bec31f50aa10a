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
# shellcheck source=tests/services/apt.sh
. "$(dirname "$0")/apt.sh"
# shellcheck disable=SC2086 # a list of words
apt_begin install_docker.sh $packages
# Newer releases have BuildKit in a package of its own.
apt-cache show docker-buildx >/dev/null 2>&1 && packages="$packages docker-buildx"
# shellcheck disable=SC2086
apt_install $packages
