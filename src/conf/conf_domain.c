/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS domains of a snapshot. A domain whose options and files are unchanged is
 * shared with the previous snapshot, so that its connections and sessions stay
 * usable after a reload that changed something else.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_internal.h"
#include "tieline/tls_choice.h"
#include "tieline/tls_domain.h"

static void hash_stat(EVP_MD_CTX *md, const char *name, const struct stat *st) {
  char line[512];
  int n = snprintf(line, sizeof(line), "%s %o %" PRIu64 " %" PRIu64 " %" PRIi64 ".%09ld\n", name,
                   (unsigned)st->st_mode, (uint64_t)st->st_ino, (uint64_t)st->st_size,
                   (int64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
  if (n > 0) EVP_DigestUpdate(md, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void hash_dir(EVP_MD_CTX *md, const char *path) {
  struct dirent **entry = NULL;
  int n = scandir(path, &entry, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    char name[PATH_MAX];
    struct stat st;
    int len = snprintf(name, sizeof(name), "%s/%s", path, entry[i]->d_name);
    if (entry[i]->d_name[0] != '.' && len > 0 && (size_t)len < sizeof(name) && !stat(name, &st))
      hash_stat(md, entry[i]->d_name, &st);
    free(entry[i]);
  }
  free(entry);
}

/* By content, not by time: a file replaced within one clock tick counts as changed. Owner and mode
 * count too, because a key file is judged by them. */
static void hash_file(EVP_MD_CTX *md, const char *path) {
  struct stat st;
  uint8_t buf[4096];
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat(fd, &st) < 0) {
    EVP_DigestUpdate(md, "absent", 6);
  } else if (S_ISDIR(st.st_mode)) {
    hash_dir(md, path);
  } else if (S_ISREG(st.st_mode)) {
    ssize_t n;
    EVP_DigestUpdate(md, &st.st_mode, sizeof(st.st_mode));
    EVP_DigestUpdate(md, &st.st_uid, sizeof(st.st_uid));
    EVP_DigestUpdate(md, &st.st_size, sizeof(st.st_size));
    while ((n = read(fd, buf, sizeof(buf))) > 0) EVP_DigestUpdate(md, buf, (size_t)n);
    OPENSSL_cleanse(buf, sizeof(buf));
  }
  if (fd >= 0) close(fd);
}

static void hash_option(EVP_MD_CTX *md, const struct tl_block *b, const struct tl_opt *o) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (!f) return;
  fprintf(f, "%s=", o->name);
  tl_value_print(o, b, f);
  fputc('\n', f);
  fclose(f);
  EVP_DigestUpdate(md, text, n);
  free(text);
  const void *v = (const char *)b->values + o->offset;
  if (o->flags & TL_OPT_LIVE) return;
  if (o->kind == TL_OPT_PATH && *(char *const *)v) hash_file(md, *(char *const *)v);
  if (o->kind == TL_OPT_PATHS)
    for (char **l = *(char **const *)v; l && *l; l++)
      hash_file(md, strncmp(*l, "file:/", 6) == 0 ? *l + 5 : *l);
}

static void hash_block(const struct tl_block *b, bool core, uint8_t out[TL_CONF_FINGERPRINT]) {
  EVP_MD_CTX *md = EVP_MD_CTX_new();
  memset(out, 0, TL_CONF_FINGERPRINT);
  if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL)) goto out;
  EVP_DigestUpdate(md, b->title, strlen(b->title) + 1);
  for (size_t i = 0; i < b->sec->n_opt; i++)
    if (!(b->sec->opt[i].flags & (core ? TL_OPT_ALIAS | TL_OPT_TRUST : TL_OPT_ALIAS)))
      hash_option(md, b, &b->sec->opt[i]);
  EVP_DigestFinal_ex(md, out, NULL);
out:
  EVP_MD_CTX_free(md);
}

void tl_conf_fingerprint(const struct tl_block *b, uint8_t out[TL_CONF_FINGERPRINT]) {
  hash_block(b, false, out);
}

void tl_conf_fingerprint_core(const struct tl_block *b, uint8_t out[TL_CONF_FINGERPRINT]) {
  hash_block(b, true, out);
}

/* A token's content has no digest, so each reload opens its keys again. */
static bool has_token(const struct tl_block *b) {
  const struct tl_tls_options *d = b->values;
  for (const char **k = d->private_key; k && *k; k++)
    if (tl_tls_uri_of_token(*k)) return true;
  return false;
}

static struct tl_tls_domain *find_unchanged(const struct tl_conf *previous,
                                            const struct tl_block *b) {
  if (!previous || has_token(b)) return NULL;
  static const uint8_t none[TL_CONF_FINGERPRINT];
  const struct tl_blocks *bs = &previous->raw->sec[TL_SEC_DOMAIN];
  const struct tl_block *was = tl_blocks_find(bs, b->title);
  if (!was || memcmp(was->fingerprint, b->fingerprint, sizeof(none)) != 0 ||
      memcmp(b->fingerprint, none, sizeof(none)) == 0)
    return NULL;
  return tl_tls_domain_ref(previous->domain[was - bs->b]);
}

/* A key or PIN in the configuration is as readable as the file around it. */
static int check_inline_keys(const struct tl_block *b, struct tl_conf_ctx *ctx) {
  const struct tl_tls_options *d = b->values;
  struct tl_conf_pos at = tl_block_at(b, "private_key");
  struct stat st;
  for (const char **k = d->private_key; k && *k && !d->allow_readable_key; k++)
    if ((tl_conf_is_pem(*k) || tl_tls_uri_has_pin(*k)) && at.file && stat(at.file, &st) == 0 &&
        (st.st_mode & S_IRWXO))
      return tl_conf_fail(ctx, at,
                          "tls_domain \"%s\": a %s stands in %s, which is open to every "
                          "user of this machine (mode %03o): chmod o-rwx it, or set "
                          "allow_readable_key = true",
                          b->title, tl_conf_is_pem(*k) ? "private key" : "token's PIN", at.file,
                          (unsigned)st.st_mode & 0777);
  return TL_OK;
}

