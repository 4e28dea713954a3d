#!/bin/sh
# Installs what is missing on a Debian 12 machine, and nothing when nothing is.
#
#     spec/support/install.sh build          what ./examples/quickstart needs: to build and run the gateway
#     spec/support/install.sh build test     and what ./spec/run needs on top
set -eu

build_packages="gcc libc6-dev cmake ninja-build pkg-config
    libluajit-5.1-dev libev-dev libhttp-parser-dev libyaml-dev libc-ares-dev
    libssl-dev libcrypt-dev libpcre2-dev"
test_packages="luajit lua-busted lua-filesystem lua-cjson lua-socket lua-check clang-format
    prometheus chromium chromium-driver dpkg-dev file"

wanted=""
for set in "$@"; do
    case $set in
    build) wanted="$wanted $build_packages" ;;
    test) wanted="$wanted $test_packages" ;;
    *)
        echo "install.sh: no such set of packages: $set (there are: build test)" >&2
        exit 2
        ;;
    esac
done

missing=""
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Missing:$missing" >&2
        echo "Install them as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi

echo "Installing what is missing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Debian's prometheus begins to serve when it is installed, and at each start of the machine. The tests only want its programs.
policy=/usr/sbin/policy-rc.d
case " $missing " in
*" prometheus "*)
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
        $as_root chmod 755 $policy
        trap 'rm -f "$log"; $as_root rm -f $policy; $as_root systemctl disable -q prometheus 2>/dev/null || true' EXIT
    fi
    ;;
esac
install() {
    # shellcheck disable=SC2086 # a list
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing </dev/null >"$log" 2>&1
}
# A machine whose package lists are old or were never fetched needs an update first; one that is up to date is spared it.
if ! install; then
    if ! { $as_root apt-get update -q </dev/null >"$log" 2>&1 && install; }; then
        cat "$log" >&2
        echo "install.sh: apt-get failed (above)" >&2
        exit 1
    fi
fi
