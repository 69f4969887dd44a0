/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which drivers the kernel takes for the ciphers of its TLS, and whether they are
 * plain C: from /proc/crypto, which lists what has been asked for, so after the probe.
 *
 * What cannot be read or understood counts as accelerated: then `records = auto` does as
 * it would without this file.
 */
#include <stdlib.h>
#include <string.h>

#include "ktls/ktls_internal.h"

/* A kernel with every module loaded lists some 15,000 lines. */
#define LINES_MAX 65536

/* One block of lines; ends at an empty one. */
struct entry {
  char name[TL_KTLS_DRIVER_CAP], driver[TL_KTLS_DRIVER_CAP];
  long priority;
  bool tested, internal;
};

static const char *const algorithm[TL_CIPHERS] = {
    [TL_AES_128_GCM] = "gcm(aes)",
    [TL_AES_256_GCM] = "gcm(aes)",
    [TL_CHACHA20_POLY1305] = "rfc7539(chacha20,poly1305)",
};

/* Is any part plain C? "gcm_base(ctr(aes-generic),ghash-generic)" is; "generic-gcm-aesni" is what
 * AES-NI calls its GCM outside IPsec. */
static bool has_generic_part(const char *driver) {
  static const char mark[] = "-generic";
  for (const char *p = driver; (p = strstr(p, mark)); p += sizeof(mark) - 1)
    if (strchr(",)", p[sizeof(mark) - 1])) return true; /* its NUL is found as well */
  return false;
}

/* "key   : value": the value without its newline, if LINE has KEY. */
static const char *value_of(char *line, const char *key) {
  size_t n = strlen(key);
  char *colon = strchr(line, ':');
  if (!colon || strncmp(line, key, n) != 0) return NULL;
  if (line + n + strspn(line + n, " \t") != colon) return NULL;
  colon += 1 + strspn(colon + 1, " \t");
  colon[strcspn(colon, "\n")] = '\0';
  return colon;
}

/* A name that does not fit is none of ours. */
static void copy_name(char out[TL_KTLS_DRIVER_CAP], const char *v) {
  snprintf(out, TL_KTLS_DRIVER_CAP, "%s", strlen(v) < TL_KTLS_DRIVER_CAP ? v : "");
}

static void read_line(struct entry *e, char *line) {
  const char *v;
  if ((v = value_of(line, "name")))
    copy_name(e->name, v);
  else if ((v = value_of(line, "driver")))
    copy_name(e->driver, v);
  else if ((v = value_of(line, "priority")))
    e->priority = strtol(v, NULL, 10);
  else if ((v = value_of(line, "selftest")))
    e->tested = strcmp(v, "passed") == 0;
  else if ((v = value_of(line, "internal")))
    e->internal = strcmp(v, "no") != 0;
}

/* Keeps E for each cipher that it does better. Of equals the kernel takes the one that it lists
 * first, as here. Internal ones are parts of others. */
static void take_entry(const struct entry *e, long best[TL_CIPHERS], struct tl_ktls_caps *out) {
  if (!e->driver[0] || !e->tested || e->internal) return;
  for (int c = 0; c < TL_CIPHERS; c++) {
    if (strcmp(e->name, algorithm[c]) != 0 || e->priority <= best[c]) continue;
    best[c] = e->priority;
    memcpy(out->driver[c], e->driver, sizeof(e->driver));
    out->slow[c] = has_generic_part(e->driver);
  }
}

void tl_ktls_read_drivers(FILE *f, struct tl_ktls_caps *out) {
  char line[TL_KTLS_DRIVER_CAP + 32];
  long best[TL_CIPHERS];
  struct entry e = {0};
  for (int c = 0; c < TL_CIPHERS; c++) {
    best[c] = -1;
    out->slow[c] = false;
    out->driver[c][0] = '\0';
  }
  for (unsigned n = 0; n < LINES_MAX && fgets(line, sizeof(line), f); n++) {
    if (line[0] != '\n') {
      read_line(&e, line);
      continue;
    }
    take_entry(&e, best, out);
    e = (struct entry){0};
  }
  take_entry(&e, best, out);
}

void tl_ktls_find_drivers(struct tl_ktls_caps *out) {
  FILE *f = fopen("/proc/crypto", "re");
  if (!f) return;
  tl_ktls_read_drivers(f, out);
  fclose(f);
}

bool tl_ktls_any_fast(const struct tl_ktls_caps *caps) {
  for (int c = 0; c < TL_CIPHERS; c++)
    for (int v = 0; v < 2; v++)
      if (caps->tx[v][c] && caps->rx[v][c] && !caps->slow[c]) return true;
  return false;
}
