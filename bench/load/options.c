/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command line of the load generator: turns arguments into struct options and
 * refuses what makes no sense. Opens nothing.
 */
#include "load.h"

#include <getopt.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: load --proxy TR:ADDR:PORT [options]     TR is tls, tcp or udp\n"
    "       load --direct --callee TR [options]     callers straight to callees\n"
    "load\n"
    "  --connections C (1)  --window W (1)   closed loop: C connections, W in flight on each\n"
    "  --kind LIST (options)                 options, message, call; weights as call:3,message:1\n"
    "  --body MIN[..MAX] (300)               bytes of a MESSAGE or INVITE body\n"
    "  --reply-body MIN[..MAX] (0)           bytes of the body in a 200\n"
    "  --pad N (0)                           extra bytes of header in every message\n"
    "  --count N | --seconds S (5)           how much to measure\n"
    "  --warmup S (0)   --prime              unmeasured load first; one request per server before\n"
    "  --flush turn|each (turn)              what is due to a connection leaves together, or "
    "singly\n"
    "  --split                               cut the stream at random places\n"
    "  --key-update N                        TLS 1.3 KeyUpdate by callers each N transactions\n"
    "callees\n"
    "  --callee TR (as the proxy's)  --servers N (4)  --callee-addr A (127.0.0.1)\n"
    "  --callee-port P (0: any; else P, P+1 ...)   --tickets N   --require-cert\n"
    "TLS\n"
    "  --tls 1.2|1.3|any (any)  --cipher NAME  --cert F --key F  --ca F (verify)  --sni NAME\n"
    "  --client-cert                         callers show --cert too\n"
    "  --handshakes N (8)                    connections being opened at one time\n"
    "judging\n"
    "  --hops N (1; 0 with --direct)         SIP proxies on the way; 0 suits a blind relay\n"
    "  --no-order                            do not require order per connection\n"
    "  --timeout S (20)  --limit S (600)  --max-failures N (1000)\n"
    "  --watch PID                           processor time and memory of that process tree\n"
    "  --seed N  --json  --quiet\n";

static int parse_transport(const char *s, size_t n, enum transport *out) {
  static const char *const names[] = {"udp", "tcp", "tls"};
  for (unsigned i = 0; i < 3; i++) {
    if (n == 3 && !strncmp(s, names[i], 3)) {
      *out = (enum transport)i;
      return 0;
    }
  }
  return -1;
}

static int parse_range(const char *s, size_t *min, size_t *max) {
  char *end;
  *min = *max = strtoul(s, &end, 10);
  if (end != s && !strncmp(end, "..", 2)) {
    const char *second = end + 2;
    *max = strtoul(second, &end, 10);
    if (end == second) return -1;
  }
  return end == s || *end || *min > *max || *max > BODY_MAX ? -1 : 0;
}

static int parse_kinds(const char *s, unsigned weight[KIND_COUNT]) {
  static const char *const names[] = {"options", "message", "call"};
  while (*s) {
    unsigned k = 0;
    while (k < KIND_COUNT && strncmp(s, names[k], strlen(names[k]))) k++;
    if (k == KIND_COUNT) return -1;
    s += strlen(names[k]);
    weight[k] = 1;
    if (*s == ':') {
      char *end;
      weight[k] = (unsigned)strtoul(s + 1, &end, 10);
      s = end;
    }
    if (*s == ',') s++;
  }
  return weight[0] + weight[1] + weight[2] ? 0 : -1;
}

static int parse_tls(const char *s, struct options *o) {
  o->tls_min = TLS1_2_VERSION;
  o->tls_max = TLS1_3_VERSION;
  if (!strcmp(s, "1.2"))
    o->tls_max = TLS1_2_VERSION;
  else if (!strcmp(s, "1.3"))
    o->tls_min = TLS1_3_VERSION;
  else if (strcmp(s, "any"))
    return -1;
  return 0;
}

static int parse_proxy(const char *s, struct options *o) {
  if (strlen(s) < 5 || s[3] != ':' || parse_transport(s, 3, &o->caller_tr)) return -1;
  return addr_parse_text(s + 4, &o->proxy);
}

