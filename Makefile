# product_sync: PGXS build.  `make help` lists what else there is.
EXTENSION    = product_sync
override with_llvm = no
EXTVERSION   = 1.0
MODULE_big   = product_sync

OBJS         = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
SQL_PARTS    = $(sort $(wildcard src/sql/*.sql))
DATA_built   = $(EXTENSION)--$(EXTVERSION).sql

PG_CFLAGS    = -std=gnu11 -Wall -Wextra -Werror
PG_CPPFLAGS  = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server) \
               $(shell pkg-config --cflags libcurl libzip jansson)
SHLIB_LINK   = $(shell pkg-config --libs libcurl libzip jansson) -lcrypto -lpthread

PG_CONFIG   ?= pg_config

.DEFAULT_GOAL := all

REGRESS      = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --load-extension=product_sync

include test/targets.mk

# The targets of test/targets.mk run where no PostgreSQL is installed yet.
ifneq ($(filter-out help test check-quick compile-all demo bench fit,$(or $(MAKECMDGOALS),all)),)
PGXS        := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
endif

# The install script is kept in parts, in the order of their names.
$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS)
	cat $^ > $@

# Every object depends on every header and table: the tree is small and a stale object costs more.
$(OBJS): $(wildcard src/*.h src/*/*.h src/*/*.def)
