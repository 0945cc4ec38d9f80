#!/usr/bin/env bash
# Starts PostgreSQL with the contract of the public image: variables, first boot, then the server.
# What a first boot does is in first-boot.sh.
# Exit codes: 1 failed, 3 something the operator has to set or repair.
set -Eeuo pipefail

# shellcheck source=docker/offline/postgresql/first-boot.sh
source "$(dirname "${BASH_SOURCE[0]}")/first-boot.sh"

log() { printf '%s postgresql: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }

fail() {
    local code="$1" what="$2" cure="$3"
    log "ERROR: $what"
    log "$cure"
    exit "$code"
}

# file_env NAME [DEFAULT]: NAME, or the content of the file named by NAME_FILE, is exported as NAME.
file_env() {
    local name="$1" default="${2:-}" file="${1}_FILE"
    local value="$default"
    if [[ -n "${!name:-}" && -n "${!file:-}" ]]; then
        fail 3 "Both $name and $file are set." "Set one of them."
    elif [[ -n "${!name:-}" ]]; then
        value="${!name}"
    elif [[ -n "${!file:-}" ]]; then
        value="$(<"${!file}")" || fail 3 "$file names ${!file}, which cannot be read." "Check the path and its mode."
    fi
    export "$name"="$value"
    unset "$file"
}

load_environment() {
    file_env POSTGRES_PASSWORD
    file_env POSTGRES_USER postgres
    file_env POSTGRES_DB "$POSTGRES_USER"
    file_env POSTGRES_INITDB_ARGS
    export POSTGRES_HOST_AUTH_METHOD="${POSTGRES_HOST_AUTH_METHOD:-}"
    [[ -z "${POSTGRES_INITDB_WALDIR:-}" ]] \
        || fail 3 "POSTGRES_INITDB_WALDIR is not supported by this image." "Unset it, or use the public image postgres:17."
}

prepare_directories() {
    mkdir -p "$PGDATA" /var/run/postgresql
    [[ "$(id -u)" == 0 ]] || return 0
    # As the public image does at every start: a volume restored by root gets its owner back.
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    # `|| true`: a mount which does not know modes (some network volumes) is no reason to stop.
    chmod 0700 "$PGDATA" || true
    chmod 3775 /var/run/postgresql || true
}

wants_help() {
    local argument
    for argument; do
        case "$argument" in
            -'?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

_main() {
    [[ "${1:-}" != -* ]] || set -- postgres "$@"
    if [[ "${1:-}" == postgres ]] && ! wants_help "$@"; then
        load_environment
        prepare_directories
        if [[ "$(id -u)" == 0 ]]; then
            exec setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all "${BASH_SOURCE[0]}" "$@"
        fi
        first_boot "$@"
        # The server has no use for it; what a session starts (COPY FROM PROGRAM) must not see it.
        unset POSTGRES_PASSWORD
    fi
    exec "$@"
}

_is_sourced() { [[ "${BASH_SOURCE[0]}" != "$0" ]]; }
_is_sourced || _main "$@"
