/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request is rewritten on its way through (RFC 3261 16.6): Via, Record-Route, Route,
 * Request-URI, Max-Forwards, Max-Breadth. rewrite.c has decided what holds for all targets.
 * Everything else stays as it came, except for the normal form that tl_edit gives every head.
 */
#include "request_edit.h"

#include <ctype.h>
#include <stdio.h>

#include "leg.h"
#include "proxy.h"

/* Appends to a buffer; overflow makes the whole of it empty. */
struct text {
  char *p;
  size_t n, cap;
  bool over;
};

static void put_str(struct text *t, struct tl_str s) {
  if (t->over || s.n > t->cap - t->n) {
    t->over = true;
    return;
  }
  if (s.n) memcpy(t->p + t->n, s.p, s.n);
  t->n += s.n;
}

/* Inline, so that the length of a literal is a constant. */
static inline __attribute__((always_inline)) void put_c(struct text *t, const char *s) {
  put_str(t, (struct tl_str){s, strlen(s)});
}

static void put_u(struct text *t, unsigned v) {
  char digits[10];
  size_t n = 0;
  do digits[sizeof(digits) - ++n] = (char)('0' + v % 10);
  while ((v /= 10) != 0);
  put_str(t, (struct tl_str){digits + sizeof(digits) - n, n});
}

static struct tl_str text_made(const struct text *t) {
  return t->over ? TL_STR("") : (struct tl_str){t->p, t->n};
}

/* ---- how we call ourselves ---- */

struct side {
  enum tl_transport transport;
  const char *host;
  uint16_t port;
  bool alias;
  char ip[TL_ADDR_STRLEN];
};

static int listener_of(struct tl_proxy *p, const struct tl_flow *flow, const struct tl_conn *c) {
  if (c && tl_conn_listener(c) >= 0) return tl_conn_listener(c);
  /* A reload may have closed the socket since the request came. */
  int i = tl_transport_is_datagram(flow->transport) ? tl_udp_listener(p->net, flow->udp) : -1;
  return i >= 0 ? i : tl_net_listener_for(p->net, flow->transport, &flow->addr);
}

/* On TLS the name that our certificate is checked against comes first (FEATURES B10). D: the TLS
 * domain of a connection that is still being made or belongs to another worker. */
static void side_of(struct tl_proxy *p, const struct tl_flow *flow, const struct tl_tls_domain *d,
                    struct side *s) {
  const struct tl_conn *c = tl_conn_get(p->net, flow->conn);
  if (c && tl_conn_domain(c)) d = tl_conn_domain(c);
  int i = listener_of(p, flow, c);
  const struct tl_conf_listen *l = i >= 0 ? &tl_net_view(p->net)->conf->listen[i] : NULL;
  s->transport = flow->transport;
  s->port = !l ? 0 : l->advertise_port ? l->advertise_port : tl_addr_port(&l->addr);
  s->host = s->ip;
  if (d && d->advertise_port) s->port = d->advertise_port;
  /* RFC 5923 8.1: on connections that we dialled, if we can prove who we are. */
  s->alias = d && d->policy.alias && d->client_cert && c && tl_conn_is_outgoing(c);
  if (d && d->advertise_host)
    s->host = d->advertise_host;
  else if (l && l->advertise_host && *l->advertise_host)
    s->host = l->advertise_host;
  else if (l && !tl_addr_is_any(&l->addr))
    tl_addr_format_host(&l->addr, s->ip);
  else if (c && tl_conn_local(c)->sa.sa_family)
    tl_addr_format_host(tl_conn_local(c), s->ip);
  else
    s->host = "localhost";
}

