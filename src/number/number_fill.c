/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From lines to the table: what is said of one number becomes a list, and the list's
 * number goes where the number is found. Look-ups are number_table.c's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "number/number_build.h"
#include "number/number_key.h"
#include "tieline/err.h"
#include "tieline/pages.h"

/* Of five. With more the buckets spill more often, and a look-up that finds nothing waits for the
 * next one, too. */
#define KEYS_PER_BUCKET 3u
#define LISTS_MAX (UINT32_MAX >> 4)

/* ---- contradictions ---- */

struct text {
  char s[TL_NUMBER_MAX + 2];
};

static struct text text_of(const struct tl_number_build *b, uint64_t key) {
  struct text t = {""};
  for (unsigned i = 0; i < (key & 15); i++) {
    const unsigned digit = tl_number_key_digit(key, i);
    t.s[i] = digit == TL_NUMBER_END_DIGIT ? TL_NUMBER_EXACT : (char)('0' + digit);
  }
  if (key & 15) return t;
  const struct tl_number_long *e = &b->table->side.entry[key >> 4];
  memcpy(t.s, e->text, e->n);
  return t;
}

/* X and Y are of one number: reports what is wrong at the one that comes later. */
static int refuse(struct tl_number_build *b, const struct tl_number_row *x,
                  const struct tl_number_row *y) {
  const bool in_order = tl_number_row_place(x, y) <= 0;
  const struct tl_number_row *first = in_order ? x : y, *second = in_order ? y : x;
  const char *file = b->table->file[first->file];
  const struct tl_number_name *name = b->target_name.name;
  const struct text number = text_of(b, x->key);
  if (x->name == y->name)
    return tl_number_build_fail_at(b, second->file, second->line,
                                   "%s leads to \"%s\" here with another cost, priority or weight "
                                   "than at %s:%u",
                                   number.s, name[second->name].text, file, first->line);
  return tl_number_build_fail_at(b, second->file, second->line,
                                 "%s leads to \"%s\" here, but to \"%s\" at %s:%u, and neither "
                                 "line has a cost, priority or weight by which they would rank",
                                 number.s, name[second->name].text, name[first->name].text, file,
                                 first->line);
}

static bool is_alike(const struct tl_number_row *x, const struct tl_number_row *y) {
  return x->name == y->name && x->rule == y->rule && x->cost == y->cost &&
         x->priority == y->priority && x->weight == y->weight;
}

static bool is_contradiction(const struct tl_number_row *x, const struct tl_number_row *y) {
  if (x->name == y->name) return x->rule == y->rule;
  return !x->ranked && !y->ranked;
}

/* ---- lists ---- */

/* Rows of one number that say something new. */
struct list {
  const struct tl_number_row *row[TL_NUMBER_TARGETS_MAX];
  unsigned n;
};

static int list_add(struct tl_number_build *b, struct list *l, const struct tl_number_row *row) {
  for (unsigned i = 0; i < l->n; i++) {
    if (is_alike(l->row[i], row)) return TL_OK;
    if (is_contradiction(l->row[i], row)) return refuse(b, l->row[i], row);
  }
  if (l->n == TL_NUMBER_TARGETS_MAX)
    return tl_number_build_fail_at(b, row->file, row->line, "%s has more than %u targets",
                                   text_of(b, row->key).s, TL_NUMBER_TARGETS_MAX);
  l->row[l->n++] = row;
  return TL_OK;
}

static struct tl_number_target target_of(const struct tl_number_row *row) {
  return (struct tl_number_target){.cost = row->cost,
                                   .name = row->name,
                                   .priority = row->priority,
                                   .weight = row->weight,
                                   .rule = row->rule};
}

static uint64_t hash_list(const struct list *l) {
  uint64_t h = l->n;
  for (unsigned i = 0; i < l->n; i++) {
    const struct tl_number_row *r = l->row[i];
    h = tl_index_mix(h ^ r->cost);
    h = tl_index_mix(h ^ ((uint64_t)r->name << 32 | (uint32_t)r->priority << 16 | r->weight)) +
        r->rule;
  }
  return tl_index_mix(h);
}

static bool is_list(const struct tl_number_build *b, uint32_t value, const struct list *l) {
  const struct tl_number_target *t = &b->table->target[value >> 4];
  if ((value & 15) + 1 != l->n) return false;
  for (unsigned i = 0; i < l->n; i++) {
    const struct tl_number_row *r = l->row[i];
    if (t[i].name != r->name || t[i].cost != r->cost || t[i].priority != r->priority ||
        t[i].weight != r->weight || t[i].rule != r->rule)
      return false;
  }
  return true;
}

