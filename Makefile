# make demo    the main job on real nodes                  make check         what must hold before a commit
# make test    all tests but the slow ones                 make bench         what cryptography costs, ours and plaintext
# make clean   remove what was made here                   make bench-peers   install other systems beside, for the bench

# The first Python that will do; any other: make PYTHON=/path/to/python
FITS = -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.13; do $$name $(FITS) 2>/dev/null && echo $$name && break; done)
BIN = .venv/bin
READY = .venv/ready
TEST = $(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder
TIERS = $(shell $(BIN)/python -c 'from engine.kernels.tiers import TIERS, has_simd; print(*TIERS[: 2 + has_simd()])')

.PHONY: demo test check bench bench-peers clean

demo: $(READY)
	$(BIN)/synergos demo

test: $(READY)
	$(TEST)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST)
	for tier in $(TIERS); do ENGINE_KERNELS=$$tier $(TEST) tests/psi || exit 1; done

bench: $(READY)
	for suite in kernels he psi vertical transport; do $(BIN)/python -m bench $$suite || exit 1; done

bench-peers: $(READY)
	$(BIN)/python -m bench.peers

clean:
	rm -rf .venv .peers .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info

# Made anew when what is to be installed changes; the kernels are compiled here, so that nothing waits for them later.
$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" $(FITS) 2>/dev/null || { echo "Python 3.11 or newer with its venv module is needed: install it" \
		"(Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python"; exit 1; }
	@echo "Installing into .venv with $$($(PYTHON) --version): some minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/synergos warmup
	touch $(READY)
