/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names from the hosts file, and whether any name server can be reached. The
 * files are small, and the callers may wait for a disk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tieline/locate.h"

#define BLANK " \t\r\n"

static const char *hosts_file = "/etc/hosts";
static const char *resolv_conf_file;

void tl_dns_files(const char *hosts, const char *resolv_conf) {
  if (hosts) hosts_file = hosts;
  if (resolv_conf) resolv_conf_file = resolv_conf;
}

const char *tl_dns_hosts_file(void) { return hosts_file; }

const char *tl_dns_resolv_conf(void) { return resolv_conf_file; }

static bool line_has(char *names, const char *host) {
  char *save = NULL;
  for (char *w = strtok_r(names, BLANK, &save); w; w = strtok_r(NULL, BLANK, &save))
    if (strcasecmp(w, host) == 0) return true;
  return false;
}

static size_t from_line(char *line, const char *host, struct tl_addr *out) {
  char *comment = strchr(line, '#'), *save = NULL;
  if (comment) *comment = '\0';
  char *ip = strtok_r(line, BLANK, &save);
  if (!ip || !save || tl_addr_parse(tl_str_c(ip), 0, out)) return 0;
  return line_has(save, host);
}

/* RFC 6761 6.3: these never go to a name server. */
static bool is_localhost(const char *host) {
  size_t n = strlen(host), k = strlen("localhost");
  return n >= k && strcasecmp(host + n - k, "localhost") == 0 && (n == k || host[n - k - 1] == '.');
}

size_t tl_locate_hosts(const char *file, const char *host, struct tl_addr *out, size_t cap) {
  FILE *f = fopen(file, "re");
  char *line = NULL;
  size_t n = 0, line_cap = 0;
  while (f && n < cap && getline(&line, &line_cap, f) > 0) n += from_line(line, host, &out[n]);
  free(line);
  if (f) fclose(f);
  if (n == 0 && cap >= 2 && is_localhost(host)) {
    tl_addr_parse(TL_STR("127.0.0.1"), 0, &out[n++]);
    tl_addr_parse(TL_STR("::1"), 0, &out[n++]);
  }
  return n;
}

bool tl_locate_routable(const struct tl_addr *a) {
  struct tl_addr to = *a;
  if (!tl_addr_port(&to)) tl_addr_set_port(&to, 9);
  int fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool ok = fd >= 0 && connect(fd, &to.sa, tl_addr_len(&to)) == 0;
  if (fd >= 0) close(fd);
  return ok;
}

bool tl_locate_servers(const char *resolv_conf) {
  FILE *f = fopen(resolv_conf ? resolv_conf : "/etc/resolv.conf", "re");
  char *line = NULL;
  size_t line_cap = 0;
  bool none = true, found = false;
  while (f && !found && getline(&line, &line_cap, f) > 0) {
    char *save = NULL, *word = strtok_r(line, BLANK, &save);
    struct tl_addr a;
    if (!word || strcmp(word, "nameserver") != 0) continue;
    word = strtok_r(NULL, BLANK, &save);
    if (!word || tl_addr_parse(tl_str_c(word), 53, &a)) continue;
    none = false;
    found = tl_locate_routable(&a);
  }
  free(line);
  if (f) fclose(f);
  return found || none; /* without a nameserver line, one on this host is asked */
}
