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

scratch=$(mktemp -d)
export FORMLINE_KAFKA_SCRIPT=$PWD/deploy/kafka/kafka
finish() {
    "$FORMLINE_KAFKA_SCRIPT" stop "$scratch/kafka"
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
port=$(deploy/setup/free-ports 1)
export FORMLINE_SCHEMATHESIS FORMLINE_TEST_POSTGRES FORMLINE_TEST_SMTP FORMLINE_TEST_REDIS FORMLINE_TEST_KAFKA=127.0.0.1:$port

phase "plug-ins"
export FORMLINE_TEST_PLUGINS=$scratch/plugins
deploy/setup/plugins "$FORMLINE_TEST_PLUGINS"

phase "tests: build"
"$nextest" nextest run --locked --no-run "$@"
# Only now, so that the compiler does not have to share two cores and the memory with it.
"$FORMLINE_KAFKA_SCRIPT" start "$scratch/kafka" "$port"

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
