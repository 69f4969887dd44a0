/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage authorise: checks what a request asserts in From and P-Asserted-Identity against its
 * source (FEATURES C1, C9 to C11, D26). A certificate for a domain covers any user of it, one with
 * a user's sip: URI covers that URI alone; the peer's domains and the identity map add to it.
 * Verdicts are cached per connection and domain.
 *
 * Who the source is, is decided in source.c.
 */
#include "stage.h"

#include <ctype.h>
#include <stdio.h>

#include "tieline/log_limit.h"
#include "tieline/siphash.h"
#include "tieline/view.h"

enum { COVERED = 1, NOT_COVERED, SOME_USERS, THIS_USER };

/* ---- hosts ---- */

/* Does a subjectAltName name a single user's URI at HOST? */
static bool names_users(const struct tl_identity *id, struct tl_str host) {
  for (size_t i = 0; id && i < id->n_san; i++) {
    const char *at = id->san[i].kind == TL_SAN_URI ? strchr(id->san[i].value, '@') : NULL;
    if (at && tl_host_eq(tl_str_c(at + 1), host)) return true;
  }
  return false;
}

/* ---- what a source may say ---- */

/* Does the identity map grant S the domain of U (COVERED), this very user, or only others there? */
static int map_verdict(const struct tl_source *s, const struct tl_uri *u) {
  int best = NOT_COVERED;
  for (unsigned i = 0; i < s->n_map; i++)
    for (char **w = s->map[i]->granted; *w; w++) {
      const char *at = strrchr(*w, '@');
      if (!tl_host_eq(tl_str_c(at ? at + 1 : *w), u->host)) continue;
      if (!at) return COVERED;
      best = SOME_USERS;
      if (tl_str_eq((struct tl_str){*w, (size_t)(at - *w)}, u->user)) return THIS_USER;
    }
  return best;
}

static int judge_domain(const struct tl_proxy *p, const struct tl_source *s,
                        const struct tl_identity *id, const struct tl_uri *u) {
  const struct tl_conf_peer *peer = s->peer;
  const struct tl_peer_set *set = tl_net_view(p->net)->peers->set;
  if (id && tl_identity_speaks_for(id, u->host, s->allow_cn)) return COVERED;
  if (peer && (tl_peer_has_domain(set, peer, u->host) || tl_peer_has_identity(set, peer, u->host)))
    return COVERED;
  int m = map_verdict(s, u);
  if (m == COVERED) return COVERED;
  return m != NOT_COVERED || names_users(id, u->host) ? SOME_USERS : NOT_COVERED;
}

static uint64_t key_of(const struct tl_proxy *p, struct tl_str host) {
  char low[256];
  host = tl_host_without_dot(host);
  size_t n = host.n < sizeof(low) ? host.n : sizeof(low);
  for (size_t i = 0; i < n; i++) low[i] = (char)tolower((unsigned char)host.p[i]);
  return tl_siphash13(p->th.rt->secret, low, n) | 1;
}

/* The verdict on U's domain, from the source's cache if it is there. */
static int domain_verdict(struct tl_proxy *p, struct tl_source *s, const struct tl_identity *id,
                          const struct tl_uri *u) {
  if (u->host.n > 255) return NOT_COVERED;
  uint64_t key = key_of(p, u->host);
  for (unsigned i = 0; i < TL_SOURCE_VERDICTS; i++)
    if (s->key[i] == key) return s->verdict[i];
  int v = judge_domain(p, s, id, u);
  s->key[s->next] = key;
  s->verdict[s->next] = (uint8_t)v;
  s->next = (uint8_t)((s->next + 1) % TL_SOURCE_VERDICTS);
  return v;
}

static bool is_entitled(struct tl_proxy *p, struct tl_source *s, const struct tl_identity *id,
                        const struct tl_uri *u) {
  int v = domain_verdict(p, s, id, u);
  if (v != SOME_USERS) return v == COVERED;
  return (id && tl_identity_matches_user(id, u->user, u->host)) || map_verdict(s, u) == THIS_USER;
}

/* RFC 3323 4.1.1.3: an anonymous From asserts nothing. */
static bool is_anonymous(const struct tl_uri *u) {
  return tl_str_ieq(u->host, TL_STR("anonymous.invalid"));
}

static int parse_assertion(struct tl_str value, struct tl_uri *u, size_t *used) {
  struct tl_nameaddr na;
  int rc = tl_nameaddr_parse(value, &na, used);
  return rc ? rc : tl_uri_parse(na.uri, u);
}

