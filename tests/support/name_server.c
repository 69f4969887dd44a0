/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name server of dnsd.h as a program, for the flow tests.
 *
 *   name_server PORT TTL UDP_SIZE [silent]
 *
 * as in struct dnsd_options. Prints "port N" and then does what the lines of its
 * standard input say, with whose end it ends:
 *
 *   NAME TYPE DATA   a record of the next zone, as in struct zone_record
 *   end              that zone is in force
 *   asked            the questions since the last time, each "NAME TYPE udp|tcp PORT ID"
 *
 * "ok" ends the answer to the last two.
 */
#include "dnsd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct zone {
  char text[1 << 16];
  size_t used, n;
  struct zone_record record[1024];
};

static void add(struct zone *z, const char *line) {
  char *p = z->text + z->used, *save = NULL;
  z->used += strlen(line) + 1;
  if (z->used > sizeof(z->text) || z->n == sizeof(z->record) / sizeof(*z->record)) abort();
  memcpy(p, line, strlen(line) + 1);
  const char *name = strtok_r(p, " ", &save), *type = strtok_r(NULL, " ", &save);
  const char *data = strtok_r(NULL, "\n", &save);
  if (!data) abort();
  z->record[z->n++] = (struct zone_record){name, (uint16_t)atoi(type), data};
}

static void print_questions(void) {
  static unsigned printed;
  const unsigned asked = dnsd_asked();
  if (asked - printed > DNSD_SEEN) abort();
  for (; printed < asked; printed++) {
    const struct dnsd_question *q = dnsd_question(printed);
    printf("%s %u %s %u %u\n", q->name, q->type, q->tcp ? "tcp" : "udp", q->port, q->id);
  }
}

int main(int argc, char **argv) {
  static struct zone zones[2];
  struct zone *next = zones;
  char line[1024];
  if (argc < 4) return 1;
  const struct dnsd_options o = {.port = (uint16_t)atoi(argv[1]),
                                 .ttl = (unsigned)atoi(argv[2]),
                                 .udp_size = (size_t)atoi(argv[3]),
                                 .silent = argc > 4,
                                 .plain = true};
  dnsd_open(&o, NULL, 0);
  printf("port %u\n", dnsd_port());
  for (; fflush(stdout) == 0 && fgets(line, sizeof(line), stdin);) {
    if (strcmp(line, "asked\n") == 0) {
      print_questions();
    } else if (strcmp(line, "end\n") == 0) {
      dnsd_zone(next->record, next->n);
      next = next == zones ? zones + 1 : zones;
      next->used = next->n = 0;
    } else {
      add(next, line);
      continue;
    }
    puts("ok");
  }
  dnsd_stop();
  return 0;
}
