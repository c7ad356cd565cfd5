# Every target is one line; `make help` lists them.
GO ?= go
MODULES := cpu/asmgen interop/gorgonia
# Packages that are tested with the CUDA path where that can be built, and those that have something to do at the same time.
CUDA := ./capi/internal/door ./device/cuda/... ./optim ./cmd/gpubench ./examples/... ./internal/gpu
CONCURRENT := ./cpu ./cpu/internal/exec ./device ./device/cuda ./device/cuda/internal/driver ./device/cuda/internal/emu/... ./device/devicetest ./examples/quickstart ./examples/train ./internal/gpu ./kernels ./kernels/reference ./optim ./optim/checkpoint
# Packages that test-pure leaves out: cross tests gpubench without cgo, examples/digits trains there as these two do, and the others write and read
# text, files and machine code, or wait for threads.
IMPURE := ./bench/... ./capi ./cmd/gpubench ./device/devicetest ./docs/... ./examples/bigram ./examples/resume ./internal/cli ./internal/lint ./internal/models ./internal/x86 ./kernels/ptx ./optim/checkpoint/...
# Tests that race leaves out: what they look at is the same whoever else runs. Of TestKernels those rules are left out that take the path of others, and of what
# moves to and fro the types that are moved as float32 is.
BITS := ^Test(Bits|Goldens|StochasticGoldens|ComingFrom|DecaysFall|EveryCaseHasAGolden|OneCycleIsContinuous|ValuesStartFromDefaults|PythonClasses|Faults|Listings|CodeMemory|Moved|Scattered|Kept|Narrow|NarrowEnds|Fills|FillsNotice|GraphsNotice|Mutants|SoakResumed|Traffic|TreesOf.*)$$
ALIKE := ^TestKernels$$/././(float64|^Fold|^Όνομα)|^TestDevice$$/threads/^move_(float64|.*16)|^Test(Device|Late)$$/^move_(float64|.*16)
HAS_CUDA = [ "$$CGO_ENABLED" != 0 ] && [ "$$(uname)" = Linux ] && command -v $${CC:-cc} >/dev/null
HAS_V3 = grep -qsE '^flags.* fma .*movbe .*f16c .*abm .*bmi1 .*avx2 .*bmi2 ' /proc/cpuinfo

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t16

build: ## build everything, and bin/gpubench
	$(GO) build ./... && $(GO) build -o bin/gpubench ./cmd/gpubench

test: test-packages test-cuda ## run the tests, where there is a C compiler also those of the CUDA path

test-packages: ## run the tests, where there is a C compiler without those that test-cuda runs
	@set -- ./...; if $(HAS_CUDA); then set -- $$($(GO) list ./... | grep -vxF "$$($(GO) list $(CUDA))"); fi; set -x; $(GO) test "$$@"
	for d in $(MODULES); do (cd $$d && $(GO) test ./...) || exit 1; done
	@$(GO) test ./cpu -count 1 -v -run '^TestImplementations$$' | grep -v '^[=-]'

test-pure: ## run short tests without cgo, as compiled for GOAMD64=v3 where the processor can; of package cpu and its bits in optim also with the tag purego
	if $(HAS_V3); then export GOAMD64=v3; fi; export CGO_ENABLED=0; $(GO) test -short -skip '^Test(FillsNotice|StagedWrong)$$' $$($(GO) list ./... | grep -vxF "$$($(GO) list $(IMPURE) ./cpu)") && \
	$(GO) test -short -tags purego ./cpu && $(GO) test -short -tags purego -run '^Test(Bits|Goldens)$$' ./optim

race: ## run the tests under the race detector, but those that look at bits, text or machine code alone, which the other targets run
	$(GO) test -race -short -skip '$(BITS)|$(ALIKE)' $(CONCURRENT) && $(GO) run ./device/cuda/gocuda test -race -short -skip '^Test(Kernels|Geometry)$$|$(BITS)|$(ALIKE)' ./device/cuda ./device/cuda/internal/emu ./device/cuda/internal/driver

