/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_method as operators of other SIP servers write it: words, ranges, open
 * ranges, lists. Versions older than TLS 1.2 are recognised and refused. The
 * SSL_CTX is set up in tls/domain.c.
 */
#include <stdlib.h>

#include "conf/conf_internal.h"
#include "tieline/record.h"

#define OLD                                                                                        \
  "versions before TLS 1.2 are broken and not spoken (RFC 8996); write TLSv1_2-TLSv1_3, TLSv1_2 "  \
  "or TLSv1_3"
#define UNKNOWN "this is no TLS version; write TLSv1_2-TLSv1_3, TLSv1_2 or TLSv1_3"

static const struct word {
  const char *name;
  int version; /* 0: too old */
} words[] = {{"TLSv1_2", TL_TLS_1_2},
             {"TLSv1_3", TL_TLS_1_3},
             {"TLSv1.2", TL_TLS_1_2},
             {"TLSv1.3", TL_TLS_1_3},
             {"SSLv2", 0},
             {"SSLv3", 0},
             {"TLSv1", 0},
             {"TLSv1_0", 0},
             {"TLSv1.0", 0},
             {"TLSv1_1", 0},
             {"TLSv1.1", 0}};

static int version_of(const char *p, size_t n, int *out, const char **note) {
  for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
    if (strlen(words[i].name) != n || strncasecmp(words[i].name, p, n) != 0) continue;
    if ((*out = words[i].version)) return TL_OK;
    *note = OLD;
    return TL_ECONFIG;
  }
  *note = UNKNOWN;
  return TL_ECONFIG;
}

/* One word or range of N bytes; a missing end means the lowest or highest version. */
static int parse_item(const char *p, size_t n, int *min, int *max, const char **note) {
  int rc = TL_OK;
  if (n == 6 && strncasecmp(p, "SSLv23", n) == 0) {
    *note = "tls_method SSLv23 means whatever both sides speak: taken as TLSv1_2-TLSv1_3, as "
            "nothing older is spoken.";
    *min = TL_TLS_1_2;
    *max = TL_TLS_1_3;
    return TL_OK;
  }
  const char *dash = memchr(p, '-', n);
  if (!dash && n && p[n - 1] == '+') dash = p + n - 1;
  if (!dash) {
    rc = version_of(p, n, min, note);
    *max = *min;
    return rc;
  }
  size_t left = (size_t)(dash - p), right = n - left - 1;
  *min = TL_TLS_1_2;
  *max = TL_TLS_1_3;
  if (!left && !right) {
    *note = UNKNOWN;
    return TL_ECONFIG;
  }
  if (left) rc = version_of(p, left, min, note);
  if (!rc && right) rc = version_of(dash + 1, right, max, note);
  if (!rc && *min > *max) {
    *note = "the lowest version is above the highest";
    rc = TL_ECONFIG;
  }
  return rc;
}

int tl_conf_parse_method(const char *text, int *out_min, int *out_max, const char **out_note) {
  int min = 0, max = 0;
  *out_note = NULL;
  for (const char *p = text; *p;) {
    size_t gap = strspn(p, " ,"), n;
    p += gap;
    n = strcspn(p, " ,");
    if (!n) break;
    int a = 0, b = 0, rc = parse_item(p, n, &a, &b, out_note);
    if (rc) return rc;
    if (!min || a < min) min = a;
    if (b > max) max = b;
    p += n;
  }
  if (!min) {
    *out_note = UNKNOWN;
    return TL_ECONFIG;
  }
  *out_min = min;
  *out_max = max;
  return TL_OK;
}
