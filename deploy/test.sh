#!/usr/bin/env bash
# Every test, against one real Apache Kafka and one real PostgreSQL that live as long as the run: `make test`, `make drill`.
# Arguments choose tests, as those of cargo nextest run do: `make test ARGS="-p formline-core -- config"`. Such a run
# leaves out the examples in the documentation and the tests of the plug-ins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
is_whole=false
(($# > 0)) || { set -- --workspace; is_whole=true; }

phase() {
    echo "== $1 after $SECONDS s"
}

# Runs a command, and remembers a failure for the end.
failed=0
try() {
    "$@" || failed=$?
}

# PostgreSQL refuses to run as root.
as_postgres() {
    local user=()
    ((EUID != 0)) || user=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    (cd / && "${user[@]}" "$@")
}

initialise_postgres() {
    mkdir "$scratch/postgres"
    echo secret >"$scratch/password"
    chmod 711 "$scratch"
    chmod 644 "$scratch/password"
    ((EUID != 0)) || chown postgres "$scratch/postgres"
    as_postgres "$FORMLINE_TEST_POSTGRES/initdb" --no-sync --locale=C --encoding=UTF8 --auth=scram-sha-256 \
        --username=formline --pwfile="$scratch/password" -D "$scratch/postgres" >"$scratch/initdb.log"
}

postgres() {
    as_postgres "$FORMLINE_TEST_POSTGRES/pg_ctl" --silent -D "$scratch/postgres" "$@"
}

# In memory if there is room: a Kafka that waits for a busy disk for seconds loses its partitions meanwhile.
folder=/dev/shm
(($(df --output=avail --block-size=1M "$folder" 2>/dev/null | tail -n 1 || echo 0) > 2000)) || folder=${TMPDIR:-/tmp}
scratch=$(mktemp -d -p "$folder")
mkdir "$scratch/kafka"
export FORMLINE_KAFKA_SCRIPT=$PWD/deploy/kafka/kafka
finish() {
    "$FORMLINE_KAFKA_SCRIPT" stop "$scratch/kafka" || true
    [[ ! -e $scratch/postgres/postmaster.pid ]] || postgres --mode=immediate stop || true
    rm -rf "$scratch"
    echo "== ended after $SECONDS s"
}
trap finish EXIT

phase "tools"
"$FORMLINE_KAFKA_SCRIPT" install
nextest=$(deploy/setup/tool cargo-nextest)
FORMLINE_SCHEMATHESIS=$(deploy/setup/tool schemathesis)
FORMLINE_TEST_POSTGRES=$(deploy/setup/postgres)
FORMLINE_TEST_SMTP=$(deploy/setup/tool smtp)
FORMLINE_TEST_REDIS=$(deploy/setup/redis)
mapfile -t port < <(deploy/setup/free-ports 2)
export FORMLINE_SCHEMATHESIS FORMLINE_TEST_POSTGRES FORMLINE_TEST_SMTP FORMLINE_TEST_REDIS
export FORMLINE_TEST_KAFKA=127.0.0.1:${port[0]} FORMLINE_TEST_POSTGRES_SERVER=127.0.0.1:${port[1]}
initialise_postgres

phase "plug-ins"
export FORMLINE_TEST_PLUGINS=$scratch/plugins FORMLINE_TEST_GUESTS=$scratch/guests
deploy/setup/plugins "$FORMLINE_TEST_PLUGINS"
deploy/setup/guests "$FORMLINE_TEST_GUESTS"

phase "tests: build"
cargo test --locked --workspace --no-run
# Only now, so that the compiler does not have to share two cores and the memory with them.
"$FORMLINE_KAFKA_SCRIPT" start "$scratch/kafka" "${port[0]}"
postgres --wait -l "$scratch/postgres/log" -o "-h 127.0.0.1 -p ${port[1]} -k '' -c max_connections=300" start

phase "tests: run"
report=target/nextest/default/junit.xml
rm -f "$report"
try "$nextest" nextest run --locked "$@"
[[ ! -e $report ]] || deploy/check/slowest-tests "$report"

if [[ $is_whole == true ]]; then
    phase "tests: examples in the documentation"
    try cargo test --locked --workspace --doc --quiet

    phase "tests: plug-ins"
    export CARGO_TARGET_DIR=${FORMLINE_PLUGINS_TARGET:-$HOME/.cache/formline-plugins}
    cd plugins
    try cargo test --workspace --locked --quiet
fi
exit "$failed"
