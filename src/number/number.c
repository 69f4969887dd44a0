/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number out of a user part, and its parameters: one pass each, nothing is allocated.
 * What a number leads to is number_table.c's.
 */
#include "tieline/number.h"

/* ---- characters ---- */

enum kind { NO_PART, DIGIT, SYMBOL, SEPARATOR, PLUS, STOP, ESCAPE };

static const uint8_t kinds[256] = {
    ['0' ... '9'] = DIGIT,  ['*'] = SYMBOL,    ['#'] = SYMBOL,    ['A' ... 'D'] = SYMBOL,
    ['a' ... 'd'] = SYMBOL, ['-'] = SEPARATOR, ['.'] = SEPARATOR, ['('] = SEPARATOR,
    [')'] = SEPARATOR,      ['+'] = PLUS,      [';'] = STOP,      ['%'] = ESCAPE,
};

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The character that the escape at P stands for; -1: it is none. */
static int escaped(const char *p, const char *end) {
  if (end - p < 3) return -1;
  const int high = hex_value(p[1]), low = hex_value(p[2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* ---- the number ---- */

static bool put_digit(struct tl_number *n, char c) {
  if (n->n == TL_NUMBER_MAX) return false;
  if (n->n == n->n_digit && n->n_digit < TL_NUMBER_DIGITS)
    n->digits |= (uint64_t)(c - '0') << (60 - 4 * n->n_digit++);
  n->text[n->n++] = c;
  return true;
}

/* A letter does not begin a number: "dad" is a name. */
static bool put_symbol(struct tl_number *n, char c) {
  const bool letter = c >= 'A';
  if (n->n == TL_NUMBER_MAX || (n->n == 0 && (letter || n->global))) return false;
  n->text[n->n++] = letter ? (char)(c & ~0x20) : c;
  return true;
}

bool tl_number_read(struct tl_str user, struct tl_number *out) {
  const char *p = user.p, *const end = p + user.n;
  *out = (struct tl_number){.n = 0};
  for (; p < end; p++) {
    int c = (unsigned char)*p;
    uint8_t kind = kinds[c];
    if (kind == STOP) break;
    if (kind == ESCAPE) {
      if ((c = escaped(p, end)) < 0) return false;
      kind = kinds[c];
      p += 2;
    }
    switch (kind) {
    case DIGIT:
      if (!put_digit(out, (char)c)) return false;
      break;
    case SYMBOL:
      if (!put_symbol(out, (char)c)) return false;
      break;
    case PLUS:
      if (out->n || out->global) return false;
      out->global = true;
      break;
    case SEPARATOR: break;
    default: return false; /* an escaped ';' or '%' among them */
    }
  }
  return out->n > 0;
}

/* ---- parameters ---- */

static void take_param(struct tl_str name, struct tl_str value, struct tl_number_params *out) {
  const struct {
    struct tl_str name, *value;
  } known[] = {{TL_STR("rn"), &out->rn},
               {TL_STR("cic"), &out->cic},
               {TL_STR("tgrp"), &out->tgrp},
               {TL_STR("trunk-context"), &out->trunk_context},
               {TL_STR("phone-context"), &out->phone_context}};
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
    if (tl_str_ieq(name, known[i].name) && !known[i].value->p) *known[i].value = value;
  out->npdi |= tl_str_ieq(name, TL_STR("npdi"));
}

void tl_number_read_params(struct tl_str user, struct tl_number_params *out) {
  const char *const end = user.p + user.n;
  const char *p = user.n ? memchr(user.p, ';', user.n) : NULL;
  *out = (struct tl_number_params){.npdi = false};
  while (p) {
    const char *const name = p + 1;
    const char *const stop = memchr(name, ';', (size_t)(end - name));
    const char *const last = stop ? stop : end;
    const char *const is = memchr(name, '=', (size_t)(last - name));
    take_param((struct tl_str){name, (size_t)((is ? is : last) - name)},
               is ? (struct tl_str){is + 1, (size_t)(last - is - 1)} : (struct tl_str){last, 0},
               out);
    p = stop;
  }
}
