#!/usr/bin/env bash
# Every test, against one real Apache Kafka and one real PostgreSQL that live as long as the run: `make test`, `make drill`.
# Arguments go to cargo nextest run, for instance `make test ARGS="-p formline-core"`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A choice of tests is for a quick look: documentation examples and plug-ins are tested in a whole run.
whole=false
(($# > 0)) || { set -- --workspace; whole=true; }

phase() {
    echo "== $1 after $SECONDS s"
}

# PostgreSQL refuses to run as root.
as_postgres() {
    local user=()
    ((EUID != 0)) || user=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    (cd / && "${user[@]}" "$@")
}

start_postgres() {
    local data=$scratch/postgres
    mkdir "$data"
    echo secret >"$scratch/password"
    chmod 711 "$scratch"
    ((EUID != 0)) || chown postgres "$data"
    as_postgres "$FORMLINE_TEST_POSTGRES/initdb" --no-sync --locale=C --encoding=UTF8 --auth=scram-sha-256 \
        --username=formline --pwfile="$scratch/password" -D "$data" >"$scratch/initdb.log"
    as_postgres "$FORMLINE_TEST_POSTGRES/pg_ctl" --silent --wait -D "$data" -l "$data/log" \
        -o "-h 127.0.0.1 -p $1 -k '' -c max_connections=300" start
}

stop_postgres() {
    [[ ! -e $scratch/postgres/postmaster.pid ]] ||
        as_postgres "$FORMLINE_TEST_POSTGRES/pg_ctl" --silent --mode=immediate -D "$scratch/postgres" stop
}

scratch=$(mktemp -d)
export FORMLINE_KAFKA_SCRIPT=$PWD/deploy/kafka/kafka
finish() {
    "$FORMLINE_KAFKA_SCRIPT" stop "$scratch/kafka"
    stop_postgres
    rm -rf "$scratch"
    echo "== ended after $SECONDS s"
}
mkdir "$scratch/kafka"
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

phase "plug-ins"
export FORMLINE_TEST_PLUGINS=$scratch/plugins
deploy/setup/plugins "$FORMLINE_TEST_PLUGINS"
FORMLINE_TEST_GUESTS=$(deploy/setup/guests)
export FORMLINE_TEST_GUESTS

phase "tests: build"
"$nextest" nextest run --locked --no-run "$@"
# Only now, so that the compiler does not have to share two cores and the memory with it.
"$FORMLINE_KAFKA_SCRIPT" start "$scratch/kafka" "${port[0]}"
start_postgres "${port[1]}"

phase "tests: run"
failed=0
"$nextest" nextest run --locked "$@" || failed=$?
deploy/check/slowest-tests "${CARGO_TARGET_DIR:-target}/nextest/default/junit.xml"
((failed == 0)) || exit "$failed"

if [[ $whole == true ]]; then
    phase "tests: examples in the documentation"
    cargo test --locked --workspace --doc --quiet

    phase "tests: plug-ins"
    cd plugins
    CARGO_TARGET_DIR=${FORMLINE_PLUGINS_TARGET:-$HOME/.cache/formline-plugins} cargo test --workspace --locked --quiet
fi
