/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Via value. It keeps slices and checks the syntax; whether received or
 * rport must be added is the transport's decision (RFC 3261 18.2.1, RFC 3581).
 */
#include "tieline/via.h"
#include "lex.h"

/* "SIP / 2.0 / TLS" and the white space after it (RFC 3261 25.1 sent-protocol). Any version is
 * accepted: a request of another version must still be answered with 505 by its Via. */
static int sent_protocol(struct lex *c, struct tl_via *out) {
  if (c->e - c->p > 8 && memcmp(c->p, "SIP/2.0/", 8) == 0) {
    c->p += 8;
  } else {
    if (!LEX_WORD(lex_run(c, LEX_TOKEN), "sip")) return TL_ESYNTAX;
    lex_ws(c);
    if (!lex_byte(c, '/')) return TL_ESYNTAX;
    lex_ws(c);
    if (lex_run(c, LEX_TOKEN).n == 0) return TL_ESYNTAX;
    lex_ws(c);
    if (!lex_byte(c, '/')) return TL_ESYNTAX;
  }
  lex_ws(c);
  out->transport = lex_run(c, LEX_TOKEN);
  if (out->transport.n == 0 || lex_end(c) || !lex_is(*c->p, LEX_WS)) return TL_ESYNTAX;
  lex_ws(c);
  return TL_OK;
}

static int param_rport(struct tl_via *v, const struct lex_param *p) {
  uint32_t port = 0;
  if (v->has_rport) return TL_ESYNTAX;
  if (p->value.p && tl_lex_u32(p->value, 65535, &port)) return TL_ESYNTAX;
  v->has_rport = true;
  v->rport = (uint16_t)port;
  v->rport_param = p->text;
  return TL_OK;
}

/* A parameter with a plain value that may occur once: of two, two elements might each take a
 * different one. */
static int param_once(struct tl_str *slot, const struct lex_param *p) {
  if (slot->n || p->value.n == 0 || p->value.p[0] == '"') return TL_ESYNTAX;
  *slot = p->value;
  return TL_OK;
}

static int read_param(struct tl_via *v, const struct lex_param *p) {
  switch (p->name.n) {
  case 5:
    if (LEX_WORD(p->name, "rport")) return param_rport(v, p);
    if (LEX_WORD(p->name, "alias")) v->alias = true;
    return TL_OK;
  case 6: return LEX_WORD(p->name, "branch") ? param_once(&v->branch, p) : TL_OK;
  case 8: return LEX_WORD(p->name, "received") ? param_once(&v->received, p) : TL_OK;
  default: return TL_OK;
  }
}

int tl_lex_via(struct lex c, struct tl_via *out, size_t *out_used) {
  const char *begin = c.p;
  struct lex_param p;
  int got;
  lex_ws(&c);
  const char *start = c.p;
  int err = sent_protocol(&c, out);
  if (!err) err = lex_hostport(&c, true, &out->host, &out->port);
  if (err) return err;
  const char *end = c.p;
  while ((got = lex_param(&c, &p)) == 1) {
    if (!out->params.p) out->params.p = p.text.p;
    end = p.text.p + p.text.n;
    if (read_param(out, &p)) return TL_ESYNTAX;
  }
  if (got < 0) return got;
  if (out->params.p) out->params.n = (size_t)(end - out->params.p);
  out->whole = (struct tl_str){start, (size_t)(end - start)};
  return lex_value_end(&c, begin, out_used);
}

int tl_via_parse(struct tl_str v, struct tl_via *out, size_t *out_used) {
  lex_clear(out, sizeof(*out));
  return tl_lex_via(lex_of(v), out, out_used);
}
