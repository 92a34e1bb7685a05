#!/usr/bin/env bash
# What a user would take instead: the same work done by PostgreSQL, on this machine, as durably.
#
# Installs nothing. Finds a PostgreSQL 15 or newer, starts a private server in a temporary directory, which is reached
# over a unix socket alone, and gives it three workloads by pgbench, prepared:
#
#   transfers   2 updates + 1 insert in a transaction, 8, 32 and 64 clients
#   deposits    1 update + 1 insert in a transaction, 8, 32 and 64 clients
#   bulk        1,000 deposits in one statement, sent as a parameter, 1 client, and 4 with accounts of their own
#
# Where there was a choice PostgreSQL has the faster one: ids are numbers, a transaction is one round trip (a pipeline),
# and there is room for the whole log between checkpoints. At the end the balances must be what the journal says.
# fsync and synchronous_commit are on. The server and its directory are gone when this ends, also after Ctrl-C.
#
# Exit codes: 0 done, 1 something failed, 2 bad usage, 69 no PostgreSQL 15 or newer here.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: benches/postgres.sh [OPTIONS]
  --seconds COUNT    how long each run takes [5]
  --runs COUNT       how many runs are counted; the median is the result [5]
  --accounts COUNT   accounts that the work is scattered over [10000]
  --only LIST        of transfers,deposits,bulk [all three]
  --dir DIR          where the server's directory is made and removed [$TMPDIR, or /tmp]
  --pg-bin DIR       the programs of the PostgreSQL to take [the newest that is found]
  --output FORMAT    table or json [table]
TEXT
}

NONE_HERE=69
OPENING=1000000
BULK=1000
BULK_CLIENTS=4
WARM_UP_SECONDS=1

fail() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }
say() { printf '%s\n' "$1" >&2; }

# --- what is asked for

seconds=5 runs=5 accounts=10000 only=transfers,deposits,bulk dir=${TMPDIR:-/tmp} pg_bin='' output=table

count() { [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || fail "$1: give a whole number from 1 on, not '$2'" 2; }

while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --seconds | --runs | --accounts | --only | --dir | --pg-bin | --output) ;;
        *) usage >&2; fail "unknown option '$1'" 2 ;;
    esac
    [ $# -ge 2 ] || fail "$1 takes a value" 2
    case $1 in
        --seconds) count "$1" "$2"; seconds=$2 ;;
        --runs) count "$1" "$2"; runs=$2 ;;
        --accounts) count "$1" "$2"; accounts=$2 ;;
        --only) only=$2 ;;
        --dir) dir=$2 ;;
        --pg-bin) pg_bin=$2 ;;
        --output) output=$2 ;;
    esac
    shift 2
done
case $output in table | json) ;; *) fail "--output: table or json, not '$output'" 2 ;; esac
[ -d "$dir" ] || fail "--dir: $dir is no directory" 2
[ "$accounts" -ge "$BULK_CLIENTS" ] || fail "--accounts: at least $BULK_CLIENTS" 2

workloads=()
IFS=, read -ra names <<<"$only"
for name in "${names[@]}"; do
    case $name in
        transfers) workloads+=(transfers:8 transfers:32 transfers:64) ;;
        deposits) workloads+=(deposits:8 deposits:32 deposits:64) ;;
        bulk) workloads+=(bulk:1 "bulk:$BULK_CLIENTS") ;;
        *) fail "--only: transfers, deposits or bulk, not '$name'" 2 ;;
    esac
