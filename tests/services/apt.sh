#!/bin/sh
# To be read by the scripts beside it, which install by apt-get. Nothing happens where this is read.

# Makes ready for apt_install, or says what is missing where that cannot be.   apt_begin SCRIPT PACKAGE...
apt_begin() {
    script=$1
    shift
    command -v apt-get >/dev/null || { echo "$script: missing: $*, and there is no apt-get" >&2; exit 1; }
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "$script: run as root, or install sudo" >&2; exit 1; }
        as_root=sudo
    fi
    # Packages would start their services on installation; the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        trap '$as_root rm -f "$policy"' EXIT
        $as_root chmod +x "$policy"
    fi
    $as_root apt-get update -qq
}

# Installs packages, without those they only recommend.   apt_install PACKAGE...
apt_install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@"
}
