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
command -v apt-get >/dev/null || { echo "install.sh: missing:$packages, and there is no apt-get" >&2; exit 1; }

as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "install.sh: run as root, or install sudo" >&2; exit 1; }
    as_root=sudo
fi

# The packages would start system services on installation; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    trap '$as_root rm -f "$policy"' EXIT
    $as_root chmod +x "$policy"
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq --yes --no-install-recommends $packages
