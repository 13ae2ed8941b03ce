# What can be made beside the extension itself.  None of these needs PostgreSQL to be installed beforehand.

PG ?= all

help:
	@echo 'make, make install      builds the extension with PG_CONFIG and installs it'
	@echo 'make demo               the whole flow on a throw-away cluster, with an FTP server and a Xorosoft double'
	@echo 'make test               all tests, on PostgreSQL 15 and 17; PG=15 or PG=17 for one of them'
	@echo 'make check-quick        PostgreSQL 15 only, without TAP'
	@echo 'make compile-all        builds for 15, 17 and 18 with warnings as errors'
	@echo 'make soak              random edits on both sides, webhooks and pulls that fail, for longer and with many seeds'
	@echo 'make fit                fits the matcher'"'"'s model to labelled products, and measures it; docs/matching.md'
	@echo 'make bench              measures speed, memory and the matcher, each figure beside its bar'

test:
	@test/run $(PG)

check-quick:
	@test/run quick

compile-all:
	@test/run compile

demo:
	@test/demo

bench:
	@test/bench/run

soak:
	@test/soak

fit:
	@test/fit/run

.PHONY: help test check-quick compile-all demo bench soak fit
