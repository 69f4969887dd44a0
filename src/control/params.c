/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values in and out of commands: durations, addresses, filters, times.
 */
#include <string.h>
#include <time.h>

#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"

const char *tl_param_text(const json_t *params, const char *name) {
  const char *s = json_string_value(json_object_get(params, name));
  return s ? s : "";
}

int64_t tl_param_duration(const json_t *params, const char *name, int64_t max_ms) {
  static const struct {
    const char *unit;
    int64_t ms;
  } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
  const json_t *v = json_object_get(params, name);
  if (!v) return 0;
  if (json_is_integer(v)) {
    json_int_t n = json_integer_value(v);
    return n > 0 && n <= max_ms / 1000 ? n * 1000 : -1;
  }
  const char *text = tl_param_text(params, name);
  const size_t digits = strspn(text, "0123456789");
  uint64_t n = 0;
  if (tl_str_u64((struct tl_str){text, digits}, INT32_MAX, &n) || n == 0) return -1;
  for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
    if (strcmp(text + digits, units[i].unit) == 0)
      return (int64_t)n <= max_ms / units[i].ms ? (int64_t)n * units[i].ms : -1;
  return -1;
}

int tl_param_address(const char *text, struct tl_addr *out) {
  struct tl_str s = tl_str_c(text);
  const char *colon = strrchr(text, ':');
  uint64_t port = 0;
  if (tl_addr_parse(s, 0, out) == 0) return 0; /* includes IPv6 without brackets */
  if (!colon || tl_str_u64(tl_str_c(colon + 1), 65535, &port)) return TL_ESYNTAX;
  return tl_addr_parse((struct tl_str){text, (size_t)(colon - text)}, (uint16_t)port, out)
             ? TL_ESYNTAX
             : 0;
}

/* An address, or a configured peer with all its addresses and its identity. */
static int filter_peer(struct tl_control *c, const char *text, struct tl_conn_filter *f) {
  f->by_peer = true;
  if (tl_param_address(text, &f->addr[0]) == 0) {
    f->n_addr = 1;
    return 0;
  }
  const struct tl_peer_table *t = tl_runtime_published(c->rt)->peers;
  const struct tl_conf_peer *p = tl_peer_table_by_name(t, text);
  if (!p) return TL_ENOTFOUND;
  const struct tl_addr_list *l = tl_peer_table_addrs(t, p);
  for (size_t k = 0; k < l->n && f->n_addr < TL_FILTER_ADDRS; k++) {
    f->addr[f->n_addr] = l->at[k].addr;
    tl_addr_set_port(&f->addr[f->n_addr++], 0); /* its own connections come from any port */
  }
  snprintf(f->peer_identity, sizeof(f->peer_identity), "%s", p->identity ? p->identity : "");
  return 0;
}

int tl_param_filter(struct tl_control *c, const json_t *params, struct tl_conn_filter *out,
                    struct tl_answer *a) {
  const char *peer = tl_param_text(params, "peer");
  memset(out, 0, sizeof(*out));
  snprintf(out->identity, sizeof(out->identity), "%s", tl_param_text(params, "identity"));
  snprintf(out->domain, sizeof(out->domain), "%s", tl_param_text(params, "domain"));
  if (!*peer || filter_peer(c, peer, out) == 0) return 0;
  tl_command_fail(a, TL_RPC_PARAMS, "\"%.80s\" is neither a valid address nor a configured peer",
                  peer);
  return TL_ENOTFOUND;
}

json_t *tl_json_time(time_t at) {
  char text[TL_TIME_STRLEN];
  return at && *tl_time_text(at, text) ? json_string(text) : json_null();
}

json_t *tl_json_address(const struct tl_addr *a) {
  char buf[TL_ADDR_STRLEN];
  return json_string(tl_addr_format(a, buf));
}

json_t *tl_json_text(const char *s) { return s ? tl_rpc_text(s, SIZE_MAX) : json_null(); }
