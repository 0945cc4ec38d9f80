#!/usr/bin/env bash
# The first boot of the PostgreSQL stand-in; sourced by docker-entrypoint.sh.
#
# All of it (initdb, database, init scripts) happens in $PGDATA/.first-boot. Only when it is done
# and on disk do its entries move up, PG_VERSION last. So a directory holds PG_VERSION if and only
# if its first boot was completed: a boot cut off at any step leaves none, no image of PostgreSQL
# starts on the rest, and the next start clears it and begins again. PGDATA itself is a mount point,
# which cannot be renamed.
# Uses from the entrypoint: log, fail.

first_boot() {
    if [[ -s "$PGDATA/PG_VERSION" ]]; then
        log "the data in $PGDATA are there: first boot is skipped"
        return 0
    fi
    require_password
    clear_interrupted
    local final="$PGDATA" work="$PGDATA/.first-boot"
    mkdir -m 0700 "$work"
    # Init scripts find the directory in PGDATA, as with the public image.
    export PGDATA="$work"
    create_cluster
    start_temporary_server "$@"
    create_database
    run_init_scripts
    stop_temporary_server
    export PGDATA="$final"
    publish "$work" "$final"
    log "first boot is complete"
}

require_password() {
    if [[ "$POSTGRES_HOST_AUTH_METHOD" == trust ]]; then
        log "WARNING: POSTGRES_HOST_AUTH_METHOD=trust: anybody who reaches the port is let in without a password"
    elif [[ -z "$POSTGRES_PASSWORD" ]]; then
        fail 1 "Database is uninitialized and superuser password is not specified." \
            "Set POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE) to a non-empty value."
    fi
}

# Clears what an interrupted first boot left; stops at anything else that is not empty.
clear_interrupted() {
    if [[ -d "$PGDATA/.first-boot" ]]; then
        log "an earlier first boot was cut off: clearing $PGDATA and starting again"
        # .first-boot goes last: it is the mark which says that the rest may be cleared.
        find "$PGDATA" -mindepth 1 -maxdepth 1 \! -name .first-boot \! -name lost+found -exec rm -rf '{}' +
        sync "$PGDATA"
        rm -rf "$PGDATA/.first-boot"
    fi
    local other
    other="$(find "$PGDATA" -mindepth 1 -maxdepth 1 \! -name lost+found -print -quit)"
    [[ -z "$other" ]] \
        || fail 3 "$PGDATA is not empty ($(basename "$other"), ...) but holds no database (no PG_VERSION). Nothing was changed." \
            "Mount an empty volume, or restore the data into this one."
}

create_cluster() {
    # Word splitting is the contract of POSTGRES_INITDB_ARGS; xargs honours quotes in it.
    local -a extra=()
    if [[ -n "$POSTGRES_INITDB_ARGS" ]]; then
        mapfile -d '' -t extra < <(xargs -r printf '%s\0' <<<"$POSTGRES_INITDB_ARGS")
    fi
    local auth="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}"
    # initdb refuses an empty password file: with "trust" there may be no password.
    [[ -z "$POSTGRES_PASSWORD" ]] || extra=(--pwfile=/dev/fd/3 "${extra[@]}")
    initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" "${extra[@]}" 3<<<"$POSTGRES_PASSWORD"
    printf '\n# from other containers and hosts\nhost all all all %s\n' "$auth" >>"$PGDATA/pg_hba.conf"
}

# start_temporary_server [postgres ARGUMENT...]: reachable by its socket alone.
start_temporary_server() {
    local arguments
    shift # "postgres"
    arguments="$(printf ' %q' "$@" -c listen_addresses= -p "${PGPORT:-5432}")"
    pg_ctl --pgdata="$PGDATA" --wait --timeout=300 --options="$arguments" start \
        || fail 1 "The server of the first boot did not start." "Its log is above; the next start tries again."
}

stop_temporary_server() {
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait --timeout=300 stop \
        || fail 1 "The server of the first boot did not stop." "Its log is above; the next start tries again."
}

# docker_process_sql [psql ARGUMENT...]: init scripts which are sourced may use it too.
docker_process_sql() {
    local -a database=()
    [[ -z "${POSTGRES_DB:-}" ]] || database=(--dbname "$POSTGRES_DB")
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc \
        --username "$POSTGRES_USER" "${database[@]}" "$@"
}

create_database() {
    [[ "$POSTGRES_DB" != postgres ]] || return 0
    docker_process_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
}

run_init_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sh)
                log "running $script"
                if [[ -x "$script" ]]; then
                    "$script"
                else
                    # shellcheck disable=SC1090  # the operator's script
                    source "$script"
                fi
                ;;
            *.sql) log "running $script" && docker_process_sql -f "$script" ;;
            *.sql.gz) log "running $script" && gunzip -c "$script" | docker_process_sql ;;
            *.sql.xz) log "running $script" && xzcat "$script" | docker_process_sql ;;
            *.sql.zst) log "running $script" && zstd -dc "$script" | docker_process_sql ;;
            */\*) ;;
            *) log "ignoring $script" ;;
        esac
    done
}

# publish WORK FINAL: moves the finished cluster up, PG_VERSION last, each step on disk.
publish() {
    local work="$1" final="$2" file
    rm -f "$work/postmaster.opts"
    # A script may have written the directory's name into a setting.
    for file in postgresql.conf postgresql.auto.conf pg_hba.conf pg_ident.conf; do
        sed -i "s|$work|$final|g" "$work/$file"
    done
    sync --file-system "$work"
    find "$work" -mindepth 1 -maxdepth 1 \! -name PG_VERSION -exec mv --target-directory="$final" '{}' +
    sync "$work" "$final"
    mv "$work/PG_VERSION" "$final/PG_VERSION"
    sync "$work" "$final"
    rmdir "$work"
}