/* Domains that match alike have a key in common: each has one for every name and address it lists.
 */
struct clash_search {
  const struct tl_conf *conf;
  struct tl_conf_ctx *ctx;
  struct tl_index_map keys; /* to domains, by number */
  uint32_t *met;            /* by domain: the last one that it was compared with, + 1 */
  int rc;
};

static void judge_pair(struct clash_search *s, size_t first, size_t second) {
  const struct tl_block *bs = s->conf->raw->sec[TL_SEC_DOMAIN].b;
  const struct tl_block *b = &bs[second], *before = &bs[first];
  struct tl_tls_domain *const *d = s->conf->domain;
  char what[400];
  if (!tl_tls_domains_clash(d[first], d[second], what, sizeof(what))) return;
  const char *option =
      tl_block_given(b, "match_sip_domain") ? "match_sip_domain" : "match_ip_address";
  s->rc = tl_conf_fail(s->ctx, tl_block_at(b, option),
                       "tls_domain \"%s\" matches %s as tls_domain \"%s\" at %s:%d does, and "
                       "its certificates are of no other authority: it would never be used",
                       b->title, what, before->title, before->pos.file, before->pos.line);
}

static int meet_key(struct clash_search *s, size_t number, const char *name, uint64_t place) {
  uint64_t key = tl_index_mix(tl_index_name_id(name) ^ tl_index_mix(place));
  const struct tl_index_node *at;
  for (uint32_t node = tl_index_map_first(&s->keys, key); node; node = at->next) {
    at = tl_index_map_node(&s->keys, node);
    if (at->value == number || s->met[at->value] == number + 1) continue;
    s->met[at->value] = (uint32_t)number + 1;
    judge_pair(s, at->value, number);
  }
  return tl_index_map_add(&s->keys, key, (uint32_t)number);
}

enum { NO_PLACE, ANY_PLACE }; /* beside hashes of addresses */

static int meet_name(struct clash_search *s, size_t number, const char *name) {
  const struct tl_tls_domain *d = s->conf->domain[number];
  int rc = d->match_any_ip ? meet_key(s, number, name, ANY_PLACE) : TL_OK;
  for (size_t i = 0; i < d->n_match_ip && !rc; i++)
    rc = meet_key(s, number, name, tl_addr_hash(&d->match_ip[i]));
  if (!rc && !d->match_any_ip && !d->n_match_ip) rc = meet_key(s, number, name, NO_PLACE);
  return rc;
}

static int check_clashes(const struct tl_conf *c, struct tl_conf_ctx *ctx) {
  struct clash_search s = {.conf = c, .ctx = ctx};
  int rc = (s.met = calloc(c->n_domain + 1, sizeof(*s.met))) ? TL_OK : TL_ENOMEM;
  for (size_t i = 0; i < c->n_domain && !rc; i++) {
    char **name = c->domain[i]->match_sip_domain;
    if (!*name) rc = meet_name(&s, i, "");
    for (; *name && !rc; name++) rc = meet_name(&s, i, *name);
  }
  tl_index_map_clear(&s.keys);
  free(s.met);
  return rc ? rc : s.rc;
}

static int build_domain(struct tl_block *b, const struct tl_conf *previous, struct tl_conf_ctx *ctx,
                        struct tl_tls_domain **out) {
  char err[512] = "";
  const char *option = NULL;
  uint8_t core[TL_CONF_FINGERPRINT];
  int rc = check_inline_keys(b, ctx);
  if (rc) return rc;
  /* before the files are read: a file that changes in between is noticed by the next reload */
  tl_conf_fingerprint(b, b->fingerprint);
  if ((*out = find_unchanged(previous, b))) return TL_OK;
  tl_conf_fingerprint_core(b, core);
  rc = tl_tls_domain_new(b->values, err, sizeof(err), &option, out);
  if (!rc) memcpy((*out)->core, core, sizeof((*out)->core));
  if (rc == TL_ECONFIG || (rc && *err))
    rc = tl_conf_fail(ctx, option ? tl_block_at(b, option) : b->pos, "tls_domain \"%s\": %s",
                      b->title, err);
  return rc;
}

int tl_conf_build_domains(struct tl_conf *c, const struct tl_conf *previous,
                          struct tl_conf_ctx *ctx) {
  struct tl_blocks *bs = &c->raw->sec[TL_SEC_DOMAIN];
  c->domain = calloc(bs->n + 1, sizeof(*c->domain));
  if (!c->domain) return TL_ENOMEM;
  c->n_domain = 0;
  int first = 0;
  for (size_t i = 0; i < bs->n; i++) {
    struct tl_tls_domain *d = NULL;
    int rc = build_domain(&bs->b[i], previous, ctx, &d);
    if (rc && !first) first = rc;
    if (!rc) c->domain[c->n_domain++] = d;
    if (!rc && strcmp(bs->b[i].title, "default") == 0) c->tls_set.fallback = d;
  }
  c->tls_set.domain = c->domain;
  c->tls_set.n = c->n_domain;
  if (!first) first = check_clashes(c, ctx);
  if (!first && !ctx->quiet) tl_conf_warn_offload(c, ctx);
  if (!first && !ctx->quiet) tl_conf_warn_relay(c, ctx);
  if (!c->tls_set.fallback && c->n_domain == 1) c->tls_set.fallback = c->domain[0];
  return first ? first : tl_tls_set_index(&c->tls_set);
}
