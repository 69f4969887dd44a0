# Tieline. `make help` lists the targets.
BUILD   ?= build
ifeq ($(origin CC),default)
CC       = gcc
endif
CLANG   ?= clang
PREFIX  ?= /usr/local
DESTDIR ?=
PKGS     = openssl liburing jansson liburcu-memb libsystemd libcares sqlite3
# What the tests and the benchmarks compare with, never part of build/tieline.
ORACLE   = sofia-sip-ua
VERSION  = 0.1.0
WARN     = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
FORTIFY  = $(if $(filter -O0,$(OPT)),,-D_FORTIFY_SOURCE=2)
# Indirect branches and returns are checked where the processor can (x86-64: IBT and shadow stack).
CONTROL_FLOW = $(if $(filter x86_64%,$(shell $(CC) -dumpmachine 2>/dev/null)),-fcf-protection=full)
HARDEN   = $(FORTIFY) -fstack-protector-strong -fstack-clash-protection -fPIE $(CONTROL_FLOW)
OPT     ?= -O2 -g
# The program is optimised as a whole where it is linked (`make LTO=` leaves that out), so that calls
# between files cost nothing. The objects hold machine code, too: the tests link them as they are.
LTO     := $(if $(filter -O2,$(OPT)),$(if $(SAN),,$(shell $(CC) -v 2>&1 | grep -q '^gcc version' && echo -flto=auto)))
LINK_WHOLE = $(LTO:%=% $(OPT))
LINK_PARTS = $(LTO:%=-fno-lto)
# What a message passes through: -O3 is worth a twentieth of its time.
HOT_ROOMS = base net number proxy record route runtime sip
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
ORACLE_CFLAGS := $(shell pkg-config --cflags $(ORACLE) 2>/dev/null)
ORACLE_LIBS   := $(shell pkg-config --libs $(ORACLE) 2>/dev/null)
CFLAGS_ALL = -std=gnu11 -D_GNU_SOURCE -DTL_VERSION='"$(VERSION)"' $(OPT) $(WARN) $(HARDEN) $(SAN) \
             -Iinclude -Isrc $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now $(SAN) $(LDFLAGS)
LIBS     = $(PKG_LIBS) -lIPSec_MB -lpthread -lm