enum {
  O_PROXY = 256,
  O_DIRECT,
  O_CONN,
  O_WINDOW,
  O_KIND,
  O_BODY,
  O_REPLY,
  O_PAD,
  O_COUNT,
  O_SECONDS,
  O_WARMUP,
  O_PRIME,
  O_FLUSH,
  O_SPLIT,
  O_KEYUP,
  O_CALLEE,
  O_SERVERS,
  O_CADDR,
  O_CPORT,
  O_TICKETS,
  O_REQCERT,
  O_TLS,
  O_CIPHER,
  O_CERT,
  O_KEY,
  O_CA,
  O_SNI,
  O_CLICERT,
  O_HANDSHAKES,
  O_HOPS,
  O_NOORDER,
  O_TIMEOUT,
  O_LIMIT,
  O_MAXFAIL,
  O_WATCH,
  O_SEED,
  O_JSON,
  O_QUIET,
  O_HELP
};

static const struct option table[] = {{"proxy", 1, 0, O_PROXY},
                                      {"direct", 0, 0, O_DIRECT},
                                      {"connections", 1, 0, O_CONN},
                                      {"window", 1, 0, O_WINDOW},
                                      {"kind", 1, 0, O_KIND},
                                      {"body", 1, 0, O_BODY},
                                      {"reply-body", 1, 0, O_REPLY},
                                      {"pad", 1, 0, O_PAD},
                                      {"count", 1, 0, O_COUNT},
                                      {"seconds", 1, 0, O_SECONDS},
                                      {"warmup", 1, 0, O_WARMUP},
                                      {"prime", 0, 0, O_PRIME},
                                      {"flush", 1, 0, O_FLUSH},
                                      {"split", 0, 0, O_SPLIT},
                                      {"key-update", 1, 0, O_KEYUP},
                                      {"callee", 1, 0, O_CALLEE},
                                      {"servers", 1, 0, O_SERVERS},
                                      {"callee-addr", 1, 0, O_CADDR},
                                      {"callee-port", 1, 0, O_CPORT},
                                      {"tickets", 1, 0, O_TICKETS},
                                      {"require-cert", 0, 0, O_REQCERT},
                                      {"tls", 1, 0, O_TLS},
                                      {"cipher", 1, 0, O_CIPHER},
                                      {"cert", 1, 0, O_CERT},
                                      {"key", 1, 0, O_KEY},
                                      {"ca", 1, 0, O_CA},
                                      {"sni", 1, 0, O_SNI},
                                      {"client-cert", 0, 0, O_CLICERT},
                                      {"handshakes", 1, 0, O_HANDSHAKES},
                                      {"hops", 1, 0, O_HOPS},
                                      {"no-order", 0, 0, O_NOORDER},
                                      {"timeout", 1, 0, O_TIMEOUT},
                                      {"limit", 1, 0, O_LIMIT},
                                      {"max-failures", 1, 0, O_MAXFAIL},
                                      {"watch", 1, 0, O_WATCH},
                                      {"seed", 1, 0, O_SEED},
                                      {"json", 0, 0, O_JSON},
                                      {"quiet", 0, 0, O_QUIET},
                                      {"help", 0, 0, O_HELP},
                                      {0, 0, 0, 0}};

static unsigned number(const char *s) { return (unsigned)strtoul(s, NULL, 10); }

static int apply_load(int opt, const char *v, struct options *o) {
  switch (opt) {
  case O_PROXY: return parse_proxy(v, o);
  case O_DIRECT: o->direct = true; return 0;
  case O_CONN: o->connections = number(v); return 0;
  case O_WINDOW: o->window = number(v); return 0;
  case O_KIND: memset(o->weight, 0, sizeof(o->weight)); return parse_kinds(v, o->weight);
  case O_BODY: return parse_range(v, &o->body_min, &o->body_max);
  case O_REPLY: return parse_range(v, &o->reply_min, &o->reply_max);
  case O_PAD: o->pad = number(v); return o->pad > 60000 ? -1 : 0;
  case O_COUNT: o->count = strtoull(v, NULL, 10); return 0;
  case O_SECONDS: o->seconds = atof(v); return 0;
  case O_WARMUP: o->warmup_s = atof(v); return 0;
  case O_PRIME: o->prime = true; return 0;
  case O_FLUSH: o->flush_each = !strcmp(v, "each"); return strcmp(v, "each") && strcmp(v, "turn");
  case O_SPLIT: o->split = true; return 0;
  case O_KEYUP: o->key_update = number(v); return 0;
  default: return 1;
  }
}

