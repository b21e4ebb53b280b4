# What people type. The work is done by the scripts, which say what they do while they do it.

# Outside of the checkout, so that a fresh clone does not compile RocksDB again.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/apus/target
# Where rustup puts cargo, which a shell that was opened before does not know.
export PATH := $(PATH):$(HOME)/.cargo/bin
# What `make run` passes on to `apus serve`, `make bench` and `make compare…` to the benchmarks, and `make fuzz` to
# its script.
ARGS ?=
# What `make clean-data` removes.
DATA ?= data

.PHONY: help run test check fuzz bench compare compare-objectd clean-data

help:
	@echo "make run         build apus and serve a cloud; ARGS='--listen 127.0.0.1:9000' and the like"
	@echo "make test        run every test, and every fuzz target for a minute"
	@echo "make check       what a change must pass before it is sent: format, lints, house rules, licences"
	@echo "make fuzz        run every fuzz target for two minutes; ARGS='600' for ten each, ARGS=1000000x a million times"
	@echo "make bench       run the benchmarks"
	@echo "make compare     measure apus beside Python Swift on this machine; benches/README.md says how"
	@echo "make compare-objectd  measure the object server alone beside Swift's"
	@echo "make clean-data  remove the data directory that apus made here (DATA=$(DATA))"

run:
	@scripts/run.sh $(ARGS)

test:
	@scripts/test.sh

check:
	@scripts/check.sh

fuzz:
	@scripts/setup.sh build
	@scripts/fuzz.sh $(ARGS)

bench:
	@scripts/setup.sh build
	cargo bench --package benches $(ARGS)

compare:
	@scripts/setup.sh build
	cargo build --release --workspace
	python3 benches/compare_swift.py $(ARGS)

compare-objectd:
	@scripts/setup.sh build
	cargo build --release --package apus
	python3 benches/compare_objectd.py $(ARGS)

clean-data:
	@scripts/clean_data.sh '$(DATA)'
