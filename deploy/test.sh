#!/usr/bin/env bash
# Every test, against one real Apache Kafka that lives as long as the run: `make test`, `make drill`.
# Arguments go to cargo test, for instance `make test ARGS="-p formline-core"`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($# > 0)) || set -- --workspace

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
cargo test --locked --no-run "$@"
# Only now, so that the compiler does not have to share two cores and the memory with it.
"$FORMLINE_KAFKA_SCRIPT" start "$scratch/kafka" "$port"
phase "tests: run"
cargo test --locked --no-fail-fast "$@"

phase "tests: plug-ins"
cd plugins
CARGO_TARGET_DIR=${FORMLINE_PLUGINS_TARGET:-$HOME/.cache/formline-plugins} cargo test --workspace --locked
