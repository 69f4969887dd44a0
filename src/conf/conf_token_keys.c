/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a configuration's tokens: read from key_file, or made where there is
 * none yet.
 */
#include "tieline/token_keys.h"

#include <errno.h>
#include <pwd.h>
#include <unistd.h>

#include "conf/conf_internal.h"

static const struct tl_block *global_block(const struct tl_conf *c) {
  return &c->raw->sec[TL_SEC_GLOBAL].b[0];
}

bool tl_conf_wants_key_file(const struct tl_conf *c) {
  return tl_block_given(global_block(c), "key_file");
}

/* A file that has gone, or another one that is not there, would end every call that is up. */
static int keep_previous(struct tl_conf *c, const struct tl_conf *previous,
                         struct tl_conf_ctx *ctx) {
  if (previous->token_keys->kept || tl_conf_wants_key_file(c))
    return tl_conf_fail(ctx, tl_block_at(global_block(c), "key_file"),
                        "there is no file %s: put it back, or make one with tieline pki token-key",
                        c->opt.key_file);
  c->token_keys = tl_token_keys_ref(previous->token_keys);
  return TL_OK;
}

int tl_conf_read_token_keys(struct tl_conf *c, const struct tl_conf *previous,
                            struct tl_conf_ctx *ctx) {
  struct tl_token_keys_error err;
  if (!c->opt.key_file)
    return tl_conf_fail(ctx, tl_block_at(global_block(c), "key_file"), "key_file names no file");
  int rc = tl_token_keys_read(c->opt.key_file, &c->token_keys, &err);
  if (rc == TL_OK || rc == TL_ENOMEM) return rc;
  if (rc == TL_ENOTFOUND && previous) return keep_previous(c, previous, ctx);
  if (rc != TL_ENOTFOUND) {
    struct tl_conf_pos at = tl_block_at(global_block(c), "key_file");
    if (err.line) at = (struct tl_conf_pos){c->opt.key_file, err.line};
    return tl_conf_fail(ctx, at, "key_file %s: %s", c->opt.key_file, err.text);
  }
  c->token_keys = tl_token_keys_new();
  return c->token_keys ? TL_OK : TL_ENOMEM;
}

/* Whoever reads it at the next reload. */
static int find_owner(const struct tl_conf *c, uid_t *out_user, gid_t *out_group) {
  errno = 0;
  const struct passwd *pw = c->opt.user ? getpwnam(c->opt.user) : NULL;
  if (c->opt.user && !pw) return TL_EIO;
  *out_user = pw ? pw->pw_uid : geteuid();
  *out_group = pw ? pw->pw_gid : getegid();
  return TL_OK;
}

int tl_conf_keep_token_keys(struct tl_conf *c, char *err, size_t cap) {
  struct tl_token_keys_error why = {.text = "who is its owner to be?"};
  uid_t user;
  gid_t group;
  if (c->token_keys->kept) return TL_OK;
  int rc = find_owner(c, &user, &group);
  if (rc == TL_OK) rc = tl_token_keys_write_new(c->opt.key_file, c->token_keys, user, group, &why);
  if (rc == TL_OK || rc == TL_EEXIST) {
    /* What the file has counts, also if another process was quicker. */
    struct tl_token_keys *kept;
    rc = tl_token_keys_read(c->opt.key_file, &kept, &why);
    if (rc == TL_OK) {
      tl_token_keys_unref(c->token_keys);
      c->token_keys = kept;
    }
  }
  if (rc) snprintf(err, cap, "key_file %s: %s", c->opt.key_file, why.text);
  return rc ? TL_EIO : TL_OK;
}
