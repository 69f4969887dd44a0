/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of the tokens that we write into Record-Route, and the file that keeps
 * them beyond the process, so that calls outlive a restart. Of several keys the
 * newest whose time has come signs; an older one is still good for calls that began
 * under it.
 *
 * Ownership: counted references; keys never change and are wiped with the last one.
 * Threads: read by any. Errors: TL_ENOTFOUND: there is no such file; TL_ECONFIG: it
 * cannot be used, with a sentence that names what is wrong; TL_ENOMEM; TL_EIO.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TL_TOKEN_KEYS_FILE "/var/lib/tieline/token.keys" /* see state_path.h */
#define TL_TOKEN_KEYS_MAX 16                             /* an id is one hex digit */
#define TL_TOKEN_KEY_LEN 16

struct tl_token_key {
  uint8_t id;
  int64_t begin_s; /* wall clock, from when on it signs */
  uint8_t key[TL_TOKEN_KEY_LEN];
};

struct tl_token_keys {
  _Atomic uint32_t refs;
  bool kept;                                  /* in a file; else the process's own */
  uint8_t seed[TL_TOKEN_KEY_LEN];             /* of hashes inside tokens, which outlive any key */
  size_t n;                                   /* at least one */
  struct tl_token_key key[TL_TOKEN_KEYS_MAX]; /* by begin, the oldest first */
};

/* What a file has that cannot be used. */
struct tl_token_keys_error {
  int line; /* 0: the file as a whole */
  char text[256];
};

/* One key, drawn now, good from the beginning of time; one reference. NULL: no memory, or no random
 * numbers. */
struct tl_token_keys *tl_token_keys_new(void);
struct tl_token_keys *tl_token_keys_ref(struct tl_token_keys *k);
/* K may be NULL. */
void tl_token_keys_unref(struct tl_token_keys *k);

/* Those of file PATH, which nobody but its owner may read; one reference. */
int tl_token_keys_read(const char *path, struct tl_token_keys **out,
                       struct tl_token_keys_error *err);
/* Makes file PATH with K, of mode 0600 and OWNER's; whole or not at all. TL_EEXIST: there is one.
 */
int tl_token_keys_write_new(const char *path, const struct tl_token_keys *k, uid_t owner,
                            gid_t group, struct tl_token_keys_error *err);
/* Adds a key to file PATH, to sign from BEGIN_S on; a file that is not there is made. Takes out
 * keys that have not signed for KEEP_S at NOW_S. *OUT_ID: the new one's. The file is replaced as a
 * whole and stays its owner's. TL_ELIMIT: there are TL_TOKEN_KEYS_MAX in force. */
int tl_token_keys_add(const char *path, int64_t begin_s, int64_t now_s, int64_t keep_s,
                      uint8_t *out_id, struct tl_token_keys_error *err);

/* The key that signs at NOW_S. */
static inline const struct tl_token_key *tl_token_keys_signer(const struct tl_token_keys *k,
                                                              int64_t now_s) {
  size_t i = k->n - 1;
  while (i > 0 && k->key[i].begin_s > now_s) i--;
  return &k->key[i];
}
/* The key ID, unless its successor has signed for longer than KEEP_S; NULL. */
const struct tl_token_key *tl_token_keys_find(const struct tl_token_keys *k, unsigned id,
                                              int64_t now_s, int64_t keep_s);
