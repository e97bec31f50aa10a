#!/bin/sh
# Installs, from Debian or Ubuntu, the servers that tests/services starts: Ceph's S3 gateway and PostgreSQL.
# What is there already is left alone. Nothing is started and no file of the system's own is configured.
set -eu

packages=
for program in ceph-mon ceph-osd radosgw openssl; do
    command -v "$program" >/dev/null || packages="$packages $program"
done
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages="$packages postgresql"
if [ -z "$packages" ]; then
    exit 0
fi
# shellcheck source=tests/services/apt.sh
. "$(dirname "$0")/apt.sh"
# shellcheck disable=SC2086 # a list of words
apt_begin install.sh $packages
# shellcheck disable=SC2086
apt_install $packages
