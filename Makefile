# SPDX-License-Identifier: Apache-2.0
# A short front for meson; see README.md for what each target is for.

BUILD ?= build
FLAVOUR ?= default
PREFIX ?= /usr/local
DESTDIR ?=
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

all: build

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja: | meson-found
	@meson setup --prefix=$(PREFIX) $(BUILD) >/dev/null

meson-found:
	@command -v meson >/dev/null || { echo "meson is not installed: run 'make deps' first" >&2; exit 1; }

deps:
	@scripts/deps $(SUDO)

image: build
	@FLAVOUR=$(FLAVOUR) BUILD=$(BUILD) scripts/image

demo: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) scripts/demo

check: deps
	@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) scripts/check

bench: build
	@BUILD=$(BUILD) scripts/bench

soak: build
	@BUILD=$(BUILD) scripts/soak

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD)

deb: deps
	@scripts/deb

install-caps:
	@$(SUDO) scripts/install-caps $(PREFIX)/libexec/linzer/linzer-net

clean:
	@rm -rf $(BUILD)

.PHONY: all build deps image demo check bench soak install deb install-caps clean meson-found