static bool has_domain(const struct tl_uri *u) {
  return (u->scheme == TL_SCHEME_SIP || u->scheme == TL_SCHEME_SIPS) && u->host.n;
}

static const char *check_from(struct tl_proxy *p, struct tl_source *s, const struct tl_identity *id,
                              const struct tl_msg *m) {
  struct tl_uri u;
  if (tl_uri_parse(m->from_uri, &u) == TL_OK && has_domain(&u)) {
    if (s->check != TL_CHECK_FROM_OFF && !is_anonymous(&u) && !is_entitled(p, s, id, &u))
      return id ? "From Is Not Covered By The Certificate" : "From Is Not Allowed For This Peer";
    if (s->guarded && tl_conf_is_local_domain(tl_net_view(p->net)->conf, u.host, u.port) &&
        !is_entitled(p, s, id, &u))
      return "From Claims A Domain Of Ours";
    return NULL;
  }
  return s->check != TL_CHECK_FROM_OFF ? "From Has No Domain To Check" : NULL;
}

static const char *check_pai(struct tl_proxy *p, struct tl_source *s, const struct tl_identity *id,
                             const struct tl_msg *m) {
  static const char bad[] = "P-Asserted-Identity Is Not Covered By The Certificate";
  struct tl_uri u;
  for (uint16_t i = m->first[TL_H_PAI]; i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    for (size_t used; v.n; v.p += used, v.n -= used) {
      if (parse_assertion(v, &u, &used) || used == 0) return "P-Asserted-Identity Cannot Be Read";
      /* A tel: beside a sip: URI names no domain (RFC 3325 9.1); the sip: URI is what is checked.
       */
      if (has_domain(&u) && !is_entitled(p, s, id, &u)) return bad;
    }
  }
  return NULL;
}

/* ---- the log ---- */

static void count_refusal(const struct tl_req *req, const char *why) {
  bool ours = strstr(why, "Of Ours") != NULL, pai = *why == 'P';
  tl_req_count(req, ours ? TL_C_IDENTITY_SPOOFED : pai ? TL_C_IDENTITY_PAI : TL_C_IDENTITY_FROM);
}

static void report_refusal(const struct tl_req *req, const struct tl_identity *id,
                           const char *why) {
  const struct tl_source *s = req->source;
  const struct tl_flow *from = req->origin.from;
  char addr[TL_ADDR_STRLEN];
  count_refusal(req, why);
  if (req->dry) return;
  struct tl_str claim = tl_msg_header(req->m, *why == 'P' ? TL_H_PAI : TL_H_FROM);
  if (claim.n > 256) claim.n = 256;
  TL_LOG_FROM(&from->addr, why, TL_LOG_WARN,
              "A request was refused because of whom it claims to come from.", TL_FC("cause", why),
              TL_FC("from", tl_addr_format(&from->addr, addr)),
              TL_FC("peer", s->peer ? s->peer->name : ""), TL_FC("subject", id ? id->subject : ""),
              TL_F("claim", claim), TL_FC("method", tl_method_name(req->m->method)));
}

/* NULL, or the reason phrase of the 403 that the request deserves; counted and logged. */
static const char *check_asserted_identity(const struct tl_req *req) {
  struct tl_source *s = req->source;
  if (!s || (s->check == TL_CHECK_FROM_OFF && !s->guarded)) return NULL;
  bool again = s->peer && s->peer->opt.in_dialog == TL_IN_DIALOG_REVALIDATE;
  /* Our token proves that the dialog was admitted (B12), and the source is a leg of it. A
   * request in the reverse direction has the callee in From, as the caller named it. */
  if (req->plan->in_dialog && (!again || req->plan->reverse)) return NULL;
  const struct tl_identity *id = tl_source_identity(s, &req->origin);
  const char *why = check_from(req->p, s, id, req->m);
  if (!why && s->check == TL_CHECK_FROM_PAI) why = check_pai(req->p, s, id, req->m);
  if (why) report_refusal(req, id, why);
  return why;
}

enum tl_stage_result tl_stage_authorise(struct tl_req *req) {
  req->plan->refusal = check_asserted_identity(req);
  return req->plan->refusal ? tl_req_refuse(req, 403, req->plan->refusal, TL_STR(""))
                            : TL_STAGE_GO_ON;
}
