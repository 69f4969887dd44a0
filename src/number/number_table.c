/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking numbers up, and the end of tables. number_build.c fills them.
 */
#include "tieline/number_table.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "number/number_key.h"

/* ---- packed keys ---- */

#define PROBES_MAX (TL_NUMBER_DIGITS + 1)

struct probe {
  uint64_t key;
  uint32_t home, spilt_bit;
  uint8_t length;
};

/* The value of P's key in *OUT. */
static bool find_key(const struct tl_number_table *t, const struct probe *p, uint32_t *out) {
  for (uint32_t at = p->home;;) {
    const struct tl_number_bucket *b = &t->bucket[at];
    for (unsigned i = 0; i < TL_NUMBER_BUCKET_KEYS; i++)
      if (b->key[i] == p->key) {
        *out = b->value[i];
        return true;
      }
    if (!(b->spilt & p->spilt_bit)) return false;
    if (++at == t->n_bucket) at = 0;
  }
}

static void add_probe(const struct tl_number_table *t, struct probe *p, uint64_t key,
                      unsigned length) {
  const uint64_t hash = tl_index_mix(key);
  *p = (struct probe){key, tl_number_home(t, hash), tl_number_spilt_bit(hash), (uint8_t)length};
  __builtin_prefetch(&t->bucket[p->home]);
}

/* The lengths at which NUMBER may have an entry; of short numbers nothing is kept. */
static unsigned lengths_of(const struct tl_number_table *t, const struct tl_number *number) {
  unsigned can = (1u << (number->n_digit + 1)) - 2;
  if (number->n == number->n_digit && number->n < TL_NUMBER_DIGITS) can |= TL_NUMBER_EXACT_BIT;
  return number->n_digit < TL_NUMBER_HEAD ? can : can & t->lengths[tl_number_head(number->digits)];
}

static bool find_packed(const struct tl_number_table *t, const struct tl_number *number,
                        struct tl_number_match *out, uint32_t *out_value) {
  struct probe probe[PROBES_MAX];
  unsigned n = 0, lengths = lengths_of(t, number);
  const bool exact = lengths & TL_NUMBER_EXACT_BIT;
  if (exact) add_probe(t, &probe[n++], tl_number_exact_key(number->digits, number->n), number->n);
  for (lengths &= ~TL_NUMBER_EXACT_BIT; lengths;) {
    const unsigned length = 31 - (unsigned)__builtin_clz(lengths);
    add_probe(t, &probe[n++], tl_number_key(number->digits, length), length);
    lengths ^= 1u << length;
  }
  for (unsigned i = 0; i < n; i++)
    if (find_key(t, &probe[i], out_value)) {
      out->length = probe[i].length;
      out->exact = exact && i == 0;
      return true;
    }
  return false;
}

/* ---- the side table ---- */

static bool find_text(const struct tl_number_side *s, uint64_t hash, const char *text, unsigned n,
                      bool exact, uint32_t *out) {
  for (uint32_t at = tl_index_map_first(&s->map, hash); at;) {
    const struct tl_index_node *node = tl_index_map_node(&s->map, at);
    const struct tl_number_long *e = &s->entry[node->value];
    if (e->n == n + exact && memcmp(e->text, text, n) == 0 &&
        (!exact || e->text[n] == TL_NUMBER_EXACT)) {
      *out = e->value;
      return true;
    }
    at = node->next;
  }
  return false;
}

static bool find_long(const struct tl_number_side *s, const struct tl_number *number,
                      struct tl_number_match *out, uint32_t *out_value) {
  uint64_t hash[TL_NUMBER_MAX + 1];
  hash[0] = 0;
  for (unsigned i = 0; i < number->n; i++) hash[i + 1] = tl_number_hash(hash[i], number->text[i]);
  out->length = number->n;
  out->exact = true;
  if (find_text(s, tl_number_hash(hash[number->n], TL_NUMBER_EXACT), number->text, number->n, true,
                out_value))
    return true;
  out->exact = false;
  for (; out->length; out->length--)
    if ((s->lengths >> out->length & 1) &&
        find_text(s, hash[out->length], number->text, out->length, false, out_value))
      return true;
  return false;
}

/* ---- both ---- */

bool tl_number_find(const struct tl_number_table *t, const struct tl_number *number,
                    struct tl_number_match *out) {
  uint32_t value;
  const bool may_be_long = number->n > number->n_digit || number->n_digit == TL_NUMBER_DIGITS;
  /* What is there is longer than the packed digits of a number that begins with it. */
  if (!(t->side.n && may_be_long && find_long(&t->side, number, out, &value)) &&
      !(t->n_bucket && find_packed(t, number, out, &value)))
    return false;
  out->target = &t->target[value >> 4];
  out->n = (uint8_t)((value & 15) + 1);
  return true;
}

/* ---- tables ---- */

struct tl_number_table *tl_number_table_ref(struct tl_number_table *t) {
  atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
  return t;
}

static void free_names(struct tl_number_name *name, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) free(name[i].text);
  free(name);
}

void tl_number_table_unref(struct tl_number_table *t) {
  if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1) return;
  free(t->bucket);
  free(t->side.entry);
  tl_index_map_clear(&t->side.map);
  free(t->target);
  free_names(t->target_name, t->n_target_name);
  free_names(t->rule_name, t->n_rule_name);
  for (uint16_t i = 0; i < t->n_file; i++) free(t->file[i]);
  free(t->file);
  free(t);
}

size_t tl_number_table_bytes(const struct tl_number_table *t) {
  const struct tl_index_map *m = &t->side.map;
  return sizeof(*t) + t->n_bucket * sizeof(*t->bucket) + t->side.n * sizeof(*t->side.entry) +
         (m->mask ? (m->mask + 1) * sizeof(*m->slots) : 0) + m->cap_node * sizeof(*m->nodes) +
         t->n_target * sizeof(*t->target) +
         (t->n_target_name + t->n_rule_name) * sizeof(*t->target_name);
}
