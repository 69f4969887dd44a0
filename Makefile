# Tieline. `make help` lists the targets.
BUILD   ?= build
CC      ?= gcc
PKGS     = openssl liburing libconfuse jansson liburcu-memb liburcu-cds libsystemd sofia-sip-ua
VERSION  = 0.1.0
WARN     = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
HARDEN   = -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE
OPT     ?= -O2 -g
CFLAGS_ALL = -std=gnu11 -D_GNU_SOURCE -DTL_VERSION='"$(VERSION)"' $(OPT) $(WARN) $(HARDEN) $(SAN) \
             -Iinclude -Isrc $(shell pkg-config --cflags $(PKGS)) $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now $(SAN) $(LDFLAGS)
LIBS     = $(shell pkg-config --libs $(PKGS)) -lIPSec_MB -lpthread

SRC      = $(sort $(wildcard src/*/*.c))
OBJ      = $(SRC:%.c=$(BUILD)/%.o)
UNIT     = $(sort $(wildcard tests/unit/*.c))
UNIT_OBJ = $(UNIT:%.c=$(BUILD)/%.o)

all: $(BUILD)/tieline

$(BUILD)/tieline: $(BUILD)/src/main.o $(BUILD)/libtieline.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/libtieline.a: $(OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/unit: $(UNIT_OBJ) $(BUILD)/libtieline.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcriterion

check-unit: $(BUILD)/unit
	$(BUILD)/unit

clean:
	rm -rf $(BUILD)

-include $(OBJ:.o=.d) $(UNIT_OBJ:.o=.d) $(BUILD)/src/main.d
.PHONY: all check-unit clean
