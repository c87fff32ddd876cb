# `make demo` and `make test` each do all they need, the virtual environment included.

PYTHON ?= python3
BIN := .venv/bin
DEMO_PORT ?= 8599

.PHONY: demo demo-paper capture gallery test test-fast lint setup clean

demo: setup
	$(BIN)/python -m tfnerf.train --flagfile=configs/demo.txt
	$(BIN)/python -m tfnerf.evaluate --run_dir=runs/demo
	$(BIN)/python -m export --run_dir=runs/demo --model_base_path=models/demo --keep=2
	$(BIN)/python -m serving.server --model_name=demo --model_base_path=models/demo \
	    --port=$(DEMO_PORT) & server=$$!; \
	$(BIN)/python -m serving.client render --server=127.0.0.1:$(DEMO_PORT) --model_name=demo \
	    --resolution_factor=2 --output=runs/demo/served.png; status=$$?; \
	kill $$server; wait $$server; exit $$status
	@echo
	@echo "Held-out views:     runs/demo/eval/test/"
	@echo "Served over gRPC:   runs/demo/served.png"
	@echo "To look around in the scene start the server, the viewer in a second terminal, and open the page:"
	@echo "    $(BIN)/python -m serving.server --model_name=demo --model_base_path=models/demo"
	@echo "    $(BIN)/python -m serving.viewer --model_name=demo"
	@echo "    http://127.0.0.1:8080"

# The same scene by the method of the paper.
demo-paper: setup
	$(BIN)/python -m tfnerf.train --flagfile=configs/demo_paper.txt
	$(BIN)/python -m tfnerf.evaluate --run_dir=runs/demo_paper

# Photographs of your own, or a video, to a scene that is trained and exported:
#     make capture IMAGES=photos NAME=mine
# For cameras that look the same way add CONFIG="configs/fast/llff.txt --dataset=transforms".
NAME ?= mine
CONFIG ?= configs/fast/captures.txt
capture: setup
	test -f captures/$(NAME)/transforms.json || \
	    $(BIN)/python -m tfnerf.poses --images=$(IMAGES) --output=captures/$(NAME)
	factor=$$(sed -n 's/^ *"factor": \([0-9]*\).*/\1/p' captures/$(NAME)/report.json); \
	$(BIN)/python -m tfnerf.train --flagfile=$(CONFIG) --data_dir=captures/$(NAME) \
	    --experiment=$(NAME) --factor=$${factor:-1}
	$(BIN)/python -m export --run_dir=runs/$(NAME) --model_base_path=models/$(NAME) --keep=2
	@echo
	@echo "To look around in it start the server, the viewer in a second terminal, and open the page:"
	@echo "    $(BIN)/python -m serving.server --model_name=$(NAME) --model_base_path=models/$(NAME)"
	@echo "    $(BIN)/python -m serving.viewer --model_name=$(NAME)"
	@echo "    http://127.0.0.1:8080"

# The pictures in README and docs.
gallery: demo
	$(BIN)/python -m tfnerf.render --run_dir=runs/demo --num_frames=60 --resolution_factor=2
	$(BIN)/python -m tfnerf.mesh --run_dir=runs/demo --smallest_piece=0.01
	$(BIN)/python -m tfnerf.inspect --picture=docs/images/inspect.png
	$(BIN)/python -m tfnerf.train --flagfile=configs/moving.txt
	$(BIN)/python -m tfnerf.render --run_dir=runs/moving --camera_path=still --time=sweep \
	    --num_frames=40 --resolution_factor=2
	$(BIN)/python -m tfnerf.train --flagfile=configs/relit.txt
	$(BIN)/python -m tfnerf.render --run_dir=runs/relit --camera_path=still --light=orbit \
	    --num_frames=40 --resolution_factor=2
	$(BIN)/python -m benchmarks.gallery

# Two files at a time: most of a test's time goes by in starting processes. In their own order, as
# else the longest come last and one of them alone.
TOGETHER := -n 2 --dist loadfile --no-loadscope-reorder
test: setup
	$(BIN)/python -m pytest $(TOGETHER)

test-fast: setup
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow" -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/installed

.venv/installed: requirements.txt requirements-no-deps.txt requirements-dev.txt setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-no-deps.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf .venv build *.egg-info