done
[ ${#workloads[@]} -gt 0 ] || fail "--only: name at least one" 2

# --- the PostgreSQL of this machine

# The version of the programs in a directory, such as 15.4; nothing where one is missing.
version_in() {
    local program
    for program in initdb pg_ctl pgbench postgres psql; do
        [ -x "$1/$program" ] || return 0
    done
    "$1/postgres" --version | sed -n 's/^[^0-9]*\([0-9][0-9.]*\).*/\1/p'
}

candidates() {
    if [ -n "$pg_bin" ]; then
        printf '%s\n' "$pg_bin"
        return
    fi
    if command -v pg_config >/dev/null; then pg_config --bindir; fi
    if command -v postgres >/dev/null; then dirname "$(command -v postgres)"; fi
    printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /usr/local/bin /usr/bin
}

bin='' version=''
while read -r candidate; do
    found=$(version_in "$candidate")
    if [ -z "$found" ] || [ "${found%%.*}" -lt 15 ]; then continue; fi
    if [ -z "$version" ] || [ "${found%%.*}" -gt "${version%%.*}" ]; then
        bin=$candidate version=$found
    fi
done < <(candidates)
[ -n "$bin" ] || fail "no PostgreSQL 15 or newer with pgbench here; install one, or say --pg-bin DIR" "$NONE_HERE"

# --- a private server

# PostgreSQL does not run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    for user in postgres nobody; do
        if id "$user" >/dev/null 2>&1; then break; fi
    done
    id "$user" >/dev/null 2>&1 || fail "PostgreSQL does not run as root, and there is no user postgres or nobody"
    as=(runuser -u "$user" --)
fi
# ${as[@]+…}: an empty list is unset to an older bash.
as_user() { (cd / && exec ${as[@]+"${as[@]}"} "$@"); }

home='' running=''
clean_up() {
    trap '' INT TERM
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
    fi
    if [ -n "$home" ]; then
        if [ -f "$home/data/postmaster.pid" ]; then
            as_user "$bin/pg_ctl" stop -s -w -m immediate -D "$home/data" >/dev/null 2>&1 || true
        fi
        # A program that was just killed may still be writing its last file.
        rm -rf "$home" 2>/dev/null || { sleep 1; rm -rf "$home"; }
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# As that user, and waits for it in such a way that a signal is obeyed at once.
interruptible() {
    (cd / && exec ${as[@]+"${as[@]}"} "$@") &
    running=$!
    local code=0
    wait "$running" || code=$?
    running=''
    return "$code"
}

start_server() {
    home=$(mktemp -d "$dir/snapledger-pg-XXXXXX")
    home=$(cd "$home" && pwd)
    if [ ${#as[@]} -gt 0 ]; then chown "$user" "$home"; fi
    as_user test -w "$home" || fail "$dir: the user ${user:-of this shell} cannot get there; give another --dir"
    interruptible "$bin/initdb" -D "$home/data" -U bench -A trust -E UTF8 --locale=C --no-sync \
        >"$home/initdb.log" 2>&1 || { cat "$home/initdb.log" >&2; fail "initdb failed"; }
    cat >>"$home/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$home'
fsync = on
synchronous_commit = on
full_page_writes = on
max_connections = 100
shared_buffers = '512MB'
max_wal_size = '16GB'
checkpoint_timeout = '30min'
CONF
    interruptible "$bin/pg_ctl" start -s -w -t 60 -D "$home/data" -l "$home/server.log" ||
        { tail -n 20 "$home/server.log" >&2; fail "the server does not start"; }
}

sql() { as_user "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$home" -U bench -d postgres -c "$1"; }

write_workloads() {
    cat >"$home/transfers.sql" <<'SQL'
\set one random(1, :accounts)
\set other random(1, :accounts)
\set low least(:one, :other)
\set high greatest(:one, :other)
\startpipeline
BEGIN;
UPDATE accounts SET balance = balance - 1 WHERE id = :low;
UPDATE accounts SET balance = balance + 1 WHERE id = :high;
INSERT INTO journal (from_account, to_account, amount) VALUES (:low, :high, 1);
COMMIT;
\endpipeline
SQL
    cat >"$home/deposits.sql" <<'SQL'
\set account random(1, :accounts)
\startpipeline
BEGIN;
UPDATE accounts SET balance = balance + 1 WHERE id = :account;
INSERT INTO journal (to_account, amount) VALUES (:account, 1);
COMMIT;
\endpipeline
SQL
    # As parameters, so that they are sent each time. Each client has its own accounts: nobody waits for anybody, and
    # nothing can deadlock.
    local client
    for client in $(seq 0 $((BULK_CLIENTS - 1))); do
        printf '\\if :client_id = %s\n' "$client"
        bulk_statement ":ids_$client"
        printf '\\endif\n'
    done >"$home/bulk.sql"
    chmod a+r "$home"/*.sql
}

# One statement for the deposits into the accounts of a list, and the list of each client.
bulk_statement() {
    cat <<SQL
WITH deposits AS MATERIALIZED (
    SELECT account, 1 AS amount FROM unnest(($1)::bigint[]) AS account
), paid AS (
    UPDATE accounts SET balance = balance + sums.amount
    FROM (SELECT account, sum(amount)::bigint AS amount FROM deposits GROUP BY account) AS sums
    WHERE accounts.id = sums.account
)
INSERT INTO journal (to_account, amount) SELECT account, amount FROM deposits;
SQL
}

bulk_lists() {
    local client of_client=$((accounts / BULK_CLIENTS))
    for client in $(seq 0 $((BULK_CLIENTS - 1))); do
        awk -v client="$client" -v of="$of_client" -v bulk="$BULK" 'BEGIN {
            srand(client)
            for (n = 0; n < bulk; n++) list = list (n ? "," : "") client * of + 1 + int(rand() * of)
            printf "ids_%d={%s}\n", client, list }'
    done
}

# --- what is measured

cores=$(getconf _NPROCESSORS_ONLN)

# Operations per second of one run: NAME:CLIENTS SECONDS.
measure() {
    local name=${1%:*} clients=${1#*:} threads=$cores per_transaction=1
    if [ "$threads" -gt "$clients" ]; then threads=$clients; fi
    local variables=(-D accounts="$accounts")
    if [ "$name" = bulk ]; then
        per_transaction=$BULK
        mapfile -t lists < <(bulk_lists)
        variables=("${lists[@]/#/-D}")
    fi
    interruptible "$bin/pgbench" -n -M prepared -h "$home" -U bench -c "$clients" -j "$threads" -T "$2" \
        "${variables[@]}" -f "$home/$name.sql" postgres \
        >"$home/run.log" 2>&1 || { cat "$home/run.log" >&2; fail "$name: pgbench failed"; }
    grep -q '^number of failed transactions: 0 ' "$home/run.log" ||
        { cat "$home/run.log" >&2; fail "$name: transactions failed"; }
    rate=$(awk -v each="$per_transaction" '/^tps = /{printf "%.1f", $3 * each}' "$home/run.log")
    [ -n "$rate" ] || { cat "$home/run.log" >&2; fail "$name: pgbench says no rate"; }
}

# Median, minimum and maximum of the figures given.
spread() {
    printf '%s\n' "$@" | sort -n | awk '{a[NR] = $1} END {
        middle = NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2
        printf "%.1f %.1f %.1f", middle, a[1], a[NR] }'
}

check_money() {
    local wrong
    wrong=$(sql "SELECT (SELECT sum(balance) FROM accounts) - $accounts::bigint * $OPENING
        - (SELECT coalesce(sum(amount), 0) FROM journal WHERE from_account IS NULL)")
    [ "$wrong" = 0 ] || fail "the balances and the journal differ by $wrong"
}

unit() { case $1 in transfers) echo 'transfers/s' ;; deposits) echo 'deposits/s' ;; *) echo 'operations/s' ;; esac; }

as_json() {
    local place workload list=''
    for place in "${!workloads[@]}"; do
        workload=${workloads[$place]}
        read -ra all <<<"${rates[$place]}"
        read -r median min max <<<"$(spread "${all[@]}")"
        list+="${list:+,}
    {\"what\": \"${workload%:*}\", \"clients\": ${workload#*:}, \"unit\": \"$(unit "${workload%:*}")\","
        list+=" \"per_second\": {\"median\": $median, \"min\": $min, \"max\": $max},"
        list+=" \"runs\": [$(IFS=,; echo "${all[*]}")]}"
    done
    cat <<JSON
{
  "bench": "postgres",
  "version": "$version",
  "parameters": {"runs": $runs, "seconds_per_run": $seconds, "warm_up_seconds": $WARM_UP_SECONDS, "accounts": $accounts,
    "bulk": $BULK, "protocol": "prepared", "fsync": "$(sql 'SHOW fsync')",
    "synchronous_commit": "$(sql 'SHOW synchronous_commit')", "wal_sync_method": "$(sql 'SHOW wal_sync_method')"},
  "figures": [$list
  ]
}
JSON
}

as_table() {
    local place workload
    printf 'PostgreSQL %s, %s cores, client and server share the machine\n' "$version" "$cores"
    printf 'runs: %s, seconds per run: %s, accounts: %s, prepared, fsync %s, synchronous_commit %s\n\n' \
        "$runs" "$seconds" "$accounts" "$(sql 'SHOW fsync')" "$(sql 'SHOW synchronous_commit')"
    printf '%-12s %8s %14s %14s %14s  %s\n' what clients median min max unit
    for place in "${!workloads[@]}"; do
        workload=${workloads[$place]}
        read -ra all <<<"${rates[$place]}"
        read -r median min max <<<"$(spread "${all[@]}")"
        printf '%-12s %8s %14s %14s %14s  %s\n' \
            "${workload%:*}" "${workload#*:}" "$median" "$min" "$max" "$(unit "${workload%:*}")"
    done
}

say "PostgreSQL $version in $bin"
start_server
write_workloads
sql "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE journal (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, from_account bigint,
        to_account bigint NOT NULL, amount bigint NOT NULL);
    INSERT INTO accounts SELECT n, $OPENING FROM generate_series(1, $accounts) AS n;"
sql "VACUUM ANALYZE accounts"
for workload in "${workloads[@]}"; do
    measure "$workload" "$WARM_UP_SECONDS"
done
rates=()
# In turn, so that whatever else happens on the machine meets them all.
for run in $(seq "$runs"); do
    for place in "${!workloads[@]}"; do
        measure "${workloads[$place]}" "$seconds"
        rates[place]="${rates[place]:-} $rate"
        say "run $run of $runs: ${workloads[$place]} clients: $rate/s"
    done
done
check_money
"as_$output"