/* The value of an entry that leads to L. Rate decks repeat themselves: most lists are there. */
static int value_of(struct tl_number_build *b, const struct list *l, uint32_t *out) {
  struct tl_number_table *t = b->table;
  const uint64_t hash = hash_list(l);
  for (uint32_t at = tl_index_map_first(&b->lists, hash); at;) {
    const struct tl_index_node *node = tl_index_map_node(&b->lists, at);
    *out = node->value;
    if (is_list(b, *out, l)) return TL_OK;
    at = node->next;
  }
  if (t->n_target > LISTS_MAX - TL_NUMBER_TARGETS_MAX) return TL_ELIMIT;
  *out = t->n_target << 4 | (l->n - 1);
  if (tl_index_map_add(&b->lists, hash, *out)) return TL_ENOMEM;
  t->n_list++;
  for (unsigned i = 0; i < l->n; i++) {
    if (tl_number_room(&t->target, t->n_target, &b->cap_target, sizeof(*t->target)))
      return TL_ENOMEM;
    t->target[t->n_target++] = target_of(l->row[i]);
  }
  return TL_OK;
}

/* ---- entries ---- */

static void put_key(struct tl_number_table *t, uint64_t key, uint32_t value) {
  const uint64_t hash = tl_index_mix(key);
  struct tl_number_bucket *b;
  for (uint32_t at = tl_number_home(t, hash);; at = at + 1 < t->n_bucket ? at + 1 : 0) {
    b = &t->bucket[at];
    if (!b->key[TL_NUMBER_BUCKET_KEYS - 1]) break;
    b->spilt |= tl_number_spilt_bit(hash);
  }
  unsigned i = 0;
  while (b->key[i]) i++;
  b->key[i] = key;
  b->value[i] = value;
}

/* The heads under which KEY stands: shorter ones than a head under many. */
static void note_length(struct tl_number_table *t, uint64_t key) {
  unsigned n = key & 15, covered = 1;
  const bool exact = tl_number_key_digit(key, n - 1) == TL_NUMBER_END_DIGIT;
  if (exact) n--;
  if (exact && n < TL_NUMBER_HEAD) return; /* found without */
  for (unsigned i = n; i < TL_NUMBER_HEAD; i++) covered *= 10;
  for (unsigned head = tl_number_head(key & ~(uint64_t)15); covered; covered--, head++)
    t->lengths[head] |= (uint16_t)(exact ? TL_NUMBER_EXACT_BIT : 1u << n);
}

static int put_entry(struct tl_number_build *b, uint64_t key, const struct list *l) {
  uint32_t value;
  int rc = value_of(b, l, &value);
  if (rc) return rc;
  b->table->n_entry++;
  if (!(key & 15)) {
    b->table->side.entry[key >> 4].value = value;
    return TL_OK;
  }
  put_key(b->table, key, value);
  note_length(b->table, key);
  return TL_OK;
}

/* Makes one list of the rows from FROM on that are of the same number; *OUT_END is behind them. */
static int put_rows(struct tl_number_build *b, uint32_t from, uint32_t *out_end) {
  struct list l = {.n = 0};
  uint32_t at = from;
  int rc = TL_OK;
  for (; at < b->n && b->row[at].key == b->row[from].key; at++)
    if (!rc) rc = list_add(b, &l, &b->row[at]);
  *out_end = at;
  return rc ? rc : put_entry(b, b->row[from].key, &l);
}

static uint32_t count_keys(const struct tl_number_build *b) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->n; i++)
    n += (b->row[i].key & 15) && (i == 0 || b->row[i].key != b->row[i - 1].key);
  return n;
}

static void move_names(struct tl_number_names *from, struct tl_number_name **to, uint32_t *n) {
  *to = from->name;
  *n = from->n;
  from->name = NULL;
  from->n = 0;
}

/* Arrays that have grown keep what they need. */
static void trim(struct tl_number_table *t) {
  void *p = t->n_target ? realloc(t->target, t->n_target * sizeof(*t->target)) : NULL;
  if (p) t->target = p;
  p = t->side.n ? realloc(t->side.entry, t->side.n * sizeof(*t->side.entry)) : NULL;
  if (p) t->side.entry = p;
}

static int row_order(const void *a, const void *b) { return tl_number_row_order(a, b); }

int tl_number_build_end(struct tl_number_build *b, struct tl_number_table **out) {
  struct tl_number_table *t = b->table;
  if (!b->sorted) qsort(b->row, b->n, sizeof(*b->row), row_order);
  const uint32_t n = count_keys(b);
  t->n_bucket = n ? n / KEYS_PER_BUCKET + 1 : 0;
  if (n && !(t->bucket = tl_pages_zeroed(t->n_bucket * sizeof(*t->bucket)))) return TL_ENOMEM;
  for (uint32_t at = 0; at < b->n && !tl_number_build_gives_up(b);) {
    int rc = put_rows(b, at, &at);
    if (rc && rc != TL_ECONFIG) return rc;
  }
  if (b->problems) return TL_ECONFIG;
  trim(t);
  move_names(&b->target_name, &t->target_name, &t->n_target_name);
  move_names(&b->rule_name, &t->rule_name, &t->n_rule_name);
  b->table = NULL;
  *out = t;
  return TL_OK;
}