vet: ## gofmt, go vet and the purego build
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w .'; exit 1; }
	$(GO) vet ./... && $(GO) vet -tags purego ./cpu/... ./optim
	for d in $(MODULES); do (cd $$d && $(GO) vet ./...) || exit 1; done

cross: ## check the types for the systems without code of their own, and where that is possible test for one of 32 bits
	$(GO) test ./internal/lint -run '^TestSystems$$' -count 1 -systems
	@if [ "$$($(GO) env GOHOSTOS GOHOSTARCH | tr '\n' /)" = linux/amd64/ ]; then set -x; GOARCH=386 $(GO) test -short ./optim ./cmd/gpubench ./device; fi

generate: ## write every generated file again
	$(GO) generate ./... && $(GO) test ./kernels/ptx -run '^TestGolden$$' -write && $(GO) test ./optim -run '^(TestOptimizersTable|TestComingFrom|TestScheduleTable|TestStorageTable|TestWalk|TestBits|TestPythonClasses)$$' -write

ptxas: ## assemble the PTX with NVIDIA's ptxas, from PyPI
	kernels/ptx/ptxas.sh -all

registers: ## write the registers and instructions of the committed PTX again, by NVIDIA's ptxas, from PyPI
	kernels/ptx/ptxas.sh -write

check-header: ## compare our cuda.h with NVIDIA's, from PyPI
	device/cuda/internal/driver/check-header.sh

capi: ## build bin/libfusestep.so, for C and for all that calls C: capi/fusestep.h says how
	capi/build.sh bin/libfusestep.so

capi-cuda: ## build bin/libfusestep-cuda.so, which has GPUs, too
	GO='$(GO) run ../device/cuda/gocuda' capi/build.sh bin/libfusestep-cuda.so

cuda: ## build bin/gpubench-cuda
	$(GO) run ./device/cuda/gocuda build -o bin/gpubench-cuda ./cmd/gpubench

test-cuda: ## run the tests of the CUDA path on an emulated GPU
	@if ! { $(HAS_CUDA); }; then echo 'CUDA path not tested: it needs Linux, cgo and a C compiler'; else set -x; $(GO) run ./device/cuda/gocuda vet ./... && $(GO) run ./device/cuda/gocuda test $(CUDA); fi

test-gpu: ## run the hardware tests on the GPU; without one they are skipped, with REQUIRE_GPU=1 they fail
	$(GO) run ./device/cuda/gocuda test -count=1 -v -run '^TestHardware' ./device/cuda

test-interop-torch: ## run the tests in Python of interop/torch, and see that it writes its fixtures again; PYTHON is one with torch
	cd interop/torch && $(or $(PYTHON),python3) -m unittest && $(or $(PYTHON),python3) testdata/make.py && git diff --exit-code testdata

fixtures-interop-torch: ## write the fixtures of interop/torch; PYTHON is one with optim/testdata/requirements.txt
	$(or $(PYTHON),python3) interop/torch/testdata/make.py && $(GO) test ./interop/torch -run '^TestToTorch$$' -count 1 -write

gpu-bundle: ## build bin/gpu-bundle, which tests and measures on a machine with a GPU and nothing but its driver
	bench/gpu/bundle.sh bin/gpu-bundle

mutate: ## change the emitted PTX, one instruction at a time, and see that the tests notice
	$(GO) run ./device/cuda/gocuda test ./device/cuda/internal/emu/mutate -run '^TestSurvivors$$' -count 1 -timeout 2h -v -all

