#!/usr/bin/env bash
# Builds a stand-in for the public image `debian:trixie-slim` from a Debian mirror, for machines
# which reach a mirror but no registry.
#
#   docker/offline/debian/build.sh IMAGE
#
# Settings (environment): DEBIAN_SUITE, DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR, DEBIAN_DEADLINE_S.
# Exit codes: 0 built, 1 failed, 2 wrong arguments, 3 something this needs is missing.
set -Eeuo pipefail

suite="${DEBIAN_SUITE:-trixie}"
mirror="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
security_mirror="${DEBIAN_SECURITY_MIRROR:-http://security.debian.org/debian-security}"
deadline_s="${DEBIAN_DEADLINE_S:-900}"

fail() {
    local code="$1" what="$2" cure="$3"
    printf 'build.sh: %s\n%s\n' "$what" "$cure" >&2
    exit "$code"
}

check_tools() {
    command -v mmdebstrap >/dev/null \
        || fail 3 "mmdebstrap is not installed." "Install it: apt-get install -y mmdebstrap"
    command -v docker >/dev/null \
        || fail 3 "docker is not installed." "Install it: apt-get install -y docker.io"
    timeout 20 docker version >/dev/null 2>&1 \
        || fail 3 "The container engine does not answer." "Start it, then look at: docker version"
    # Ubuntu's mmdebstrap does not bring Debian's keys.
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] \
        || fail 3 "Debian's archive keys are missing." "Install them: apt-get install -y debian-archive-keyring"
}

# What Debian's own slim image does: no manuals, no foreign messages, no package cache left behind.
# Without the clean-up hook every `apt-get install` of a later layer keeps its 100 MB of packages.
bootstrap() {
    local keep_clean='rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true'
    timeout "$deadline_s" mmdebstrap \
        --variant=minbase \
        --include=ca-certificates \
        --aptopt='Acquire::Retries "3"' \
        --aptopt="DPkg::Post-Invoke { \"$keep_clean\"; }" \
        --aptopt="APT::Update::Post-Invoke { \"$keep_clean\"; }" \
        --aptopt='Dir::Cache::pkgcache ""' \
        --aptopt='Dir::Cache::srcpkgcache ""' \
        --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::GzipIndexes "true"' \
        --aptopt='Apt::AutoRemove::SuggestsImportant "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='force-unsafe-io' \
        "$suite" - \
        "deb $mirror $suite main" \
        "deb $mirror $suite-updates main" \
        "deb $security_mirror $suite-security main"
}

_main() {
    [[ $# -eq 1 && "$1" != -* ]] || fail 2 "Wrong arguments." "Usage: docker/offline/debian/build.sh IMAGE"
    local image="$1" work
    check_tools
    work="$(mktemp -d)"
    # shellcheck disable=SC2064  # the path is fixed now
    trap "rm -rf '$work'" EXIT
    echo "Bootstrapping Debian $suite from $mirror (at most $deadline_s s) ..." >&2
    # To a file first: an import fed by a pipe would tag half an image when the bootstrap dies.
    if ! bootstrap >"$work/root.tar" 2>"$work/log"; then
        tail -n 15 "$work/log" >&2
        fail 1 "Debian $suite could not be bootstrapped from $mirror." \
            "Set DEBIAN_MIRROR (and DEBIAN_SECURITY_MIRROR) to a mirror that this machine reaches, or DEBIAN_DEADLINE_S higher."
    fi
    docker import \
        --change 'CMD ["bash"]' \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change "LABEL org.opencontainers.image.title=debian-$suite-offline" \
        "$work/root.tar" "$image" >/dev/null \
        || fail 1 "The image could not be imported." "Look at the engine's log and at the free space: docker system df"
    echo "Built $image ($(du -m "$work/root.tar" | cut -f1) MB)." >&2
}

_main "$@"
