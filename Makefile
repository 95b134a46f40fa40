# The words that people and CI share; `make` lists them.
# Downloads and builds go to ~/.cache, the data of a running Formline to $(DATA).

SHELL := /bin/bash
DATA ?= formline-data
KAFKA_PORT ?= 9092
# Passed on to the program that a word ends in, for instance: make up ARGS="--app apps/student-data"
ARGS ?=

export CARGO_TARGET_DIR ?= $(or $(FORMLINE_CI_TARGET),$(HOME)/.cache/formline-ci)
export FORMLINE_PLUGINS_TARGET ?= $(HOME)/.cache/formline-plugins
# `release`, or `dev` to use what `make test` has built.
PROFILE ?= release
# The selection of packages decides which features cargo builds, so `dev` has that of `make test`.
BUILD := cargo build --locked $(if $(filter dev,$(PROFILE)),--workspace --all-targets,--release --package formline-cli)
BUILT := $(CARGO_TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,release)
IN_PLUGINS := cd plugins && CARGO_TARGET_DIR=$(FORMLINE_PLUGINS_TARGET)

.PHONY: help up kafka kafka-stop plugins test drill check bench k6

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo "  Settings: DATA=$(DATA) KAFKA_PORT=$(KAFKA_PORT) ARGS='more flags'"

up: kafka plugins ## build and run everything on this machine; Ctrl-C stops it (Kafka: make kafka-stop)
	@[[ -e $(BUILT)/formline ]] || echo "make: building formline ($(PROFILE)); the first build takes 5 to 15 minutes on two cores"
	$(BUILD)
	@mkdir -p $(DATA) && ln -sf $(BUILT)/formline $(DATA)/formline
	@echo "make: starting formline; Ctrl-C stops it and leaves Kafka running, make kafka-stop stops Kafka"
	@exec $(BUILT)/formline up --bootstrap 127.0.0.1:$(KAFKA_PORT) --data $(DATA) $(ARGS)

kafka: ## install and start Apache Kafka on 127.0.0.1:9092, unless it runs
	@deploy/kafka/kafka install
	@deploy/kafka/kafka start $(DATA)/kafka $(KAFKA_PORT)

kafka-stop: ## stop that Kafka; its data stay
	@deploy/kafka/kafka stop $(DATA)/kafka

plugins: ## build the plug-ins; a running Formline swaps in those that changed
	@deploy/setup/plugins $(DATA)/plugins

test: ## every test, with every drill in its short form
	@deploy/test.sh $(ARGS)

drill: ## every test, with every drill at full length
	@FORMLINE_DRILL=full deploy/test.sh $(ARGS)

# `cargo deny check advisories` needs a database from the network and changes without us: not here.
check: ## formatting, lints, documentation, structure, licences and the direction of dependencies
	cargo fmt --all --check
	$(IN_PLUGINS) cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(IN_PLUGINS) cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	deploy/check/structure
	$$(deploy/setup/tool cargo-deny) --locked check --hide-inclusion-graph --allow unused-wrapper bans licenses sources

bench: ## Formline against bare loops on the same Kafka, and plug-ins against native code; prints ratios
	cargo build --locked --release --package formline-cli --package formline-loadtest
	$(CARGO_TARGET_DIR)/release/formline-loadtest bench $(ARGS)

k6: ## 1,000 users x 5 forms against a running Formline on 127.0.0.1:8080
	@mkdir -p $(DATA)/k6
	@$$(deploy/setup/tool k6) run --no-usage-report -e SUMMARY=$(DATA)/k6/closed $(ARGS) loadtest/k6/closed.js