fuzz: ## a minute for each fuzz target
	for f in kernels/internal/syntax:FuzzRule cpu:FuzzImplementations cpu/internal/emit:FuzzGraphs device/cuda/internal/emu/ptxvm:FuzzGraphs internal/models:FuzzParseShapes internal/models:FuzzParseCount optim/checkpoint/internal/safetensors:FuzzHeader; do $(GO) test ./$${f%:*} -run '^$$' -fuzz $${f#*:} -fuzztime 60s -fuzzminimizetime 2s || exit 1; done

exhaustive: ## encode all 2³² float32 numbers in each storage format, to nearest and stochastically, for minutes
	$(GO) test ./kernels/format -run '^Test(Encode|Stochastic|Masters)All$$' -exhaustive -timeout 2h

every: ## run the suite of kernels for all rules with all that can be around them, in all formats, for half an hour
	$(GO) test ./cpu -run '^TestKernels$$' -kerneltest.every -timeout 2h
	$(GO) run ./device/cuda/gocuda test ./device/cuda/internal/emu -run '^TestKernels$$' -kerneltest.every -timeout 2h

stress: ## run machine code for minutes beside garbage collection, signals, growing stacks and faults
	$(GO) test ./cpu -run '^TestStress$$' -count 1 -v -stress 1m
	GODEBUG=gcstoptheworld=1,clobberfree=1 $(GO) test ./cpu -run '^TestStress$$' -count 1 -v -stress 1m
	$(GO) test -race ./cpu -run '^TestStress$$' -count 1 -v -stress 1m

faults: ## kill a process that saves checkpoints 200 times, and make each bit of a header and each part of a state wrong
	$(GO) test ./optim/checkpoint -run '^Test(Killed|FlippedBits|HostileStates)$$' -count 1 -v -thorough

soak: ## a million steps, saves and loads in between, while the disk and the driver fail; and 50 kills of examples/resume
	$(GO) test ./examples/resume -run '^TestKilled$$' -count 1 -v -timeout 1h -kills 50
	$(GO) test ./optim/checkpoint -run '^TestSoak$$' -count 1 -v -timeout 2h -soak 1000000
	$(GO) run ./device/cuda/gocuda test ./device/cuda/internal/emu -run '^TestSoakResumed$$' -count 1 -v -timeout 2h -soak 1000000

bench: ## how close to the memory's limit the CPU's steps run
	$(GO) run ./cmd/gpubench -optimizer all

bench-cpu: ## the CPU's goals, and what is reached of them; PYTHON, one with torch, and DEEPSPEED, its source package's folder, for the peers
	$(GO) run ./bench/cpu -python '$(PYTHON)' -deepspeed '$(DEEPSPEED)'
	$(GO) test ./cpu -run '^$$' -bench Passes -benchtime 50x

bench-checkpoint: ## how fast a checkpoint is saved, against dd in the same folder, DIR, and loaded and copied
	$(GO) run ./bench/cpu -run '^checkpoint' $(if $(DIR),-dir '$(DIR)')

bench-readme: ## measure what the README's table and picture show, and draw docs/speed.png; PYTHON and DEEPSPEED as for bench-cpu
	$(GO) run ./bench/cpu -readme -python '$(PYTHON)' -deepspeed '$(DEEPSPEED)' -o bench/results/readme.json
	$(GO) run ./bench/picture bench/results/readme.json docs/speed.png

wheel: ## build dist/fusestep-*.whl, the Python package with the C library; CC links it: python/README.md says with which for older systems
	@# gorgonia.org/cu takes the system's headers, which only its own compiler reads
	env -u CC GO='$(GO) run ../device/cuda/gocuda' EXTLD='$(CC)' capi/build.sh bin/libfusestep-cuda.so
	python3 python/wheel.py bin/libfusestep-cuda.so dist

test-python: wheel ## install the wheel into a fresh environment and test it, on emulated GPUs too; PYTHON, one with torch, else torch comes from PyPI
	GO='$(GO)' device/cuda/emulated/libcuda/build.sh bin/emulated
	python/test.sh $(PYTHON)

release-check: ## make a release in a copy, and use its modules from a fresh one
	.ci/release -check

ci: ## what CI runs, two targets at a time, the long ones first; go test need not vet what vet has vetted, may wait for the processors, and nobody debugs what it builds
	export GOGC=400 GOMEMLIMIT=1GiB GOFLAGS="$$($(GO) env GOFLAGS) -vet=off -timeout=20m -gcflags=all=-dwarf=false -ldflags=-w"; \
	$(MAKE) -j2 -O test-cuda wheel race test-python test-packages vet test-pure cross && $(MAKE) generate && git diff --exit-code