static int apply_tls(int opt, const char *v, struct options *o) {
  switch (opt) {
  case O_TLS: return parse_tls(v, o);
  case O_CIPHER: o->cipher = v; return 0;
  case O_CERT: o->cert = v; return 0;
  case O_KEY: o->key = v; return 0;
  case O_CA: o->ca = v; return 0;
  case O_SNI: o->sni = v; return 0;
  case O_CLICERT: o->client_cert = true; return 0;
  case O_REQCERT: o->require_cert = true; return 0;
  case O_TICKETS: o->tickets = atoi(v); return 0;
  case O_HANDSHAKES: o->handshakes = number(v); return o->handshakes ? 0 : -1;
  default: return 1;
  }
}

static int apply_rest(int opt, const char *v, struct options *o, bool *callee_set) {
  switch (opt) {
  case O_CALLEE: *callee_set = true; return parse_transport(v, strlen(v), &o->callee_tr);
  case O_SERVERS: o->servers = number(v); return 0;
  case O_CADDR: o->callee_host = v; return 0;
  case O_CPORT: o->callee_port = number(v); return 0;
  case O_HOPS: o->hops = number(v); return 0;
  case O_NOORDER: o->no_order = true; return 0;
  case O_TIMEOUT: o->timeout_s = atof(v); return 0;
  case O_LIMIT: o->limit_s = atof(v); return 0;
  case O_MAXFAIL: o->max_failures = strtoull(v, NULL, 10); return 0;
  case O_WATCH: o->watch = atoi(v); return 0;
  case O_SEED: o->seed = strtoull(v, NULL, 0); return 0;
  case O_JSON: o->json = true; return 0;
  case O_QUIET: o->quiet = true; return 0;
  case O_HELP: fputs(usage, stdout); exit(0);
  default: return -1;
  }
}

static int check(struct options *o, bool callee_set) {
  if (!o->direct && !o->proxy.len) return -1;
  if (!callee_set) o->callee_tr = o->caller_tr;
  if (o->direct) {
    o->caller_tr = o->callee_tr;
    o->hops = 0;
  }
  if (!o->connections || o->connections > 65535 || !o->window || o->window > 65535) return -1;
  if (!o->servers || o->servers > MAX_SERVERS || o->seed == 0) return -1;
  if (o->callee_port && o->callee_port + o->servers > 65535) return -1;
  return 0;
}

int options_parse(int argc, char **argv, struct options *o) {
  bool callee_set = false;
  *o = (struct options){.callee_host = "127.0.0.1",
                        .servers = 4,
                        .connections = 1,
                        .window = 1,
                        .handshakes = 8,
                        .body_min = 300,
                        .body_max = 300,
                        .seconds = 5,
                        .timeout_s = 20,
                        .limit_s = 600,
                        .hops = 1,
                        .tickets = -1,
                        .seed = 1,
                        .max_failures = 1000,
                        .tls_min = TLS1_2_VERSION,
                        .caller_tr = TR_TLS,
                        .callee_tr = TR_TLS,
                        .tls_max = TLS1_3_VERSION};
  o->weight[KIND_OPTIONS] = 1;
  int opt, which = 0;
  while ((opt = getopt_long(argc, argv, "", table, &which)) != -1) {
    if (opt == '?') return -1;
    int rc = apply_load(opt, optarg, o);
    if (rc == 1) rc = apply_tls(opt, optarg, o);
    if (rc == 1) rc = apply_rest(opt, optarg, o, &callee_set);
    if (rc) {
      fprintf(stderr, "load: --%s: not understood: %s\n", table[which].name, optarg ? optarg : "");
      return -1;
    }
  }
  if (optind != argc || check(o, callee_set)) {
    fputs(usage, stderr);
    return -1;
  }
  return 0;
}
