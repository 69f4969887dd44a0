/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command peer: an administrator takes a peer, or one of its addresses, out, puts it back, or
 * has it used whatever its health.
 */
#include <string.h>

#include "control/admin.h"
#include "control/command.h"
#include "control/control_internal.h"
#include "control/json_values.h"
#include "control/rpc.h"
#include "tieline/log.h"

#define BY_MAX 64

/* Does A, which may have no port, name one of PEER's addresses? */
static bool has_address(const struct tl_control *c, const struct tl_conf_peer *peer,
                        const struct tl_addr *a) {
  const struct tl_addr_list *l = tl_peer_table_addrs(tl_runtime_published(c->rt)->peers, peer);
  for (size_t k = 0; k < l->n; k++)
    if (tl_addr_port(a) ? tl_addr_eq(&l->at[k].addr, a) : tl_addr_ip_eq(&l->at[k].addr, a))
      return true;
  return false;
}

static int read_state(const char *name, enum tl_admin_state *out) {
  for (int i = 0; i < TL_ADMIN_STATES; i++)
    if (strcmp(name, tl_admin_state_names[i]) == 0) return *out = (enum tl_admin_state)i, TL_OK;
  return TL_ESYNTAX;
}

/* The address as it is kept: one of several ways to write it. */
static int read_address(const char *text, struct tl_admin_entry *e, char out[TL_ADDR_STRLEN]) {
  if (tl_param_address(text, &e->addr)) return TL_ESYNTAX;
  if (tl_addr_port(&e->addr))
    tl_addr_format(&e->addr, out);
  else
    tl_addr_format_host(&e->addr, out);
  e->address = out;
  return TL_OK;
}

static json_t *answer_of(const struct tl_control *c, const struct tl_admin_entry *e,
                         const char *why) {
  const struct tl_admin_entry *now = tl_admin_find(c, e->peer, e->address ? &e->addr : NULL);
  return json_pack("{s:o, s:o, s:o, s:b, s:o}", "peer", tl_json_text(e->peer), "address",
                   tl_json_text(e->address), "admin", tl_admin_json(now), "kept", *why == '\0',
                   "problem", *why ? tl_json_text(why) : json_null());
}

int tl_command_peer(struct tl_control *c, struct tl_request *req, const json_t *params,
                    struct tl_answer *a) {
  const char *name = tl_param_text(params, "name"), *address = tl_param_text(params, "address");
  const char *by = tl_param_text(params, "by");
  char text[TL_ADDR_STRLEN], who[BY_MAX], why[256];
  const struct tl_peer_table *t = tl_runtime_published(c->rt)->peers;
  const struct tl_conf_peer *peer = tl_peer_table_by_name(t, name);
  (void)req;
  snprintf(who, sizeof(who), "%s", *by ? by : "unknown");
  struct tl_admin_entry e = {
      .peer = (char *)(uintptr_t)name, .by = who, .at = time(NULL), .state = TL_ADMIN_NONE};
  if (!peer) return tl_command_fail(a, TL_RPC_PARAMS, "there is no peer \"%.64s\"", name);
  if (read_state(tl_param_text(params, "state"), &e.state))
    return tl_command_fail(a, TL_RPC_PARAMS, "the state is up, drain, down or none");
  if (*address && (read_address(address, &e, text) || (e.state && !has_address(c, peer, &e.addr))))
    return tl_command_fail(a, TL_RPC_PARAMS, "peer \"%.64s\" has no address \"%.64s\"", name,
                           address);
  int rc = tl_admin_set(c, &e, why, sizeof(why));
  if (rc)
    return tl_command_fail(a, TL_RPC_NOT_NOW, "%s",
                           rc == TL_ELIMIT ? "there are too many such states" : tl_strerror(rc));
  TL_LOG(TL_LOG_INFO, "The state of a peer was set by ctl.", TL_FC("peer", name),
         TL_FC("address", e.address ? e.address : ""),
         TL_FC("state", tl_admin_state_names[e.state]), TL_FC("by", who));
  if (*why)
    TL_LOG(TL_LOG_WARN, "The state of a peer will not outlive a restart.", TL_FC("problem", why));
  a->result = answer_of(c, &e, why);
  return 0;
}
