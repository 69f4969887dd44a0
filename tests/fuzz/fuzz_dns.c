/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: an answer of a name server, read as one to the question that stands
 * in it, for each type that is asked for, and the choice among what was found
 * (RFC 3263). The seeds are hostile answers of every record type.
 */
#include <ares.h>
#include <stdlib.h>

#include "tieline/dns.h"
#include "tieline/err.h"
#include "tieline/locate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok) {
  if (!ok) abort();
}

/* The name in the question, or one that is in none. */
static void name_asked(const uint8_t *p, size_t n, char out[TL_DNS_NAME_MAX]) {
  char *text = NULL;
  long used;
  strcpy(out, "x.example");
  if (n < 12 || n > UINT16_MAX || ares_expand_name(p + 12, p, (int)n, &text, &used)) return;
  if (strlen(text) < TL_DNS_NAME_MAX) strcpy(out, text);
  ares_free_string(text);
}

static bool ends(const char *text, size_t cap) { return strnlen(text, cap) < cap; }

static void judge(const struct tl_dns_answer *a, uint16_t type) {
  struct tl_services services = {.n = 0};
  struct tl_srvs srvs = {.n = 0};
  must(a->n <= TL_DNS_RECORDS_MAX && a->ttl_s <= 86400);
  must((a->status == TL_DNS_FOUND) == (a->n > 0));
  for (size_t i = 0; i < a->n; i++) {
    const struct tl_dns_record *r = &a->at[i];
    must(ends(r->name, sizeof(r->name)) && ends(r->flags, sizeof(r->flags)));
    must(ends(r->service, sizeof(r->service)));
    const struct tl_naptr n = {.order = r->order,
                               .preference = r->preference,
                               .flags = r->flags,
                               .service = r->service,
                               .regexp = r->rewrites ? "!" : "",
                               .replacement = r->name};
    if (type == TL_DNS_NAPTR) tl_locate_naptr(&services, &n, false);
    if (type == TL_DNS_SRV) tl_locate_srv(&srvs, r->name, r->priority, r->weight, r->port);
    if (type == TL_DNS_A) must(r->addr.sa.sa_family == AF_INET);
    if (type == TL_DNS_AAAA) must(r->addr.sa.sa_family == AF_INET6);
  }
  tl_locate_order(&srvs);
  must(services.n <= TL_SERVICES_MAX && srvs.n <= TL_SRV_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint16_t types[] = {TL_DNS_A, TL_DNS_AAAA, TL_DNS_SRV, TL_DNS_NAPTR};
  char name[TL_DNS_NAME_MAX];
  name_asked(data, size, name);
  for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    struct tl_dns_answer *a = NULL;
    int rc = tl_dns_read(data, size, name, types[i], &a);
    must((rc == 0) == (a != NULL));
    if (a) judge(a, types[i]);
    free(a);
  }
  return 0;
}