static bool same_side(const struct side *a, const struct side *b) {
  return a->transport == b->transport && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static void put_side(struct text *t, const struct side *s) {
  put_c(t, s->host);
  if (!s->port) return;
  put_c(t, ":");
  put_u(t, s->port);
}

/* ---- Via and Record-Route ---- */

/* Returns where BRANCH was written. */
static char *put_via(struct text *t, const struct side *s, const char *branch) {
  put_c(t, "Via: SIP/2.0/");
  put_c(t, tl_transport_name(s->transport));
  put_c(t, " ");
  put_side(t, s);
  put_c(t, ";branch=");
  put_str(t, (struct tl_str){branch, TL_BRANCH_LEN});
  char *at = t->p + t->n - (t->over ? 0 : TL_BRANCH_LEN);
  put_c(t, s->alias ? ";alias\r\n" : "\r\n");
  return at;
}

static bool one_via(const struct tl_msg *m) {
  uint16_t i = m->first[TL_H_VIA];
  return m->hdr[i].next == TL_HDR_NONE && m->via.whole.n == m->hdr[i].val_len;
}

static void put_record_route(struct text *t, const struct side *s, bool sips, struct tl_str token) {
  put_c(t, sips ? "Record-Route: <sips:" : "Record-Route: <sip:");
  put_side(t, s);
  put_c(t, ";transport=");
  put_c(t, tl_transport_param(s->transport));
  put_c(t, ";lr;tl=");
  put_str(t, token);
  put_c(t, ">\r\n");
}

/* Two values when the two sides differ, so that each neighbour sees an address that it can
 * reach. */
static void edit_record_route(struct tl_proxy *p, struct tl_edit *e, const struct tl_plan *plan,
                              const struct tl_route_token *says, const struct side *in,
                              const struct side *out, struct text *t) {
  const struct tl_msg *m = e->msg;
  char text[TL_RR_TOKEN_MAX];
  bool sips = plan->uri.scheme == TL_SCHEME_SIPS;
  struct tl_str token = {text, tl_token_route(p, says, m, text)};
  put_record_route(t, out, sips, token);
  if (!same_side(in, out)) put_record_route(t, in, sips, token);
  uint16_t before =
      tl_msg_has(m, TL_H_RECORD_ROUTE) ? m->first[TL_H_RECORD_ROUTE] : m->first[TL_H_FROM];
  tl_edit_insert_lines(e, before, text_made(t));
}

/* ---- Route ---- */

static void drop_all_routes(struct tl_edit *e) {
  const struct tl_msg *m = e->msg;
  for (uint16_t i = m->first[TL_H_ROUTE]; i != TL_HDR_NONE; i = m->hdr[i].next)
    tl_edit_remove_header(e, i);
}

static void drop_first_routes(struct tl_edit *e, unsigned drop) {
  const struct tl_msg *m = e->msg;
  for (uint16_t i = m->first[TL_H_ROUTE]; drop && i != TL_HDR_NONE; i = m->hdr[i].next) {
    struct tl_str v = tl_hdr_value(m, i);
    struct tl_nameaddr na;
    size_t at = 0, used;
    while (drop && at < v.n &&
           tl_nameaddr_parse((struct tl_str){v.p + at, v.n - at}, &na, &used) == 0)
      at += used, drop--;
    if (at) tl_edit_remove_value(e, i, at);
  }
}

/* Strict routers move URIs between the Request-URI and the Route set (16.4, 16.6 step 6): the
 * set is written from scratch. */
static void rewrite_routes(struct tl_edit *e, const struct tl_plan *plan, struct text *t) {
  const struct tl_msg *m = e->msg;
  struct tl_nameaddr route[TL_ROUTES_MAX];
  int n = tl_plan_route_values(m, route);
  int first = plan->drop_routes + (plan->strict_out ? 1 : 0);
  const char *lead = "Route: ";
  if (plan->strict_in) n--;
  for (int i = first; i < n; i++) {
    put_c(t, lead);
    put_str(t, route[i].whole);
    lead = ", ";
  }
  if (plan->strict_out) {
    put_c(t, lead);
    put_c(t, "<");
    put_str(t, plan->uri.whole);
    put_c(t, ">");
    lead = ", ";
  }
  uint16_t at = m->first[TL_H_ROUTE];
  if (*lead == ',') {
    put_c(t, "\r\n");
    if (t->over) e->err = TL_ELIMIT;
    tl_edit_insert_lines(e, at, text_made(t));
  }
  for (uint16_t i = at; i != TL_HDR_NONE; i = m->hdr[i].next) tl_edit_remove_header(e, i);
}

/* ---- Request-URI ---- */

/* The parameters of a Request-URI, without those that named an address which no longer applies. */
static void put_params(struct text *t, struct tl_str params, bool drop_address) {
  while (params.n) {
    const char *end = memchr(params.p + 1, ';', params.n - 1);
    size_t n = end ? (size_t)(end - params.p) : params.n;
    struct tl_str one = {params.p, n}, v;
    bool address =
        tl_param_find(one, TL_STR("maddr"), &v) || tl_param_find(one, TL_STR("transport"), &v);
    if (!drop_address || !address) put_str(t, one);
    params.p += n;
    params.n -= n;
  }
}

static void put_port(struct text *t, uint16_t port) {
  if (!port) return;
  put_c(t, ":");
  put_u(t, port);
}

/* For a peer: digits stripped and prepended, our own host replaced by the peer's. */
static void put_uri(struct text *t, const struct tl_plan *plan, const struct tl_target *target) {
  const struct tl_conf_route *r = plan->in_dialog ? NULL : plan->route;
  const struct tl_uri *u = &plan->uri;
  struct tl_str user = tl_uri_user_behind(u->user, r ? r->opt.strip : 0);
  bool to_peer = plan->rewrite_host && target && target->peer;
  const char *prepend = r && r->opt.prepend ? r->opt.prepend : "";
  put_c(t, u->scheme == TL_SCHEME_SIPS ? "sips:" : "sip:");
  put_c(t, prepend);
  put_str(t, user);
  if (u->password.n) {
    put_c(t, ":");
    put_str(t, u->password);
  }
  if (user.n || *prepend || u->password.n) put_c(t, "@");
  put_str(t, to_peer ? tl_str_c(target->peer->host) : u->host);
  put_port(t, to_peer ? target->peer->port : plan->strip_maddr ? 0 : u->port);
  put_params(t, u->params, to_peer || plan->strip_maddr);
  if (u->headers.n) {
    put_c(t, "?");
    put_str(t, u->headers);
  }
}

static void edit_uri(struct tl_edit *e, const struct tl_plan *plan, const struct tl_target *target,
                     struct text *t) {
  const struct tl_conf_route *r = plan->in_dialog ? NULL : plan->route;
  struct tl_str now = e->msg->uri;
  if (plan->strict_out) {
    tl_edit_replace_str(e, now, plan->next_uri.whole);
    return;
  }
  bool sip = plan->uri.scheme == TL_SCHEME_SIP || plan->uri.scheme == TL_SCHEME_SIPS;
  if (sip && (plan->rewrite_host || plan->strip_maddr || (r && (r->opt.strip || r->opt.prepend)))) {
    put_uri(t, plan, target);
    if (t->over)
      e->err = TL_ELIMIT;
    else
      tl_edit_replace_str(e, now, text_made(t));
  } else if (plan->strict_in) {
    tl_edit_replace_str(e, now, plan->uri.whole);
  }
}

/* ---- the rest ---- */

unsigned tl_request_edit_breadth(const struct tl_msg *m) {
  struct tl_str v = tl_msg_header(m, TL_H_MAX_BREADTH);
  unsigned n = 0;
  if (v.n == 0) return TL_BREADTH_MAX;
  for (size_t i = 0; i < v.n && n < TL_BREADTH_MAX; i++) {
    if (v.p[i] < '0' || v.p[i] > '9') return TL_BREADTH_MAX;
    n = n * 10 + (unsigned)(v.p[i] - '0');
  }
  return n < TL_BREADTH_MAX ? n : TL_BREADTH_MAX;
}

/* An incoming Max-Breadth becomes this copy's share; duplicates are removed. */
static void edit_breadth(struct tl_edit *e, unsigned breadth, struct text *t) {
  const struct tl_msg *m = e->msg;
  uint16_t i = m->first[TL_H_MAX_BREADTH];
  put_u(t, breadth);
  if (!tl_str_eq(tl_hdr_value(m, i), text_made(t)))
    tl_edit_replace_str(e, tl_hdr_value(m, i), text_made(t));
  while ((i = m->hdr[i].next) != TL_HDR_NONE) tl_edit_remove_header(e, i);
}

/* Max-Forwards and, next to it, how far each copy may still fork (RFC 5393 5.3.3). */
static void edit_forwards(struct tl_edit *e, const struct tl_plan *plan, struct text *t,
                          struct text *breadth_text) {
  const struct tl_msg *m = e->msg;
  bool named = tl_msg_has(m, TL_H_MAX_BREADTH), add = m->max_forwards < 0;
  unsigned breadth = tl_request_edit_breadth(m) / (plan->copies ? plan->copies : 1);
  if (add)
    put_c(t, "Max-Forwards: 70");
  else
    put_u(t, (unsigned)m->max_forwards - 1);
  if (!named) {
    put_c(t, "\r\nMax-Breadth: ");
    put_u(t, breadth);
  }
  if (add) {
    put_c(t, "\r\n");
    tl_edit_insert_lines(e, m->first[TL_H_CSEQ], text_made(t));
  } else {
    tl_edit_replace_str(e, tl_msg_header(m, TL_H_MAX_FORWARDS), text_made(t));
  }
  if (named) edit_breadth(e, breadth, breadth_text);
}

#define TEXT(member) (&(struct text){.p = x->member, .cap = sizeof(x->member)})

int tl_request_edit(struct tl_proxy *p, struct tl_edit *e, const struct tl_msg *m,
                    const struct tl_plan *plan, const struct tl_target *t,
                    const struct tl_flow *from, const struct tl_flow *to, const char *branch,
                    struct tl_edit_texts *x) {
  struct side in, out;
  struct text own = {.p = x->own, .cap = sizeof(x->own)};
  side_of(p, to, t && tl_transport_is_secure(to->transport) ? t->domain : NULL, &out);
  tl_edit_init(e, m);
  edit_uri(e, plan, t, TEXT(uri));
  x->branch = put_via(&own, &out, branch);
  x->sent_by = tl_token_sent_by(p, tl_str_c(out.host), out.port);
  tl_edit_insert_lines(e, m->first[TL_H_VIA], text_made(&own));
  if (plan->record_route) {
    /* The connection that it came on leads back to the neighbour only if the neighbour stays in
     * the dialog: it created the request, or it has recorded itself. */
    bool stays = one_via(m) || tl_msg_has(m, TL_H_RECORD_ROUTE);
    struct tl_route_token says = tl_leg_token(p, plan, m, t, from, to, stays);
    side_of(p, from, NULL, &in);
    edit_record_route(p, e, plan, &says, &in, &out,
                      &(struct text){.p = own.p + own.n, .cap = own.cap - own.n});
  }
  struct tl_str top = {NULL, 0};
  if (plan->own)
    tl_edit_remove_header(e, m->first[TL_H_VIA]);
  else
    top = tl_top_via_text(m, from, x->via, sizeof(x->via));
  if (top.n) tl_edit_replace_str(e, m->via.whole, top);
  x->below = top.n ? top : m->via.whole;
  edit_forwards(e, plan, TEXT(forwards), TEXT(breadth));
  if (plan->strict_in || plan->strict_out)
    rewrite_routes(e, plan, TEXT(route));
  else if (plan->drop_routes == plan->n_routes)
    drop_all_routes(e);
  else if (plan->drop_routes)
    drop_first_routes(e, plan->drop_routes);
  return own.over || e->err ? TL_ESYNTAX : TL_OK;
}