SRC      = $(sort $(wildcard src/*/*.c))
OBJ      = $(SRC:%.c=$(BUILD)/%.o)
UNIT     = $(sort $(wildcard tests/unit/*.c))
UNIT_OBJ = $(UNIT:%.c=$(BUILD)/%.o)
KTEST    = $(sort $(wildcard tests/ktls/*.c))
KTEST_OBJ = $(KTEST:%.c=$(BUILD)/%.o)
# A file of tests/support with a main is a program for the tests, the others are their library.
HELPER   = $(sort $(wildcard tests/support/*.c))
PROGRAM  = $(if $(HELPER),$(shell grep -l '^int main' $(HELPER)))
SUPPORT_OBJ = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(PROGRAM),$(HELPER)))
SUPPORT_BIN = $(patsubst tests/support/%.c,$(BUILD)/support/%,$(PROGRAM))
# For LD_PRELOAD: an allocator that fails, a kernel that refuses keys, and what bench/records needs.
PRELOAD  = $(patsubst tests/support/preload/%.c,$(BUILD)/support/%.so,$(wildcard tests/support/preload/*.c))
# PLAIN=1 links a small test runner of ours where Criterion's cannot start (ThreadSanitizer).
RUNNER   = $(if $(PLAIN),$(addprefix $(BUILD)/tests/support/plain/,runner.o criterion.o))
CRITERION = $(if $(PLAIN),,-lcriterion)
# OOM=1 makes functions tell who runs, ours or the tests' (tests/oom/refuse.h).
OOM_OBJ  = $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/oom/*.c)) tests/support/plain/criterion.c)
# bench/NAME.c and bench/NAME/*.c both make $(BUILD)/bench/NAME; the objects are kept apart from it.
BENCH_DIR = $(sort $(patsubst bench/%/,%,$(dir $(wildcard bench/*/*.c))))
BENCH_ONE = $(sort $(patsubst bench/%.c,%,$(wildcard bench/*.c)))
BENCH_OBJ = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard bench/*.c bench/*/*.c))
BENCH_BIN = $(addprefix $(BUILD)/bench/,$(BENCH_DIR) $(BENCH_ONE))
FUZZ     = $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN = $(FUZZ:tests/fuzz/%.c=$(BUILD)/fuzz/%)
TESTBIN  = $(BUILD)/tieline $(SUPPORT_BIN) $(PRELOAD) $(if $(UNIT),$(BUILD)/unit) $(if $(KTEST),$(BUILD)/ktls-tests)

# V=1 shows the commands.
Q        = $(if $(V),,@)
say      = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(2)')

ASAN     = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Where each test step leaves its counts; `make check` sums them.
TOTALS  ?= $(BUILD)/totals
STEP     = tests/support/summary run -o $(TOTALS) -d $(BUILD)/log
SPLIT    = tests/support/summary split -o $(TOTALS) -d $(BUILD)/log
VM       = tests/vm/run
# For the scripts under test: which build they judge.
export TIELINE = $(abspath $(BUILD)/tieline)
export BUILD_DIR = $(abspath $(BUILD))

## all            build/tieline (the default); CC=clang, OPT=-O0, BUILD=directory are respected
all: $(BUILD)/tieline

## deps           install the Debian packages of .ci/packages that are missing
deps:
	@.ci/deps

CHECKS   = unit conformance flow ktls hostile

## check          every test, on the host and in the kernel-TLS machine; installs and builds first
check: deps
	@$(MAKE) --no-print-directory all
	@rm -f $(TOTALS); bad=0; \
	for t in $(CHECKS); do \
	  $(MAKE) --no-print-directory check-$$t TOTALS=$(TOTALS) || bad=1; \
	done; \
	tests/support/summary total $(TOTALS) || bad=1; exit $$bad

## check-unit     unit tests, on the host; three at a time, because many wait for a timer
check-unit: $(BUILD)/unit
	@$(STEP) unit -- $(BUILD)/unit --jobs 3

## check-conformance  the RFCs' messages and rules against the daemon, on the host
check-conformance: all $(SUPPORT_BIN)
	@$(STEP) conformance -- tests/conformance/run

## check-flow     whole calls through the daemon, on the host
check-flow: all $(SUPPORT_BIN) $(PRELOAD)
	@$(STEP) -g flow flow-itself -- tests/flow/selftest
	@$(STEP) -g flow flow-host -- tests/flow/run
	@tests/support/summary group $(TOTALS) flow

## check-hostile  strangers storm a daemon built with AddressSanitizer for SECONDS (default 30)
check-hostile: helpers-built hostile-built
	@TIELINE=$(CURDIR)/build/asan/tieline tests/support/summary sanitizers \
	  $(STEP) hostile -- tests/flow/run --hostile $(SECONDS)

UNIT_VM = @(base_mailbox|control*|handshaker*|identity*|keylog|ktls|net_*|ocsp|record*|resume*|secrets|tls*|verify_matrix)

## check-ktls     in the machine: the kernel-TLS traps on kernels 6.12 and 6.1, unit and flow tests on 6.12, bodies within the kernel on both
check-ktls: all $(SUPPORT_BIN) $(PRELOAD) $(BUILD)/ktls-tests $(BUILD)/unit
	@echo "unit-vm: the suites that reach the kernel or do TLS; pure arithmetic runs on the host, and so do proxy_txn, proxy_random and resolver: their timers are milliseconds of real time, which an emulated processor does not keep"
	@$(SPLIT) -g ktls 'ktls-6.12 unit-vm flow-vm' -- $(VM) --kernel 6.12 --timeout 3000 \
	  tests/support/summary each ktls-6.12 '$(BUILD_DIR)/ktls-tests' \
	    unit-vm "$(BUILD_DIR)/unit --filter '$(UNIT_VM)/*'" flow-vm tests/flow/run
	@$(SPLIT) -g ktls 'ktls-6.1 unit-6.1 flow-6.1' -- $(VM) --kernel 6.1 --timeout 1200 \
	  tests/support/summary each ktls-6.1 '$(BUILD_DIR)/ktls-tests' \
	    unit-6.1 "$(BUILD_DIR)/unit --filter 'net_relay/*'" flow-6.1 'tests/flow/run --filter f2_'
	@$(STEP) -g ktls vm-itself -- tests/vm/selftest
	@tests/support/summary group $(TOTALS) ktls

## soak           SECONDS (600) of random records both ways in the machine, at the records and through the
##                daemon at once; KERNEL=6.1, default 6.12
SOAK_S   = $(or $(SECONDS),600)
soak: all $(BUILD)/ktls-tests
	@$(VM) --kernel $(or $(KERNEL),6.12) --timeout $$((2 * $(SOAK_S) + 600)) --env TIELINE_SOAK_S=$(SOAK_S) \
	  sh -c "'$(BUILD_DIR)/ktls-tests' --filter 'ktls_faults/random*' & \
	         tests/flow/run --filter test_f1_soak -- -n0 -s; status=\$$?; wait \$$! && exit \$$status"

## check-ktls-new as check-ktls, what depends on the kernel: on the newest one that Debian has
.PHONY: check-ktls-new
check-ktls-new: all $(SUPPORT_BIN) $(PRELOAD) $(BUILD)/ktls-tests
	@$(STEP) ktls-new -- $(VM) --kernel new --timeout 1200 tests/support/summary each ktls-new \
	  '$(BUILD_DIR)/ktls-tests' flow-new "tests/flow/run --filter 'new_key|key_update|max_records'"

## demo           1,000 calls over TLS on both sides, with a table at the end; KTLS=vm: in the machine
demo: deps
	@$(MAKE) --no-print-directory all
	@tests/demo/run --no-build

## run            the demo configuration in the foreground
run: deps
	@$(MAKE) --no-print-directory all
	@exec tests/demo/run --no-build --foreground

## manual         the tables of options in docs/configuration.md, from the program's own
manual: $(BUILD)/unit
	@RENEW=1 $(BUILD)/unit --filter conf/manual_is_up_to_date

## bench          processor time per message: tieline, tuned Kamailio, a blind TLS relay
bench: deps
	@$(MAKE) --no-print-directory all bench-built
	@bench/run

## bench-check    instructions per message of a fixed replay against bench/check-baseline; RENEW=1
bench-check: deps
	@$(MAKE) --no-print-directory $(BUILD)/tieline $(BUILD)/bench/replay
	@bench/check --build $(BUILD) $(if $(RENEW),--renew)

## asan           unit and flow tests under AddressSanitizer and UBSan, in build/asan
asan: SANITIZE = $(ASAN)
asan: deps
	@$(MAKE) --no-print-directory sanitized NAME=asan 'SAN=$(SANITIZE)'

## tsan           unit and flow tests under ThreadSanitizer, in build/tsan
tsan: SANITIZE = -fsanitize=thread -fno-omit-frame-pointer
tsan: deps
	@$(MAKE) --no-print-directory sanitized NAME=tsan 'SAN=$(SANITIZE)' PLAIN=1

## watchdog       flow tests of a debug build that finds workers that block; FILTER=regular expression
watchdog: deps
	@$(MAKE) --no-print-directory BUILD=build/watchdog CFLAGS=-DTL_WATCHDOG LDFLAGS=-rdynamic \
	  OPT='-O2 -g -fno-omit-frame-pointer' build/watchdog/tieline helpers-built
	@TIELINE=$(CURDIR)/build/watchdog/tieline BUILD_DIR=$(CURDIR)/build/watchdog \
	  $(STEP) watchdog -- tests/flow/run $(if $(FILTER),--filter '$(FILTER)')

## oom            unit tests again, without memory at each place that asks for it once; ARGS='--filter X/Y'
.PHONY: oom
oom: deps
	@$(MAKE) --no-print-directory BUILD=build/oom OOM=1 HARDEN=-fPIE 'SAN=$(ASAN)' OPT='-O0 -g1' build/oom/oom
	@tests/support/summary sanitizers build/oom/oom $(ARGS)

## lint           format, static analysis, headers alone, dependency direction, sizes
lint: deps
	@CC=$(CC) CLANG=$(CLANG) PKG_CFLAGS='$(PKG_CFLAGS)' tests/lint/run

## fuzz           every fuzz target for SECONDS (default 30) each
SECONDS ?= 30
fuzz: deps
	@$(MAKE) --no-print-directory BUILD=build/fuzzing CC=$(CLANG) HARDEN=-fPIE \
	  SAN='-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all' SECONDS=$(SECONDS) fuzz-run

## install        bin, manual page, documents, example configurations, systemd unit and its account
install: $(BUILD)/tieline
	install -Dm755 $(BUILD)/tieline $(DESTDIR)$(PREFIX)/bin/tieline
	install -d $(DESTDIR)$(PREFIX)/share/doc/tieline/configs
	install -m644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/tieline/
	install -m644 $(wildcard configs/*.conf) $(DESTDIR)$(PREFIX)/share/doc/tieline/configs/
	$(if $(wildcard docs/*.md),install -m644 $(wildcard docs/*.md) $(DESTDIR)$(PREFIX)/share/doc/tieline/)
	$(if $(wildcard docs/*.8),install -Dm644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(wildcard docs/*.8))
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -Dm644 configs/tieline.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/tieline.conf
	sed 's|@PREFIX@|$(PREFIX)|g' configs/tieline.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/tieline.service

## clean          remove $(BUILD)
clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

# --- how -------------------------------------------------------------------------------------------

tests-built: $(TESTBIN)
helpers-built: $(SUPPORT_BIN) $(PRELOAD)
bench-built: $(BENCH_BIN) $(SUPPORT_BIN) $(PRELOAD)

hostile-built:
	@$(MAKE) --no-print-directory BUILD=build/asan HARDEN=-fPIE 'SAN=$(ASAN)' OPT='-O1 -g' build/asan/tieline

sanitized:
	@tests/support/summary sanitized $(NAME) -- \
	  $(MAKE) --no-print-directory BUILD=build/$(NAME) HARDEN=-fPIE 'SAN=$(SAN)' OPT='-O1 -g' PLAIN=$(PLAIN)

fuzz-run: $(FUZZ_BIN)
	@tests/support/summary fuzz $(SECONDS) $(BUILD) $(notdir $(FUZZ_BIN))

# A change of compiler or flags rebuilds everything: objects of two compilers never mix.
$(BUILD)/flags: always
	@mkdir -p $(@D)
	@echo '$(CC) $(LTO) $(HOT_ROOMS) $(subst ','\'',$(CFLAGS_ALL)) $(LDFLAGS_ALL)' | cmp -s - $@ || \
	  echo '$(CC) $(LTO) $(HOT_ROOMS) $(subst ','\'',$(CFLAGS_ALL)) $(LDFLAGS_ALL)' > $@

$(BUILD)/tieline: $(BUILD)/src/main.o $(BUILD)/libtieline.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_WHOLE) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# Written under another name first: a second make never links half an archive.
$(BUILD)/libtieline.a: $(OBJ)
	@rm -f $@.new
	@ar rcs $@.new $^ && mv $@.new $@

define compile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS_ALL) $(LTO_FLAGS) $(HOT_FLAGS) $(ORACLE_USE) $(HOOKS) -MMD -MP -c -o $@ $<
	$(if $(RENAME),$(Q)objcopy $(RENAME) $@)
endef
$(BUILD)/src/%.o: LTO_FLAGS = $(LTO:%=% -ffat-lto-objects)
$(foreach room,$(HOT_ROOMS),$(eval $(BUILD)/src/$(room)/%.o: HOT_FLAGS = $(if $(filter -O2,$(OPT)),-O3)))
$(BUILD)/tests/unit/%.o $(BUILD)/obj/bench/%.o: ORACLE_USE = $(ORACLE_CFLAGS)
ifdef OOM
OOM_HOOKED = $(addprefix $(BUILD)/,src/%.o tests/unit/%.o tests/oom/test_%.o) $(SUPPORT_OBJ)
$(OOM_HOOKED): HOOKS = -finstrument-functions
$(filter-out $(BUILD)/src/%,$(OOM_HOOKED)): RENAME = --redefine-sym __cyg_profile_func_enter=oom_test_enter \
  --redefine-sym __cyg_profile_func_exit=oom_test_exit
$(BUILD)/tests/oom/refuse.o: override SAN =
endif
$(BUILD)/%.o: %.c $(BUILD)/flags
	$(compile)
$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(compile)

# tests/unit/fake_ktls.c stands in for the kernel's TLS on the sockets that a test gives it.
SOCKET_SEAM = -Wl,--wrap=setsockopt,--wrap=getsockopt,--wrap=sendmsg,--wrap=recvmsg
$(BUILD)/unit: $(UNIT_OBJ) $(SUPPORT_OBJ) $(RUNNER) $(BUILD)/libtieline.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_PARTS) $(LDFLAGS_ALL) $(SOCKET_SEAM) -o $@ $^ $(LIBS) $(ORACLE_LIBS) $(CRITERION)

$(BUILD)/oom: $(UNIT_OBJ) $(OOM_OBJ) $(SUPPORT_OBJ) $(BUILD)/libtieline.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_PARTS) $(LDFLAGS_ALL) $(SOCKET_SEAM) -o $@ $^ $(LIBS) $(ORACLE_LIBS)

-include $(OOM_OBJ:.o=.d)

$(BUILD)/ktls-tests: $(KTEST_OBJ) $(SUPPORT_OBJ) $(RUNNER) $(BUILD)/libtieline.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_PARTS) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(CRITERION)

$(BUILD)/support/%: $(BUILD)/tests/support/%.o $(SUPPORT_OBJ) $(BUILD)/libtieline.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_PARTS) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(PRELOAD): $(BUILD)/support/%.so: tests/support/preload/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -fPIC -shared -o $@ $<

define bench_program
$(BUILD)/bench/$(1): $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard bench/$(1).c bench/$(1)/*.c)) $(SUPPORT_OBJ) $(BUILD)/libtieline.a
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(LINK_WHOLE) $$(LDFLAGS_ALL) -o $$@ $$^ $$(LIBS) $$(ORACLE_LIBS)
endef
$(foreach b,$(BENCH_DIR) $(BENCH_ONE),$(eval $(call bench_program,$(b))))

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(SUPPORT_OBJ) $(BUILD)/libtieline.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LINK_PARTS) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS)

-include $(OBJ:.o=.d) $(UNIT_OBJ:.o=.d) $(KTEST_OBJ:.o=.d) $(HELPER:%.c=$(BUILD)/%.d) \
  $(BENCH_OBJ:.o=.d) $(FUZZ:%.c=$(BUILD)/%.d) $(BUILD)/src/main.d
.PHONY: all deps check check-unit check-conformance check-flow check-hostile check-ktls soak demo run bench \
  manual bench-check asan tsan watchdog lint fuzz install clean help tests-built helpers-built bench-built hostile-built sanitized fuzz-run always
.SECONDARY:
.DEFAULT_GOAL := all
